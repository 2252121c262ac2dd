//! Listeners for proxies that are reached by their own address instead of a service.

use kuma_core::ir::DirectAccess;

use super::{
    address, cluster, listener,
    proto::{cluster::Cluster, listener::Listener},
};
use crate::filters::{NetworkFilters, NetworkSlot};

/// The cluster behind all of these listeners.
pub(super) const CLUSTER: &str = "direct_access";

/// The cluster, and a listener for each address; nothing without addresses.
pub(super) fn render(unit: &DirectAccess) -> (Option<Cluster>, Vec<Listener>) {
    let listeners: Vec<_> = unit.endpoints.iter().map(|(address, port)| listener_of(address, *port)).collect();
    ((!listeners.is_empty()).then(|| cluster::original_destination(CLUSTER)), listeners)
}

fn listener_of(address: &str, port: u16) -> Listener {
    let name = format!("{CLUSTER}_{address}:{port}");
    let filters = NetworkFilters::only(NetworkSlot::TcpProxy, &listener::tcp_to(&name, CLUSTER));
    Listener {
        bind_to_port: Some(false),
        ..listener::outbound(listener::single_chain(&name, address::socket(address, port.into()), filters))
    }
}
