//! What listeners of all kinds have in common: connection manager, TCP proxy, filter chains.

use kuma_core::{
    duration::GoDuration,
    ir::{CidrText, HttpListenerTimeouts, Split},
};

use super::{
    duration,
    proto::{
        core::{Address, CidrRange, HttpProtocolOptions, TrafficDirection},
        hcm::{
            HttpConnectionManager,
            http_connection_manager::{InternalAddressConfig, RouteSpecifier},
        },
        listener::{Filter, FilterChain, Listener},
        route::{Route, RouteConfiguration, VirtualHost},
        tcp_proxy::{
            TcpProxy,
            tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight},
        },
    },
};
use crate::filters::HttpFilters;

/// This host, in both families.
pub(super) const LOOPBACK: [(&str, u32); 2] = [("127.0.0.1", 32), ("::1", 128)];

/// A listener with one chain of these filters and no conditions.
pub(super) fn single_chain(name: &str, address: Address, filters: Vec<Filter>) -> Listener {
    Listener { filter_chains: vec![FilterChain { filters, ..Default::default() }], ..new(name, address) }
}

/// A listener without filter chains.
pub(super) fn new(name: &str, address: Address) -> Listener {
    Listener { name: name.to_owned(), address: Some(address), ..Default::default() }
}

/// Marks a listener for traffic to the application.
pub(super) fn inbound(listener: Listener, reuse_port: bool) -> Listener {
    Listener { traffic_direction: TrafficDirection::Inbound.into(), enable_reuse_port: Some(reuse_port), ..listener }
}

/// Marks a listener for traffic from the application.
pub(super) fn outbound(listener: Listener) -> Listener {
    Listener { traffic_direction: TrafficDirection::Outbound.into(), ..listener }
}

/// An HTTP connection manager; statistics go by `name`.
pub(super) fn connection_manager(
    name: &str,
    filters: HttpFilters,
    routes: RouteConfiguration,
) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: stat_name(name),
        http_filters: filters.finish(),
        route_specifier: Some(RouteSpecifier::RouteConfig(routes)),
        ..Default::default()
    }
}

/// Writes the timeouts that are given.
pub(super) fn time_limits(manager: &mut HttpConnectionManager, timeouts: &HttpListenerTimeouts) {
    manager.common_http_protocol_options =
        timeouts.idle.map(|idle| HttpProtocolOptions { idle_timeout: Some(duration(idle)), ..Default::default() });
    manager.stream_idle_timeout = timeouts.stream_idle.map(duration);
    manager.request_headers_timeout = timeouts.request_headers.map(duration);
}

/// Client addresses that count as internal.
pub(super) fn internal(ranges: &[CidrText]) -> InternalAddressConfig {
    internal_ranges(ranges.iter().map(|r| (&*r.address, r.length)))
}

/// Client addresses that count as internal, as address and prefix length.
pub(super) fn internal_ranges<'a>(ranges: impl IntoIterator<Item = (&'a str, u32)>) -> InternalAddressConfig {
    let range =
        |(address, length): (&str, u32)| CidrRange { address_prefix: address.to_owned(), prefix_len: Some(length) };
    InternalAddressConfig { cidr_ranges: ranges.into_iter().map(range).collect(), ..Default::default() }
}

/// One virtual host for every domain.
pub(super) fn any_host(name: &str, routes: Vec<Route>) -> VirtualHost {
    VirtualHost { name: name.to_owned(), domains: vec!["*".to_owned()], routes, ..Default::default() }
}

/// A TCP proxy; statistics go by `name`. No splits leave out where to go, which Envoy refuses.
pub(super) fn tcp_proxy(name: &str, splits: &[Split], idle: Option<GoDuration>) -> TcpProxy {
    let cluster_specifier = match splits {
        [] => None,
        [split] => Some(ClusterSpecifier::Cluster(split.cluster.as_ref().to_owned())),
        several => Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters: several
                .iter()
                .map(|split| ClusterWeight {
                    name: split.cluster.as_ref().to_owned(),
                    weight: split.weight,
                    ..Default::default()
                })
                .collect(),
        })),
    };
    TcpProxy { stat_prefix: stat_name(name), cluster_specifier, idle_timeout: idle.map(duration), ..Default::default() }
}

/// A TCP proxy to one cluster, without time limits.
pub(super) fn tcp_to(name: &str, cluster: &str) -> TcpProxy {
    TcpProxy {
        stat_prefix: stat_name(name),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    }
}

/// A name as it may stand in statistics: what is neither letter, digit, `-` nor `_` becomes `_`.
pub(super) fn stat_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}
