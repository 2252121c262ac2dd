//! Listeners and clusters of redirected traffic that no other listener takes.

use kuma_core::ir::{Own, Passthrough};

use super::{
    access_log, address, cluster, listener,
    proto::{
        cluster::Cluster,
        listener::{FilterChain, FilterChainMatch, Listener},
    },
};
use crate::filters::{NetworkFilters, NetworkSlot};

/// Where traffic to no port at all ends.
const NO_DESTINATION: &str = "self_transparentproxy_no_destination_inbound";
/// Port that stands for "this Dataplane serves no port".
const NO_PORT: u16 = 49151;

/// One address family of the redirection.
struct Family {
    ipv6: bool,
    any: &'static str,
    outbound: &'static str,
    inbound: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        ipv6: false,
        any: "0.0.0.0",
        outbound: "self_transparentproxy_passthrough_outbound_ipv4",
        inbound: "self_transparentproxy_passthrough_inbound_ipv4",
    },
    Family {
        ipv6: true,
        any: "::",
        outbound: "self_transparentproxy_passthrough_outbound_ipv6",
        inbound: "self_transparentproxy_passthrough_inbound_ipv6",
    },
];

fn families(unit: &Passthrough) -> impl Iterator<Item = &'static Family> {
    FAMILIES.iter().filter(|family| unit.ipv6 || !family.ipv6)
}

/// Clusters of both directions and the families in use.
pub(super) fn clusters(unit: &Passthrough) -> Vec<Cluster> {
    let mut clusters = vec![cluster::nowhere(NO_DESTINATION)];
    for family in families(unit) {
        clusters.push(cluster::original_destination(family.outbound));
        clusters.push(Cluster {
            upstream_bind_config: Some(address::unredirected(family.ipv6)),
            ..cluster::original_destination(family.inbound)
        });
    }
    clusters
}

/// Listeners of both directions and the families in use. `own` shows only in those that [`uses_own`] names.
pub(super) fn listeners(unit: &Passthrough, own: &Own) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for family in families(unit) {
        // A direction that is not redirected has no port to listen on.
        listeners.extend((unit.outbound_port != 0).then(|| outbound(unit, family, own)));
        listeners.extend((unit.inbound_port != 0).then(|| inbound(unit, family)));
    }
    listeners
}

/// Whether facts of the replica are filled into the listener of this name.
pub(super) fn uses_own(unit: &Passthrough, listener: &str) -> bool {
    FAMILIES.iter().any(|family| family.outbound == listener) && access_log::use_own(&unit.logs)
}

/// Names of the clusters that a listener of [`listeners`] sends to.
pub(super) fn uses(listener: &str) -> Vec<&str> {
    let mut uses = vec![listener];
    uses.extend(FAMILIES.iter().any(|family| family.inbound == listener).then_some(NO_DESTINATION));
    uses
}

fn outbound(unit: &Passthrough, family: &Family, own: &Own) -> Listener {
    let mut proxy = listener::tcp_to(family.outbound, family.outbound);
    proxy.access_log = access_log::loggers(&unit.logs, family.outbound, own);
    let chain = FilterChain { filters: NetworkFilters::only(NetworkSlot::TcpProxy, &proxy), ..Default::default() };
    listener::outbound(redirected(family.outbound, family.any, unit.outbound_port, vec![chain]))
}

fn inbound(unit: &Passthrough, family: &Family) -> Listener {
    let chains = match &unit.strict_ports {
        None => vec![chain(family.inbound, family.inbound, None)],
        Some(ports) => ports
            .iter()
            .map(|port| {
                let to = if *port == NO_PORT { NO_DESTINATION } else { family.inbound };
                chain(family.inbound, to, Some(*port))
            })
            .collect(),
    };
    listener::inbound(redirected(family.inbound, family.any, unit.inbound_port, chains), unit.reuse_port)
}

/// A listener that hands connections to the listener of their original destination, and takes the rest.
fn redirected(name: &str, address: &str, port: u16, chains: Vec<FilterChain>) -> Listener {
    Listener {
        stat_prefix: name.to_owned(),
        use_original_dst: Some(true),
        filter_chains: chains,
        ..listener::new(name, address::socket(address, port.into()))
    }
}

fn chain(name: &str, cluster: &str, port: Option<u16>) -> FilterChain {
    FilterChain {
        filter_chain_match: port
            .map(|port| FilterChainMatch { destination_port: Some(port.into()), ..Default::default() }),
        filters: NetworkFilters::only(NetworkSlot::TcpProxy, &listener::tcp_to(name, cluster)),
        ..Default::default()
    }
}
