//! Short names for the packages of Envoy's API that rendering writes to.

pub(super) use envoy_api::{
    envoy::{
        config::{
            cluster::v3 as cluster, core::v3 as core, endpoint::v3 as endpoint, listener::v3 as listener,
            route::v3 as route,
        },
        extensions::{
            filters::{
                http::grpc_stats::v3 as grpc_stats,
                network::{http_connection_manager::v3 as hcm, tcp_proxy::v3 as tcp_proxy},
            },
            retry::{
                host::{omit_host_metadata::v3 as omit_host_metadata, previous_hosts::v3 as previous_hosts},
                priority::previous_priorities::v3 as previous_priorities,
            },
            transport_sockets::tls::v3 as tls,
            upstreams::http::v3 as http,
        },
        r#type::{matcher::v3 as matcher, v3 as types},
    },
    pack,
};
