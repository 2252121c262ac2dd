//! A listener towards a destination.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{AccessLog, CidrText, Name, Protocol, Route};
use crate::duration::GoDuration;

/// A listener towards one port of a destination. The clusters that it names are in [`Outbound::clusters`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Outbound {
    /// Name of listener, route configuration, virtual host and stat prefixes: the destination's KRI with section.
    pub name: Name,
    /// Where it listens.
    pub listen: Listen,
    /// What it does.
    pub filter: OutboundFilter,
    /// What is written about its connections or requests, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Arc<AccessLog>>,
    /// Clusters that exist on account of this outbound though it does not send to them, sorted: those of HTTP routes
    /// that a TCP policy has put aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spare: Vec<Name>,
}

/// Address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listen {
    /// IP address.
    pub address: Arc<str>,
    /// Port.
    pub port: u16,
    /// `Some(false)`: reached through redirection only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<bool>,
}

/// What an outbound listener does with connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutboundFilter {
    /// Routes requests.
    Http(HttpOutbound),
    /// Passes bytes.
    Tcp(TcpOutbound),
}

/// An HTTP connection manager towards a destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpOutbound {
    /// Protocol of the destination's port; gRPC gets statistics of its own.
    pub protocol: Protocol,
    /// Routes in the order of evaluation.
    pub routes: Vec<Route>,
    /// Adds request header `x-kuma-tags` with the labels of the proxy ([`super::Own`]), where a policy of the mesh
    /// needs it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tags_header: bool,
    /// Names of routes that access logs tell apart, each with the mark by which they do.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub log_marks: BTreeMap<Name, Name>,
    /// Timeouts of the connection manager.
    pub timeouts: HttpListenerTimeouts,
    /// Which client addresses count as internal.
    pub internal: Arc<[CidrText]>,
}

/// Timeouts of an HTTP connection manager; `None` is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpListenerTimeouts {
    /// `commonHttpProtocolOptions.idleTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<GoDuration>,
    /// `streamIdleTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_idle: Option<GoDuration>,
    /// `requestHeadersTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers: Option<GoDuration>,
}

/// A TCP proxy towards a destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpOutbound {
    /// Where connections go; one split is written without weight. Empty: connections are closed at once.
    pub splits: Vec<Split>,
    /// `idleTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<GoDuration>,
    /// `maxConnectAttempts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connect_attempts: Option<u32>,
}

/// A share of traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Split {
    /// Cluster.
    pub cluster: Name,
    /// Weight, greater than 0.
    pub weight: u32,
    /// The destination is an external service: its host name replaces the request's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_host_rewrite: bool,
}

impl Outbound {
    /// Names of all clusters that come with this listener, sorted, each once.
    pub fn clusters(&self) -> Vec<Name> {
        let mut names = self.filter.clusters();
        names.extend(self.spare.iter().cloned());
        names.sort();
        names.dedup();
        names
    }
}

impl OutboundFilter {
    /// Names of the clusters that it sends to.
    pub fn clusters(&self) -> Vec<Name> {
        match self {
            Self::Http(http) => http.routes.iter().flat_map(Route::clusters).collect(),
            Self::Tcp(tcp) => tcp.splits.iter().map(|s| s.cluster.clone()).collect(),
        }
    }
}
