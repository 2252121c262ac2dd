//! A listener for traffic to the application, and the cluster that leads to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AccessLog, CidrText, ClusterTuning, Forward, HttpListenerTimeouts, Name, Protocol};
use crate::duration::GoDuration;

/// An inbound: listener and cluster of one name. Labels of the proxy are filled in from [`super::Own`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inbound {
    /// `self_inbound_dp_<section>`.
    pub name: Name,
    /// Listening address; `None` is the proxy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Arc<str>>,
    /// Listening port.
    pub port: u16,
    /// `Some(false)`: reached through redirection only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<bool>,
    /// `enableReusePort`, always written.
    pub reuse_port: bool,
    /// Protocol of the application.
    pub protocol: Protocol,
    /// Where the application is.
    pub application: Application,
    /// What is done with connections.
    pub filter: InboundFilter,
    /// What is written about its connections or requests, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<Arc<AccessLog>>,
    /// What policies tune on the cluster.
    pub tuning: ClusterTuning,
}

/// Where the application listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Application {
    /// IP address or host name; `None` is where the inbound listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Arc<str>>,
    /// Port.
    pub port: u16,
    /// Source address that the redirection leaves alone, used unless the application is on loopback.
    pub bind_source: bool,
}

/// What an inbound listener does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InboundFilter {
    /// One route to the application.
    Http(HttpInbound),
    /// Passes bytes.
    Tcp {
        /// `idleTimeout` of the TCP proxy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idle: Option<GoDuration>,
    },
}

/// HTTP connection manager of an inbound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpInbound {
    /// Action of the only route; without splits it goes to the inbound's cluster.
    pub forward: Forward,
    /// Timeouts of the connection manager.
    pub timeouts: HttpListenerTimeouts,
    /// Which client addresses count as internal.
    pub internal: Arc<[CidrText]>,
}
