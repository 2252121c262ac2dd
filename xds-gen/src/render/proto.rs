//! Short names for the packages of Envoy's API that rendering writes to.

pub(super) use envoy_api::{
    envoy::{
        config::{
            accesslog::v3 as access_log, cluster::v3 as cluster, core::v3 as core, endpoint::v3 as endpoint,
            listener::v3 as listener, route::v3 as route,
        },
        extensions::{
            access_loggers::{file::v3 as file_log, filters::cel::v3 as cel},
            filters::{
                http::{grpc_stats::v3 as grpc_stats, lua::v3 as lua},
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
