//! Listeners for proxies that are reached by their own address instead of a service.

use kuma_core::ir::{DirectAccess, Own};

use super::{
    access_log, address, cluster, listener,
    proto::{cluster::Cluster, listener::Listener},
};
use crate::filters::{NetworkFilters, NetworkSlot};

/// The cluster behind all of these listeners.
pub(super) const CLUSTER: &str = "direct_access";

/// The cluster; none without addresses.
pub(super) fn cluster(unit: &DirectAccess) -> Option<Cluster> {
    (!unit.endpoints.is_empty()).then(|| cluster::original_destination(CLUSTER))
}

/// A listener for each address. `own` shows only if [`uses_own`] says so.
pub(super) fn listeners(unit: &DirectAccess, own: &Own) -> Vec<Listener> {
    unit.endpoints.iter().map(|(address, port)| listener_of(unit, address, *port, own)).collect()
}

/// Whether facts of the replica are filled into the listeners.
pub(super) fn uses_own(unit: &DirectAccess) -> bool {
    access_log::use_own(&unit.logs)
}

fn listener_of(unit: &DirectAccess, address: &str, port: u16, own: &Own) -> Listener {
    let name = format!("{CLUSTER}_{address}:{port}");
    let mut proxy = listener::tcp_to(&name, CLUSTER);
    proxy.access_log = access_log::loggers(&unit.logs, &name, own);
    let filters = NetworkFilters::only(NetworkSlot::TcpProxy, &proxy);
    Listener {
        bind_to_port: Some(false),
        ..listener::outbound(listener::single_chain(&name, address::socket(address, port.into()), filters))
    }
}
