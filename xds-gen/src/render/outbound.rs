//! The listener of an outbound.

use kuma_core::{
    ir::{HttpOutbound, Outbound, OutboundFilter, Own, Protocol},
    meta::Labels,
};

use super::{
    address, listener, metadata,
    proto::{
        grpc_stats,
        hcm::HttpConnectionManager,
        listener::{Filter, Listener},
        route::RouteConfiguration,
    },
    route,
};
use crate::filters::{HttpFilters, HttpSlot, NetworkFilters, NetworkSlot};

/// Request header that carries the labels of the calling proxy.
pub(super) const TAGS_HEADER: &str = "x-kuma-tags";

/// The listener of an outbound. `own` shows only where [`uses_own`] says so.
pub fn render_outbound(unit: &Outbound, own: &Own) -> Listener {
    let filters: Vec<Filter> = match &unit.filter {
        OutboundFilter::Http(http) => {
            NetworkFilters::only(NetworkSlot::ConnectionManager, &connection_manager(&unit.name, http, own))
        }
        // A chain without filters closes connections; Envoy refuses a proxy without a cluster.
        OutboundFilter::Tcp(tcp) if tcp.splits.is_empty() => Vec::new(),
        OutboundFilter::Tcp(tcp) => {
            let mut proxy = listener::tcp_proxy(&unit.name, &tcp.splits, tcp.idle);
            proxy.max_connect_attempts = tcp.max_connect_attempts;
            NetworkFilters::only(NetworkSlot::TcpProxy, &proxy)
        }
    };
    let address = address::socket(&unit.listen.address, unit.listen.port.into());
    Listener {
        stat_prefix: unit.name.as_ref().to_owned(),
        bind_to_port: unit.listen.bind,
        metadata: Some(metadata::name_tag(&unit.name)),
        ..listener::outbound(listener::single_chain(&unit.name, address, filters))
    }
}

/// Whether facts of the replica are filled into the listener.
pub(super) fn uses_own(unit: &Outbound) -> bool {
    matches!(&unit.filter, OutboundFilter::Http(http) if http.tags_header)
}

fn connection_manager(name: &str, http: &HttpOutbound, own: &Own) -> HttpConnectionManager {
    let routes = http.routes.iter().map(route::route).collect();
    let routes = RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![listener::any_host(name, routes)],
        validate_clusters: Some(false),
        request_headers_to_add: http
            .tags_header
            .then(|| route::header(TAGS_HEADER, &serialized(&own.labels)))
            .into_iter()
            .collect(),
        ..Default::default()
    };
    let mut filters = HttpFilters::default();
    grpc_statistics(&mut filters, http.protocol);
    let mut manager = listener::connection_manager(name, filters, routes);
    listener::time_limits(&mut manager, &http.timeouts);
    manager.normalize_path = Some(true);
    manager.internal_address_config = Some(listener::internal(&http.internal));
    manager
}

/// Adds statistics per gRPC method where gRPC is spoken.
pub(super) fn grpc_statistics(filters: &mut HttpFilters, protocol: Protocol) {
    if protocol == Protocol::Grpc {
        filters.add(HttpSlot::GrpcStats, &grpc_stats::FilterConfig { emit_filter_state: true, ..Default::default() });
    }
}

/// Labels in one line, each between ampersands, for expressions to match.
fn serialized(labels: &Labels) -> String {
    let mut out = String::new();
    for (key, value) in labels {
        out.push_str(&format!("&{key}={value}&"));
    }
    out
}
