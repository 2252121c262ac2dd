//! Units as resources that streams share: rendered once where every proxy gets the same bytes, templates where the
//! facts of the replica are filled in when it is sent.

use std::sync::Arc;

use bytes::Bytes;
use kuma_core::ir::{
    AdminListener, Cluster, ClusterTuning, DynamicConfig, Endpoints, Inbound, Outbound, Own as Facts, ProxyWide,
};
use prost::{Message, Name};
use serde::Serialize;

use super::{
    AdminTls, admin, cluster, direct_access, dynconf, inbound as inbound_unit, outbound as outbound_unit, passthrough,
    proto::listener::Listener, render_cluster, render_endpoints, render_outbound,
};
use crate::set::{Own, Rendered, Template, TypeUrl, Version};

/// The listener of an outbound. It says which clusters it uses.
pub fn outbound(unit: &Arc<Outbound>) -> Arc<Rendered> {
    let rendered = if outbound_unit::uses_own(unit) {
        template(TypeUrl::Listener, &unit.name, unit.clone(), render_outbound)
    } else {
        Rendered::of(TypeUrl::Listener, unit.name.clone(), &render_outbound(unit, &Facts::default()))
    };
    Arc::new(rendered.using(unit.clusters()))
}

/// The cluster of an outbound.
pub fn cluster(unit: &Cluster) -> Arc<Rendered> {
    Arc::new(Rendered::of(TypeUrl::Cluster, unit.name.clone(), &render_cluster(unit)))
}

/// The endpoints for the cluster of this name.
pub fn endpoints(name: &Arc<str>, unit: &Endpoints) -> Arc<Rendered> {
    Arc::new(Rendered::of(TypeUrl::Endpoint, name.clone(), &render_endpoints(name, unit)))
}

/// Cluster and listener of an inbound, in this order. Both are templates.
pub fn inbound(unit: &Arc<Inbound>) -> [Arc<Rendered>; 2] {
    let cluster = template(TypeUrl::Cluster, &unit.name, unit.clone(), inbound_unit::cluster_of);
    let listener = template(TypeUrl::Listener, &unit.name, unit.clone(), inbound_unit::listener_of);
    [Arc::new(cluster), Arc::new(listener.using([unit.name.clone()]))]
}

/// What is proxy-wide, apart from the admin listener: [`admin_listener`].
pub fn wide(unit: &Arc<ProxyWide>) -> Vec<Arc<Rendered>> {
    let mut out = Vec::new();
    if unit.admin.is_some() {
        // Of nothing but what they depend on: another part of the unit is no new version.
        let tuning = Arc::new(unit.system_tuning.clone());
        for (at, name) in admin::CLUSTERS.into_iter().enumerate() {
            out.push(template(TypeUrl::Cluster, &name.into(), tuning.clone(), move |tuning: &ClusterTuning, own| {
                let mut clusters = admin::clusters(own);
                cluster::tune(&mut clusters[at], tuning);
                clusters[at].clone()
            }));
        }
    }
    let clusters = unit.passthrough.iter().flat_map(passthrough::clusters);
    for mut message in clusters.chain(unit.direct_access.iter().filter_map(direct_access::cluster)) {
        cluster::tune(&mut message, &unit.system_tuning);
        out.push(Rendered::of(TypeUrl::Cluster, message.name.as_str(), &message));
    }
    if let Some(passthrough) = &unit.passthrough {
        let shared = Arc::new(passthrough.clone());
        for (at, message) in passthrough::listeners(passthrough, &Facts::default()).into_iter().enumerate() {
            let uses: Vec<Arc<str>> = passthrough::uses(&message.name).into_iter().map(Into::into).collect();
            let own = passthrough::uses_own(passthrough, &message.name);
            out.push(one_of(at, &message, own.then_some(&shared), passthrough::listeners).using(uses));
        }
    }
    if let Some(direct) = &unit.direct_access {
        let shared = Arc::new(direct.clone());
        let own = direct_access::uses_own(direct);
        for (at, message) in direct_access::listeners(direct, &Facts::default()).into_iter().enumerate() {
            let listener = one_of(at, &message, own.then_some(&shared), direct_access::listeners);
            out.push(listener.using([direct_access::CLUSTER.into()]));
        }
    }
    if let Some(dynamic) = &unit.dynamic
        && let Some(sample) = dynconf::render(dynamic, &Facts::default())
    {
        let dynamic = Arc::new(dynamic.clone());
        let whole = template(TypeUrl::Listener, &sample.name.into(), dynamic, |dynamic: &DynamicConfig, own| {
            dynconf::render(dynamic, own).unwrap_or_default()
        });
        out.push(whole.using([]).telling_of_others());
    }
    out.into_iter().map(Arc::new).collect()
}

