//! MeshCircuitBreaker: limits of connections and ejection of failing endpoints.

mod plan;

mod validate;

use serde::{Deserialize, Serialize};

use super::{schemas, target::TargetRef};
use crate::{
    duration::GoDuration,
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync, Targets},
    resource::{NoStatus, Spec},
    resources::IntOrString,
    schema::{Schema, int, list, object, opt},
    validate::{Path, Violations},
};

/// Spec of a MeshCircuitBreaker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshCircuitBreaker {
    /// Proxies it applies to; absent is the whole mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Outbound items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<CircuitBreakerTo>>,
    /// Inbound rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<CircuitBreakerRule>>,
}

/// An outbound item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreakerTo {
    /// Destination.
    pub target_ref: TargetRef,
    /// Limits.
    #[serde(rename = "default")]
    pub conf: CircuitBreakers,
}

/// An inbound rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CircuitBreakerRule {
    /// Limits.
    #[serde(rename = "default")]
    pub conf: CircuitBreakers,
}

/// Limits and ejection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreakers {
    /// Limits of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limits: Option<ConnectionLimits>,
    /// Ejection of endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetection>,
}

/// Limits of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionLimits {
    /// Connection pools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_pools: Option<u32>,
    /// Connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Retries at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// Requests at one time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
}

/// Ejection of endpoints that fail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutlierDetection {
    /// Switches it off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Between sweeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<GoDuration>,
    /// First ejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ejection_time: Option<GoDuration>,
    /// Most endpoints to eject, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_ejection_percent: Option<u32>,
    /// Counts local and external errors apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_external_and_local_errors: Option<bool>,
    /// What counts as failing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detectors: Option<Detectors>,
    /// Below this share of healthy endpoints, all are used; percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_panic_threshold: Option<IntOrString>,
}

/// What counts as failing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Detectors {
    /// Consecutive 5xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_failures: Option<ConsecutiveDetector>,
    /// Consecutive gateway errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_failures: Option<ConsecutiveDetector>,
    /// Consecutive errors on this side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_origin_failures: Option<ConsecutiveDetector>,
    /// Deviation from the mean success rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRateDetector>,
    /// Absolute share of failures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_percentage: Option<FailurePercentageDetector>,
}

/// Failures in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsecutiveDetector {
    /// How many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consecutive: Option<u32>,
}

/// Deviation from the mean success rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuccessRateDetector {
    /// Fewest endpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_hosts: Option<u32>,
    /// Fewest requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_volume: Option<u32>,
    /// Factor of the standard deviation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standard_deviation_factor: Option<IntOrString>,
}

/// Absolute share of failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FailurePercentageDetector {
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

impl Spec for MeshCircuitBreaker {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::MeshCircuitBreaker,
        name: "MeshCircuitBreaker",
        path: "meshcircuitbreakers",
        alias: None,
        cli: Some("meshcircuitbreaker"),
        display: "Mesh Circuit Breaker",
        display_plural: "Mesh Circuit Breakers",
        short: Some("mcb"),
        scope: Scope::Mesh,
        shape: Shape::SpecStatus,
        sync: Sync::Both,
        role: Role::Policy(Targets { order: 1300, to: true, rules: true, own: false }),
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        let consecutive = || object([opt("consecutive", int())]);
        let detectors = || {
            object([
                opt("totalFailures", consecutive()),
                opt("gatewayFailures", consecutive()),
                opt("localOriginFailures", consecutive()),
                opt(
                    "successRate",
                    object([
                        opt("minimumHosts", int()),
                        opt("requestVolume", int()),
                        opt("standardDeviationFactor", Schema::IntOrText),
                    ]),
                ),
                opt(
                    "failurePercentage",
                    object([opt("minimumHosts", int()), opt("requestVolume", int()), opt("threshold", int())]),
                ),
            ])
        };
        let limits = || {
            object([
                opt("maxConnections", int()),
                opt("maxConnectionPools", int()),
                opt("maxPendingRequests", int()),
                opt("maxRetries", int()),
                opt("maxRequests", int()),
            ])
        };
        let conf = || {
            object([
                opt("connectionLimits", limits()),
                opt(
                    "outlierDetection",
                    object([
                        opt("disabled", Schema::Bool),
                        opt("splitExternalAndLocalErrors", Schema::Bool),
                        opt("interval", Schema::Duration),
                        opt("baseEjectionTime", Schema::Duration),
                        opt("maxEjectionPercent", int()),
                        opt("healthyPanicThreshold", Schema::IntOrText),
                        opt("detectors", detectors()),
                    ]),
                ),
            ])
        };
        Some(object([
            schemas::top_ref(),
            opt("rules", list(object([opt("default", conf())]))),
            opt("to", list(object([schemas::out_ref(), opt("default", conf())]))),
        ]))
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        validate::spec(self, at, out);
    }
}
