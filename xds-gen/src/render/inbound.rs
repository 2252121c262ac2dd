//! An inbound: the listener for traffic to the application, and the cluster that leads to it.

use kuma_core::ir::{Forward, HttpInbound, HttpVersion, Inbound, InboundFilter, Own, Protocol, Split};
use prost_types::Duration;

use super::{
    access_log,
    address::{self, Target},
    cluster, listener, metadata, outbound,
    proto::{
        cluster::Cluster,
        hcm::{
            HttpConnectionManager,
            http_connection_manager::{ForwardClientCertDetails, SetCurrentClientCertDetails},
        },
        listener::{Filter, Listener},
        route::{RouteConfiguration, route::Action, route_match::PathSpecifier},
    },
    route,
};
use crate::filters::{self, HttpFilters, NetworkFilters, NetworkSlot};

/// How long a client may take to name the server that it asks for. It may wait for the server to speak first, so its
/// connection gets on afterwards.
const SERVER_NAME: Duration = Duration { seconds: 1, nanos: 0 };

/// Listener and cluster of an inbound.
pub fn render_inbound(unit: &Inbound, own: &Own) -> (Listener, Cluster) {
    (listener_of(unit, own), cluster_of(unit, own))
}

/// The address that the inbound listens on.
fn listening<'a>(unit: &'a Inbound, own: &'a Own) -> &'a str {
    unit.address.as_deref().unwrap_or(&own.address)
}

/// The listener alone.
pub(super) fn listener_of(unit: &Inbound, own: &Own) -> Listener {
    let to_application = Split { cluster: unit.name.clone(), weight: 1, auto_host_rewrite: false };
    let logs = access_log::loggers(&unit.logs, &unit.name, own);
    let filters: Vec<Filter> = match &unit.filter {
        InboundFilter::Http(http) => {
            let mut manager = connection_manager(unit, http, to_application);
            manager.access_log = logs;
            NetworkFilters::only(NetworkSlot::ConnectionManager, &manager)
        }
        InboundFilter::Tcp { idle } => {
            let mut proxy = listener::tcp_proxy(&unit.name, &[to_application], *idle);
            proxy.access_log = logs;
            NetworkFilters::only(NetworkSlot::TcpProxy, &proxy)
        }
    };
    let tags = if own.labels.is_empty() { metadata::name_tag(&unit.name) } else { metadata::tags(own.labels.iter()) };
    let address = address::socket(listening(unit, own), unit.port.into());
    let needs_server_name = access_log::need_server_name(&unit.logs);
    Listener {
        stat_prefix: unit.name.as_ref().to_owned(),
        bind_to_port: unit.bind,
        metadata: Some(tags),
        listener_filters: needs_server_name.then(filters::tls_inspector).into_iter().collect(),
        listener_filters_timeout: needs_server_name.then_some(SERVER_NAME),
        continue_on_listener_filters_timeout: needs_server_name,
        ..listener::inbound(listener::single_chain(&unit.name, address, filters), unit.reuse_port)
    }
}

/// The cluster alone.
pub(super) fn cluster_of(unit: &Inbound, own: &Own) -> Cluster {
    let host = unit.application.address.as_deref().unwrap_or_else(|| listening(unit, own));
    let target = Target::of(host);
    let to = address::socket(host, unit.application.port.into());
    let mut cluster = match target {
        Target::Ip(_) => cluster::fixed(&unit.name, to),
        Target::Host => cluster::resolved(&unit.name, to),
    };
    if unit.application.bind_source && !target.is_loopback() {
        cluster.upstream_bind_config = Some(address::unredirected(target.is_ipv6()));
    }
    let http = match unit.protocol {
        Protocol::Http => Some(HttpVersion::Http1),
        Protocol::Http2 | Protocol::Grpc => Some(HttpVersion::Http2),
        Protocol::Unknown | Protocol::Tcp | Protocol::Tls | Protocol::Mysql => None,
    };
    cluster::speak(&mut cluster, http, &unit.tuning);
    cluster::tune(&mut cluster, &unit.tuning);
    cluster
}

fn connection_manager(unit: &Inbound, http: &HttpInbound, to_application: Split) -> HttpConnectionManager {
    let mut forward: Forward = http.forward.clone();
    if forward.splits.is_empty() {
        forward.splits.push(to_application);
    }
    let route = route::simple(PathSpecifier::Prefix("/".to_owned()), Action::Route(Box::new(route::forward(&forward))));
    let routes = RouteConfiguration {
        name: unit.name.as_ref().to_owned(),
        virtual_hosts: vec![listener::any_host(&unit.name, vec![route])],
        validate_clusters: Some(false),
        request_headers_to_remove: vec![outbound::TAGS_HEADER.to_owned()],
        ..Default::default()
    };
    let mut filters = HttpFilters::default();
    outbound::grpc_statistics(&mut filters, unit.protocol);
    let mut manager = listener::connection_manager(&unit.name, filters, routes);
    listener::time_limits(&mut manager, &http.timeouts);
    manager.forward_client_cert_details = ForwardClientCertDetails::SanitizeSet.into();
    manager.set_current_client_cert_details = Some(SetCurrentClientCertDetails { uri: true, ..Default::default() });
    manager.internal_address_config = Some(listener::internal(&http.internal));
    manager
}
