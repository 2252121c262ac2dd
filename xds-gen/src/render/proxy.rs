//! The whole configuration of one proxy at once, for goldens, inspection and tests.

use std::sync::Arc;

use kuma_core::ir::ProxyIr;
use prost::{Message, Name};

use super::{AdminTls, render_cluster, render_endpoints, render_inbound, render_outbound, render_wide};
use crate::set::{Own, Rendered, ResourceSet, TypeUrl};

/// Every resource of a proxy, with the facts of the replica filled in. Without `tls` the admin listener offers
/// readiness only; [`AdminTls::default`] gives it whole, with its secrets left out.
pub fn render_proxy(ir: &ProxyIr, own: Arc<Own>, tls: Option<&AdminTls>) -> ResourceSet {
    let mut set = ResourceSet::new(own.clone());
    let wide = render_wide(&ir.wide, &own, tls);
    for cluster in &wide.clusters {
        set.insert(whole(TypeUrl::Cluster, &cluster.name, cluster));
    }
    for listener in &wide.listeners {
        set.insert(whole(TypeUrl::Listener, &listener.name, listener));
    }
    for unit in ir.inbounds.values() {
        let (listener, cluster) = render_inbound(unit, &own);
        set.insert(whole(TypeUrl::Cluster, &unit.name, &cluster));
        set.insert(whole(TypeUrl::Listener, &unit.name, &listener));
    }
    for unit in ir.outbounds.values() {
        set.insert(whole(TypeUrl::Listener, &unit.name, &render_outbound(unit, &own)));
    }
    for unit in ir.clusters.values() {
        set.insert(whole(TypeUrl::Cluster, &unit.name, &render_cluster(unit)));
    }
    for (name, unit) in &ir.endpoints {
        set.insert(whole(TypeUrl::Endpoint, name, &render_endpoints(name, unit)));
    }
    set
}

fn whole<M: Message + Name>(type_url: TypeUrl, name: &str, message: &M) -> Rendered {
    Rendered::of(type_url, name, message)
}
