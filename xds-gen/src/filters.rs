//! The one order of filters. Who adds a filter says which slot it fills; where that slot stands in the chain is
//! decided here and nowhere else, so it never depends on who came first.

use envoy_api::{
    envoy::{
        config::listener::v3::{Filter, ListenerFilter, filter, listener_filter},
        extensions::filters::{
            http::router::v3::Router,
            listener::tls_inspector::v3::TlsInspector,
            network::http_connection_manager::v3::{HttpFilter, http_filter},
        },
    },
    pack,
};
use prost::{Message, Name};
use prost_types::Any;

/// HTTP filters in the order in which requests pass them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HttpSlot {
    /// Who may call.
    Rbac,
    /// Marks the route for access logs.
    Lua,
    /// Statistics of gRPC calls.
    GrpcStats,
    /// Injected faults.
    Fault,
    /// Local rate limit.
    LocalRateLimit,
    /// Sends the request on. Always there, always last.
    Router,
}

impl HttpSlot {
    /// The name that Envoy knows the filter by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rbac => "envoy.filters.http.rbac",
            Self::Lua => "envoy.filters.http.lua",
            Self::GrpcStats => "envoy.filters.http.grpc_stats",
            Self::Fault => "envoy.filters.http.fault",
            Self::LocalRateLimit => "envoy.filters.http.local_ratelimit",
            Self::Router => "envoy.filters.http.router",
        }
    }
}

/// HTTP filters of one connection manager.
#[derive(Debug, Default)]
pub struct HttpFilters(Vec<(HttpSlot, Any)>);

impl HttpFilters {
    /// Adds a filter. Several in one slot keep the order in which they were added.
    pub fn add<M: Message + Name>(&mut self, slot: HttpSlot, config: &M) {
        self.0.push((slot, pack(config)));
    }

    /// The chain in order, with the router at its end.
    pub fn finish(mut self) -> Vec<HttpFilter> {
        self.add(HttpSlot::Router, &Router::default());
        self.0.sort_by_key(|(slot, _)| *slot);
        self.0
            .into_iter()
            .map(|(slot, config)| HttpFilter {
                name: slot.name().to_owned(),
                config_type: Some(http_filter::ConfigType::TypedConfig(config)),
                ..Default::default()
            })
            .collect()
    }
}

/// Network filters in the order in which bytes pass them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkSlot {
    /// Who may connect.
    Rbac,
    /// Notes the client's identity for routes to match.
    SetFilterState,
    /// Local rate limit of connections.
    LocalRateLimit,
    /// Ends the chain: requests are routed.
    ConnectionManager,
    /// Ends the chain: bytes are passed on.
    TcpProxy,
}

impl NetworkSlot {
    /// The name that Envoy knows the filter by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rbac => "envoy.filters.network.rbac",
            Self::SetFilterState => "envoy.filters.network.set_filter_state",
            Self::LocalRateLimit => "envoy.filters.network.local_ratelimit",
            Self::ConnectionManager => "envoy.filters.network.http_connection_manager",
            Self::TcpProxy => "envoy.filters.network.tcp_proxy",
        }
    }
}

/// Network filters of one filter chain.
#[derive(Debug, Default)]
pub struct NetworkFilters(Vec<(NetworkSlot, Any)>);

impl NetworkFilters {
    /// A chain of this one filter.
    pub fn only<M: Message + Name>(slot: NetworkSlot, config: &M) -> Vec<Filter> {
        let mut filters = Self::default();
        filters.add(slot, config);
        filters.finish()
    }

    /// Adds a filter. Several in one slot keep the order in which they were added.
    pub fn add<M: Message + Name>(&mut self, slot: NetworkSlot, config: &M) {
        self.0.push((slot, pack(config)));
    }

    /// The chain in order.
    pub fn finish(mut self) -> Vec<Filter> {
        self.0.sort_by_key(|(slot, _)| *slot);
        self.0
            .into_iter()
            .map(|(slot, config)| Filter {
                name: slot.name().to_owned(),
                config_type: Some(filter::ConfigType::TypedConfig(config)),
            })
            .collect()
    }
}

/// The listener filter that recognises TLS and reads the server name.
pub fn tls_inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(pack(&TlsInspector::default()))),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use envoy_api::envoy::extensions::filters::{
        http::{fault::v3::HttpFault, grpc_stats::v3::FilterConfig, local_ratelimit::v3::LocalRateLimit},
        network::{rbac::v3::Rbac, tcp_proxy::v3::TcpProxy},
    };

    use super::*;

    #[test]
    fn slots_decide_the_order_and_the_router_is_last() {
        let mut filters = HttpFilters::default();
        filters.add(HttpSlot::LocalRateLimit, &LocalRateLimit::default());
        filters.add(HttpSlot::Fault, &HttpFault { max_active_faults: Some(1), ..Default::default() });
        filters.add(HttpSlot::Fault, &HttpFault { max_active_faults: Some(2), ..Default::default() });
        filters.add(HttpSlot::GrpcStats, &FilterConfig::default());
        let filters = filters.finish();
        let names: Vec<_> = filters.iter().map(|f| f.name.rsplit('.').next().unwrap()).collect();
        assert_eq!(names, ["grpc_stats", "fault", "fault", "local_ratelimit", "router"]);
        let Some(http_filter::ConfigType::TypedConfig(first)) = &filters[1].config_type else { panic!("no config") };
        assert_eq!(HttpFault::decode(&first.value[..]).unwrap().max_active_faults, Some(1));
    }

    #[test]
    fn a_network_chain_ends_with_its_terminal_filter() {
        let mut filters = NetworkFilters::default();
        filters.add(NetworkSlot::TcpProxy, &TcpProxy::default());
        filters.add(NetworkSlot::Rbac, &Rbac::default());
        let names: Vec<_> = filters.finish().into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["envoy.filters.network.rbac", "envoy.filters.network.tcp_proxy"]);
    }
}
