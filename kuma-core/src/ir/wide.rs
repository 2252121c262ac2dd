//! What concerns the whole proxy: redirection, admin listener, DNS records, direct access.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{AccessLog, ClusterTuning};

/// Proxy-wide configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProxyWide {
    /// Admin and readiness listener with its two clusters; `None` if the admin port is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminListener>,
    /// Passthrough of redirected traffic; `None` without transparent proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passthrough: Option<Passthrough>,
    /// Direct access by address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct_access: Option<DirectAccess>,
    /// Configuration that kuma-dp polls from Envoy; `None` makes no listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic: Option<DynamicConfig>,
    /// What MeshCircuitBreaker writes to every cluster of the proxy, system ones too.
    pub system_tuning: ClusterTuning,
}

/// The listener in front of Envoy's admin API. Address, ports and certificate come from the replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AdminListener {
    /// `enableReusePort`, always written.
    pub reuse_port: bool,
}

/// Listeners of the redirection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Passthrough {
    /// Port of redirected outbound traffic; 0 makes no listener.
    pub outbound_port: u16,
    /// Port of redirected inbound traffic; 0 makes no listener.
    pub inbound_port: u16,
    /// IPv6 too.
    pub ipv6: bool,
    /// `enableReusePort` of the inbound listeners.
    pub reuse_port: bool,
    /// Inbound ports that may be reached, each once, never empty; `None` is any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict_ports: Option<Vec<u16>>,
    /// What is written about outbound connections, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Arc<AccessLog>>,
}

/// Listeners for proxies that are reachable by their own address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectAccess {
    /// Address and port of each, sorted.
    pub endpoints: Vec<(Arc<str>, u16)>,
    /// What is written about connections, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Arc<AccessLog>>,
}

/// Configuration that kuma-dp polls: path (`/dns`) to the body that is served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DynamicConfig {
    /// Records for the built-in DNS server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsConfig>,
    /// `::1` counts as internal too.
    pub ipv6: bool,
}

/// Body of `/dns`, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsConfig {
    /// Records by name, sorted.
    pub records: Arc<[DnsRecord]>,
    /// Seconds.
    pub ttl: u32,
    /// Labels of DNS metrics, by key.
    pub extra_labels: BTreeMap<String, String>,
}

/// A name and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct DnsRecord {
    /// Name without a trailing dot.
    pub name: Arc<str>,
    /// IPv4 first, then its mapped form in hex groups.
    pub ips: Vec<Arc<str>>,
}
