//! A cluster of an outbound, and what policies tune on any cluster.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Name;
use crate::duration::GoDuration;

/// An EDS cluster, named by the KRI of its destination with section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// Name; also the name of its endpoints.
    pub name: Name,
    /// What is spoken to the endpoints.
    pub http: Option<HttpVersion>,
    /// What policies tune.
    pub tuning: ClusterTuning,
    /// Mutual TLS towards the endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<UpstreamTls>>,
}

/// HTTP version towards the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What policies tune on a cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterTuning {
    /// `connectTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<GoDuration>,
    /// `commonHttpProtocolOptions.idleTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<GoDuration>,
    /// `commonHttpProtocolOptions.maxConnectionDuration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection: Option<GoDuration>,
    /// `commonHttpProtocolOptions.maxStreamDuration`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stream: Option<GoDuration>,
    /// The threshold of default priority; `trackRemaining` is always written with it. `None` before any policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Ejection of endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outliers: Option<Arc<Outliers>>,
    /// `commonLbConfig.healthyPanicThreshold`, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<f64>,
}

/// Circuit breaker limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    /// Connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Connection pools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_pools: Option<u32>,
    /// Waiting requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_requests: Option<u32>,
    /// Requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Retries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
}

/// Ejection of endpoints; absent numbers are not written, `enforcing*` are percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outliers {
    /// Between sweeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// First ejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ejection: Option<GoDuration>,
    /// Most endpoints, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<u32>,
    /// Local and external errors apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_local: Option<bool>,
    /// Consecutive 5xx.
    pub total: Detector,
    /// Consecutive gateway errors.
    pub gateway: Detector,
    /// Consecutive local errors.
    pub local_origin: Detector,
    /// Deviation from the mean; `None` leaves Envoy's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRate>,
    /// Share of failures; `None` leaves Envoy's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_percentage: Option<FailurePercentage>,
}

/// A detector of failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Detector {
    /// How many; written where given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
    /// Enforced (100) or not (0).
    pub enforced: bool,
}

/// Detector of deviation from the mean success rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRate {
    /// Enforced (100) or not (0), for local origin too.
    pub enforced: bool,
    /// Fewest endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Fewest requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
    /// Thousandths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdev_factor: Option<u32>,
}

/// Detector of a share of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailurePercentage {
    /// Enforced (100) or not (0), for local origin too.
    pub enforced: bool,
    /// Fewest endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Fewest requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
    /// Percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u32>,
}

/// Mutual TLS towards endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UpstreamTls {
    /// Server name.
    pub sni: String,
    /// Name of the secret with the own certificate.
    pub identity_secret: Name,
    /// Name of the secret with the trust bundle.
    pub trust_secret: Name,
    /// SPIFFE IDs, sorted, one of which the endpoint must prove.
    pub sans: Vec<String>,
}
