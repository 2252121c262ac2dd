//! MeshTimeout: how long connections, requests and streams may take.

mod plan;

mod validate;

use serde::{Deserialize, Serialize};

use super::{
    schemas,
    target::{Match, TargetRef},
};
use crate::{
    duration::GoDuration,
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync, Targets},
    resource::{NoStatus, Spec},
    schema::{Schema, list, object, opt},
    validate::{Path, Violations},
};

/// Spec of a MeshTimeout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshTimeout {
    /// Proxies it applies to; absent is the whole mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Inbound rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<TimeoutRule>>,
    /// Outbound items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<TimeoutTo>>,
}

/// An inbound rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeoutRule {
    /// Conditions, one of which must hold; absent always holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<Match>>,
    /// Timeouts.
    #[serde(rename = "default")]
    pub conf: Timeouts,
}

/// An outbound item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimeoutTo {
    /// Destination.
    pub target_ref: TargetRef,
    /// Timeouts.
    #[serde(rename = "default")]
    pub conf: Timeouts,
}

/// Timeouts; absent fields come from wider policies, then from the documented defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// To establish a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_timeout: Option<GoDuration>,
    /// Without activity on a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<GoDuration>,
    /// HTTP ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTimeouts>,
}

/// HTTP timeouts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpTimeouts {
    /// Of a whole request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<GoDuration>,
    /// Without activity on a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_idle_timeout: Option<GoDuration>,
    /// Of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stream_duration: Option<GoDuration>,
    /// Of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_duration: Option<GoDuration>,
    /// To receive all request headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_headers_timeout: Option<GoDuration>,
}

impl Spec for MeshTimeout {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::MeshTimeout,
        name: "MeshTimeout",
        path: "meshtimeouts",
        alias: None,
        cli: Some("meshtimeout"),
        display: "Mesh Timeout",
        display_plural: "Mesh Timeouts",
        short: Some("mt"),
        scope: Scope::Mesh,
        shape: Shape::SpecStatus,
        sync: Sync::Both,
        role: Role::Policy(Targets { order: 1000, to: true, rules: true, own: false }),
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        let conf = || {
            object([
                opt("connectionTimeout", Schema::Duration),
                opt("idleTimeout", Schema::Duration),
                opt(
                    "http",
                    object([
                        opt("requestTimeout", Schema::Duration),
                        opt("streamIdleTimeout", Schema::Duration),
                        opt("maxStreamDuration", Schema::Duration),
                        opt("maxConnectionDuration", Schema::Duration),
                        opt("requestHeadersTimeout", Schema::Duration),
                    ]),
                ),
            ])
        };
        Some(object([
            schemas::top_ref(),
            opt("rules", list(object([opt("matches", schemas::matches()), opt("default", conf())]))),
            opt("to", list(object([schemas::out_ref(), opt("default", conf())]))),
        ]))
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        validate::spec(self, at, out);
    }
}
