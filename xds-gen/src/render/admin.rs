//! The listener in front of Envoy's admin API and of the readiness reporter, with the two clusters behind it.

use kuma_core::ir::{AdminListener, Own};

use super::{
    address, cluster, listener,
    proto::{
        cluster::Cluster,
        core::{Address, DataSource, data_source::Specifier},
        listener::{Filter, FilterChain, FilterChainMatch, Listener},
        route::{
            Route, RouteAction, RouteConfiguration, route::Action, route_action::ClusterSpecifier,
            route_match::PathSpecifier,
        },
        tls::{
            CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, TlsCertificate,
            common_tls_context::ValidationContextType, subject_alt_name_matcher::SanType,
        },
    },
    route, tls,
};
use crate::filters::{self, HttpFilters, NetworkFilters, NetworkSlot};

const ADMIN: &str = "system_envoy_admin";
const READINESS: &str = "system_probe_readiness";
/// The one client of the admin API, by the name in its certificate.
const CLIENT: &str = "kuma-cp";

/// Material of the admin listener, PEM. Empty texts give the listener without its secrets, for printing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AdminTls {
    /// Server certificate, issued for the address of the Dataplane, and its issuers.
    pub certificate_chain: Vec<u8>,
    /// Its key.
    pub private_key: Vec<u8>,
    /// CA that the client's certificate must come from.
    pub ca: Vec<u8>,
}

impl std::fmt::Debug for AdminTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminTls(redacted)")
    }
}

/// Whether a proxy has the listener: not if it would take the very address that the admin API is bound to.
pub fn has_admin_listener(own: &Own) -> bool {
    own.admin.port != 0 && own.address != own.admin.address
}

/// The cluster of the admin API, and that of the readiness reporter.
pub(super) fn clusters(own: &Own) -> [Cluster; 2] {
    let at = |socket: &str, port: u32| -> Address {
        if socket.is_empty() { address::socket(&own.admin.address, port) } else { address::pipe(socket) }
    };
    [
        cluster::system(cluster::fixed(ADMIN, at(&own.admin.socket_path, own.admin.port))),
        cluster::system(cluster::fixed(READINESS, at(&own.admin.readiness_socket, own.admin.readiness_port))),
    ]
}

/// Readiness for everyone; the whole admin API for the control plane, which proves itself. Without material it stays
/// with readiness.
pub(super) fn listener_of(unit: &AdminListener, own: &Own, tls: Option<&AdminTls>) -> Listener {
    let plain = FilterChain { filters: chain(vec![to(READINESS, "/ready")]), ..Default::default() };
    let secured = tls.map(|tls| FilterChain {
        filter_chain_match: Some(FilterChainMatch { transport_protocol: "tls".to_owned(), ..Default::default() }),
        filters: chain(vec![to(READINESS, "/ready"), to(ADMIN, "/")]),
        transport_socket: Some(tls::socket(&server(tls))),
        ..Default::default()
    });
    let address = address::socket(&own.address, own.admin.port);
    Listener {
        listener_filters: vec![filters::tls_inspector()],
        filter_chains: std::iter::once(plain).chain(secured).collect(),
        ..listener::inbound(listener::new(ADMIN, address), unit.reuse_port)
    }
}

/// Names of the clusters that the listener sends to.
pub(super) const CLUSTERS: [&str; 2] = [ADMIN, READINESS];

fn chain(routes: Vec<Route>) -> Vec<Filter> {
    let routes = RouteConfiguration {
        virtual_hosts: vec![listener::any_host(ADMIN, routes)],
        validate_clusters: Some(false),
        ..Default::default()
    };
    let mut manager = listener::connection_manager(ADMIN, HttpFilters::default(), routes);
    manager.internal_address_config = Some(listener::internal_ranges(listener::LOOPBACK));
    NetworkFilters::only(NetworkSlot::ConnectionManager, &manager)
}

fn to(cluster: &str, prefix: &str) -> Route {
    let action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        prefix_rewrite: prefix.to_owned(),
        ..Default::default()
    };
    route::simple(PathSpecifier::Prefix(prefix.to_owned()), Action::Route(Box::new(action)))
}

fn server(tls: &AdminTls) -> DownstreamTlsContext {
    let bytes =
        |pem: &Vec<u8>| Some(DataSource { specifier: Some(Specifier::InlineBytes(pem.clone())), ..Default::default() });
    let certificate = TlsCertificate {
        certificate_chain: bytes(&tls.certificate_chain),
        private_key: bytes(&tls.private_key),
        ..Default::default()
    };
    let client = CertificateValidationContext {
        trusted_ca: bytes(&tls.ca),
        match_typed_subject_alt_names: vec![tls::san(SanType::Dns, CLIENT)],
        ..Default::default()
    };
    DownstreamTlsContext {
        require_client_certificate: Some(true),
        common_tls_context: Some(CommonTlsContext {
            tls_certificates: vec![certificate],
            validation_context_type: Some(ValidationContextType::ValidationContext(client)),
            ..Default::default()
        }),
        ..Default::default()
    }
}
