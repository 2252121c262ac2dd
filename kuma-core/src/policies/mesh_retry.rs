//! MeshRetry: what is tried again, how often and how soon.

mod plan;

mod validate;

use serde::{Deserialize, Serialize};

use super::{HeaderMatch, schemas, target::TargetRef};
use crate::{
    duration::GoDuration,
    meta::Labels,
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync, Targets},
    resource::{NoStatus, Spec},
    schema::{Field, IntFormat, Schema, int, int_of, list, object, one_of, opt, req, text},
    validate::{Path, Violations},
};

/// Spec of a MeshRetry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshRetry {
    /// Proxies it applies to; absent is the whole mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Outbound items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<RetryTo>>,
}

/// An outbound item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryTo {
    /// Destination.
    pub target_ref: TargetRef,
    /// Retries.
    #[serde(rename = "default")]
    pub conf: Retries,
}

/// Retries by protocol.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Retries {
    /// TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpRetry>,
    /// HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpRetry>,
    /// gRPC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcRetry>,
}

/// TCP retries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRetry {
    /// Connection attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connect_attempt: Option<u32>,
}

/// HTTP retries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRetry {
    /// How often; 0 is no policy at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<u32>,
    /// Of one try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<GoDuration>,
    /// Pause between tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off: Option<BackOff>,
    /// Pause that the upstream asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limited_back_off: Option<RateLimitedBackOff>,
    /// Conditions, methods and status codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<String>>,
    /// Only responses with such headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retriable_response_headers: Option<Vec<HeaderMatch>>,
    /// Only requests with such headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retriable_request_headers: Option<Vec<HeaderMatch>>,
    /// Which endpoints to avoid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selection: Option<Vec<HostPredicate>>,
    /// How often to pick again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selection_max_attempts: Option<i64>,
}

/// gRPC retries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GrpcRetry {
    /// How often; 0 is no policy at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<u32>,
    /// Of one try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<GoDuration>,
    /// Pause between tries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off: Option<BackOff>,
    /// Pause that the upstream asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limited_back_off: Option<RateLimitedBackOff>,
    /// gRPC codes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<String>>,
}

/// Pause between tries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackOff {
    /// First pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_interval: Option<GoDuration>,
    /// Longest pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<GoDuration>,
}

/// Pause that the upstream asks for in a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitedBackOff {
    /// Headers to read, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_headers: Option<Vec<ResetHeader>>,
    /// Longest pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_interval: Option<GoDuration>,
}

/// A header with a pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResetHeader {
    /// Its name.
    pub name: String,
    /// `Seconds` or `UnixTimestamp`.
    pub format: String,
}

/// Which endpoints to avoid on a retry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPredicate {
    /// `OmitPreviousHosts`, `OmitHostsWithTags` or `OmitPreviousPriorities`.
    pub predicate: String,
    /// Tags of the endpoints to avoid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Labels>,
    /// After how many tries the priorities are computed anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_frequency: Option<i32>,
}

/// What HTTP and gRPC have in common.
fn common_fields() -> [Field; 4] {
    let reset_header =
        object([req("name", schemas::header_name()), req("format", one_of(["Seconds", "UnixTimestamp"]))]);
    [
        opt("numRetries", int()),
        opt("perTryTimeout", Schema::Duration),
        opt("backOff", object([opt("baseInterval", Schema::Duration), opt("maxInterval", Schema::Duration)])),
        opt(
            "rateLimitedBackOff",
            object([opt("maxInterval", Schema::Duration), opt("resetHeaders", list(reset_header))]),
        ),
    ]
}

fn http_schema() -> Schema {
    let predicate = object([
        req("predicate", one_of(["OmitPreviousHosts", "OmitHostsWithTags", "OmitPreviousPriorities"])),
        opt("tags", Schema::Labels),
        opt("updateFrequency", int()).or(2),
    ]);
    let mut fields = Vec::from(common_fields());
    fields.extend([
        opt("retryOn", list(text())),
        opt("retriableRequestHeaders", schemas::header_matches()),
        opt("retriableResponseHeaders", schemas::header_matches()),
        opt("hostSelection", list(predicate)),
        opt("hostSelectionMaxAttempts", int_of(IntFormat::Int64)),
    ]);
    Schema::Object(fields)
}

fn grpc_schema() -> Schema {
    let codes = ["Canceled", "DeadlineExceeded", "Internal", "ResourceExhausted", "Unavailable"];
    let mut fields = Vec::from(common_fields());
    fields.push(opt("retryOn", list(one_of(codes))));
    Schema::Object(fields)
}

impl Spec for MeshRetry {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::MeshRetry,
        name: "MeshRetry",
        path: "meshretries",
        alias: None,
        cli: Some("meshretry"),
        display: "Mesh Retry",
        display_plural: "Mesh Retries",
        short: Some("mr"),
        scope: Scope::Mesh,
        shape: Shape::SpecStatus,
        sync: Sync::Both,
        role: Role::Policy(Targets { order: 1400, to: true, rules: false, own: false }),
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        Some(object([
            schemas::top_ref(),
            opt(
                "to",
                list(object([
                    schemas::out_ref(),
                    opt(
                        "default",
                        object([
                            opt("tcp", object([opt("maxConnectAttempt", int())])),
                            opt("http", http_schema()),
                            opt("grpc", grpc_schema()),
                        ]),
                    ),
                ])),
            ),
        ]))
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        validate::spec(self, at, out);
    }
}
