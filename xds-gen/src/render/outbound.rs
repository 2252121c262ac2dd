//! The listener of an outbound.

use kuma_core::{
    ir::{HttpOutbound, Outbound, OutboundFilter, Own, Protocol, Route},
    meta::Labels,
};

use super::{
    access_log, address, listener, metadata,
    proto::{
        grpc_stats,
        hcm::HttpConnectionManager,
        listener::{Filter, Listener},
        route::{self as message, RouteConfiguration},
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
            NetworkFilters::only(NetworkSlot::ConnectionManager, &connection_manager(unit, http, own))
        }
        // A chain without filters closes connections; Envoy refuses a proxy without a cluster.
        OutboundFilter::Tcp(tcp) if tcp.splits.is_empty() => Vec::new(),
        OutboundFilter::Tcp(tcp) => {
            let mut proxy = listener::tcp_proxy(&unit.name, &tcp.splits, tcp.idle);
            proxy.max_connect_attempts = tcp.max_connect_attempts;
            proxy.access_log = access_log::loggers(&unit.logs, &unit.name, own);
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
    access_log::use_own(&unit.logs) || matches!(&unit.filter, OutboundFilter::Http(http) if http.tags_header)
}

fn connection_manager(unit: &Outbound, http: &HttpOutbound, own: &Own) -> HttpConnectionManager {
    let name = &*unit.name;
    let marked = |unit: &Route| {
        let mark = unit.name.as_ref().and_then(|name| http.log_marks.get(name));
        let metadata = mark.map(|mark| access_log::mark(mark));
        message::Route { metadata, ..route::route(unit) }
    };
    let routes = http.routes.iter().map(marked).collect();
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
    // Where nothing is written, nothing has to be told apart.
    if !http.log_marks.is_empty() && !unit.logs.is_empty() {
        filters.add(HttpSlot::Lua, &access_log::copy_mark());
    }
    grpc_statistics(&mut filters, http.protocol);
    let mut manager = listener::connection_manager(name, filters, routes);
    listener::time_limits(&mut manager, &http.timeouts);
    manager.access_log = access_log::loggers(&unit.logs, name, own);
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
