//! Units to Envoy resources, as the engine wants them.

use std::sync::Arc;

use kuma_core::{
    engine::{Render, WideUnits},
    ir::{AdminListener, Cluster, Endpoints, Inbound, Name, Outbound, Own, ProxyWide},
};
use xds_gen::{
    render::{
        has_admin_listener,
        units::{self, AdminIssuer},
    },
    set::{Rendered, TypeUrl},
};

/// Renders to Envoy messages.
#[derive(Clone)]
pub struct EnvoyRender {
    issuer: Arc<dyn AdminIssuer>,
}

impl EnvoyRender {
    /// A renderer whose admin listeners get certificates of this issuer.
    pub fn new(issuer: Arc<dyn AdminIssuer>) -> Self {
        Self { issuer }
    }
}

impl Render for EnvoyRender {
    type Unit = Arc<Rendered>;

    fn name(unit: &Self::Unit) -> &Name {
        &unit.name
    }

    fn same(one: &Self::Unit, other: &Self::Unit) -> bool {
        Arc::ptr_eq(one, other) || one.version == other.version
    }

    fn outbound(&self, outbound: &Arc<Outbound>) -> Self::Unit {
        units::outbound(outbound)
    }

    fn cluster(&self, cluster: &Cluster) -> Self::Unit {
        units::cluster(cluster)
    }

    fn endpoints(&self, cluster: &Name, endpoints: &Endpoints) -> Self::Unit {
        units::endpoints(cluster, endpoints)
    }

    fn inbound(&self, inbound: &Arc<Inbound>) -> (Self::Unit, Self::Unit) {
        let [cluster, listener] = units::inbound(inbound);
        (listener, cluster)
    }

    fn wide(&self, wide: &Arc<ProxyWide>) -> WideUnits<Self::Unit> {
        let (clusters, listeners) = units::wide(wide).into_iter().partition(|r| r.type_url == TypeUrl::Cluster);
        WideUnits { clusters, listeners }
    }

    fn admin(&self, admin: &AdminListener, own: &Own) -> Option<Self::Unit> {
        has_admin_listener(own).then(|| units::admin_listener(admin, &self.issuer))
    }
}
