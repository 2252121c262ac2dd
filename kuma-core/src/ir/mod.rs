//! Everything Envoy has to do for one proxy, in our words: no protobuf, no Kubernetes types.
//!
//! The parts are *units*: an outbound, a cluster, an inbound, the proxy-wide settings. A unit is shared by all proxies
//! for which it comes out equal. What differs between replicas (own address, own labels, paths below the work
//! directory) is not in a unit: it is handed to the renderer as [`Own`]. `Option` is absent where Envoy's default holds.

mod access_log;
mod cluster;
mod endpoints;
mod inbound;
mod outbound;
mod own;
mod route;
mod wide;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

pub use access_log::*;
pub use cluster::*;
pub use endpoints::*;
pub use inbound::*;
pub use outbound::*;
pub use own::*;
pub use route::*;
pub use wide::*;

/// Name of an Envoy resource: a KRI with section, `self_inbound_dp_<section>` or `system_<feature>`.
pub type Name = Arc<str>;

/// Configuration of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyIr {
    /// Outbound listeners by name.
    #[serde(default)]
    pub outbounds: BTreeMap<Name, Arc<Outbound>>,
    /// Clusters of outbounds, each once, whoever names it.
    #[serde(default)]
    pub clusters: BTreeMap<Name, Arc<Cluster>>,
    /// Endpoints of those clusters; in the running control plane they travel on their own path.
    #[serde(default)]
    pub endpoints: BTreeMap<Name, Arc<Endpoints>>,
    /// Inbound listeners and their clusters, by name.
    #[serde(default)]
    pub inbounds: BTreeMap<Name, Arc<Inbound>>,
    /// What concerns the whole proxy.
    #[serde(default)]
    pub wide: Arc<ProxyWide>,
}

/// Protocol of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Not said, or not known: handled as TCP.
    #[default]
    Unknown,
    /// Opaque TCP.
    Tcp,
    /// TLS that the application speaks itself.
    Tls,
    /// HTTP/1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// MySQL.
    Mysql,
}

impl Protocol {
    /// Reads a protocol without regard to case.
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Self::Tcp,
            "tls" => Self::Tls,
            "http" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "mysql" => Self::Mysql,
            _ => Self::Unknown,
        }
    }
    /// Requests and responses can be seen.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
    /// Name as users write it; empty for unknown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Mysql => "mysql",
        }
    }
}

/// An address block, kept as text since configuration may hold what does not parse.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CidrText {
    /// Address part.
    pub address: Arc<str>,
    /// Prefix length.
    pub length: u32,
}
