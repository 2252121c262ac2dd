//! What the engine needs of a renderer: units in, something opaque and cheap to clone out.

use std::sync::Arc;

use crate::ir::{AdminListener, Cluster, Endpoints, Inbound, Name, Outbound, Own, ProxyWide};

/// Turns units into resources. Implemented over Envoy messages elsewhere; tests use names and hashes.
pub trait Render {
    /// A rendered resource; cheap to clone.
    type Unit: Clone + Send + Sync + 'static;

    /// Name of a resource.
    fn name(unit: &Self::Unit) -> &Name;
    /// Same content: nothing is to be sent in place of one of them.
    fn same(one: &Self::Unit, other: &Self::Unit) -> bool;
    /// Listener of an outbound.
    fn outbound(&self, outbound: &Arc<Outbound>) -> Self::Unit;
    /// Cluster of an outbound.
    fn cluster(&self, cluster: &Cluster) -> Self::Unit;
    /// Endpoints of a cluster.
    fn endpoints(&self, cluster: &Name, endpoints: &Endpoints) -> Self::Unit;
    /// Listener and cluster of an inbound, with placeholders.
    fn inbound(&self, inbound: &Arc<Inbound>) -> (Self::Unit, Self::Unit);
    /// Listeners and clusters of the whole proxy, with placeholders, the admin listener apart.
    fn wide(&self, wide: &Arc<ProxyWide>) -> WideUnits<Self::Unit>;
    /// The admin listener of a proxy that has one; holds issued material.
    fn admin(&self, admin: &AdminListener, own: &Own) -> Option<Self::Unit>;
}

/// What concerns a whole proxy, rendered.
#[derive(Clone, Debug)]
pub struct WideUnits<U> {
    /// Clusters.
    pub clusters: Vec<U>,
    /// Listeners.
    pub listeners: Vec<U>,
}