/// One of the listeners of a unit: the message as it is, or a template where facts of the replica are filled in.
fn one_of<U>(at: usize, message: &Listener, unit: Option<&Arc<U>>, all: fn(&U, &Facts) -> Vec<Listener>) -> Rendered
where
    U: Serialize + Send + Sync + 'static,
{
    let name: Arc<str> = message.name.as_str().into();
    match unit {
        None => Rendered::of(TypeUrl::Listener, name, message),
        Some(unit) => template(TypeUrl::Listener, &name, unit.clone(), move |unit: &U, own| {
            all(unit, own).into_iter().nth(at).unwrap_or_default()
        }),
    }
}

/// Gives the server certificate of admin listeners. Lives outside of this crate, which draws no keys.
pub trait AdminIssuer: Send + Sync {
    /// Stands for what certificates are issued from and until when they are used: issuer and epoch.
    fn version(&self) -> Version;
    /// Material for the proxy with these facts; `None` leaves it with readiness only.
    fn issue(&self, own: &Facts) -> Option<AdminTls>;
}

/// The admin listener, for proxies that [have one](super::has_admin_listener). Certificates are issued when it is
/// sent.
pub fn admin_listener(unit: &AdminListener, issuer: &Arc<dyn AdminIssuer>) -> Arc<Rendered> {
    let version = Version::mix(&[identity(unit, &admin::listener_of(unit, &Facts::default(), None)), issuer.version()]);
    let unit = (unit.clone(), issuer.clone());
    let render = |(unit, issuer): &(AdminListener, Arc<dyn AdminIssuer>), own: &Facts| {
        admin::listener_of(unit, own, issuer.issue(own).as_ref())
    };
    let template = Arc::new(Fill { unit, render, size: 8192 });
    let rendered = Rendered::per_proxy(TypeUrl::Listener, admin::CLUSTERS[0], version, template);
    Arc::new(rendered.using(admin::CLUSTERS.map(Arc::from)))
}

/// A unit and how to render it for one replica.
struct Fill<U, F> {
    unit: U,
    render: F,
    size: usize,
}

impl<U, M, F> Template for Fill<U, F>
where
    U: Send + Sync,
    M: Message,
    F: Fn(&U, &Facts) -> M + Send + Sync,
{
    fn fill(&self, own: &Own) -> Bytes {
        (self.render)(&self.unit, own).encode_to_vec().into()
    }
    fn size_hint(&self) -> usize {
        self.size
    }
}

fn template<U, M, F>(type_url: TypeUrl, name: &Arc<str>, unit: Arc<U>, render: F) -> Rendered
where
    U: Serialize + Send + Sync + 'static,
    M: Message + Name + 'static,
    F: Fn(&U, &Facts) -> M + Send + Sync + 'static,
{
    let sample = render(&unit, &Facts::default());
    let version = identity(&*unit, &sample);
    // Own labels and address come on top of the sample.
    let size = sample.encoded_len() + 512;
    let render = move |unit: &Arc<U>, own: &Facts| render(unit, own);
    Rendered::per_proxy(type_url, name.clone(), version, Arc::new(Fill { unit, render, size }))
}

/// What a template is made from: the unit, and how this version of the program renders it.
fn identity<M: Message>(unit: &impl Serialize, sample: &M) -> Version {
    // Units are texts, numbers and ordered maps with text keys: writing them to memory cannot fail.
    let unit = serde_json::to_vec(unit).unwrap_or_default();
    Version::mix(&[Version::of(&unit), Version::of(&sample.encode_to_vec())])
}
