//! MeshAccessLog: what is written about connections and requests, and where to.

mod format;
mod plan;
mod validate;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    observability::{self, BackendResourceRef, ObservabilityStatus},
    schemas,
    target::{Match, TargetRef},
};
use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync, Targets},
    resource::Spec,
    schema::{Schema, TextRules, list, object, one_of, opt, req, some_text, text},
    validate::{Path, Violations},
};

/// Spec of a MeshAccessLog.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshAccessLog {
    /// Proxies it applies to; absent is the whole mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Inbound rules; every one whose conditions hold writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<AccessLogRule>>,
    /// Outbound items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<AccessLogTo>>,
}

/// An inbound rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessLogRule {
    /// Conditions, one of which must hold; absent always holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<Match>>,
    /// Where to write.
    #[serde(rename = "default")]
    pub conf: AccessLogs,
}

/// An outbound item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogTo {
    /// Destination.
    pub target_ref: TargetRef,
    /// Where to write.
    #[serde(rename = "default")]
    pub conf: AccessLogs,
}

/// Where to write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessLogs {
    /// To all of these; an empty list writes nothing, whatever wider policies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<Vec<LogBackend>>,
}

/// One place to write to; the part that `type` names is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogBackend {
    /// `Tcp`, `File` or `OpenTelemetry`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A TCP server, reached through kuma-dp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpLog>,
    /// A file on the host of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileLog>,
    /// A collector of OpenTelemetry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<OpenTelemetryLog>,
}

/// A TCP server that takes lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpLog {
    /// What a line looks like; absent is the default of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Host and port.
    pub address: String,
}

/// A file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileLog {
    /// What a line looks like; absent is the default of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<LogFormat>,
    /// Absolute path.
    pub path: String,
}

/// What a line looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogFormat {
    /// `Plain` or `Json`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Text with placeholders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<String>,
    /// Fields of an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Vec<LogField>>,
    /// Leaves out what has no value, instead of writing `-` or `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omit_empty_values: Option<bool>,
}

/// A key and a text with placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogField {
    /// Key.
    pub key: String,
    /// Text with placeholders.
    pub value: String,
}

/// A collector of OpenTelemetry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenTelemetryLog {
    /// Which collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<BackendResourceRef>,
    /// Attributes of each record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<LogField>>,
    /// Body of each record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
}

/// Grammar of the name of an attribute.
const ATTRIBUTE: &str = "^[a-z]([a-z0-9]|[._][a-z0-9])*$";

fn format_schema() -> Schema {
    object([
        req("type", one_of(["Plain", "Json"])),
        opt("plain", text()),
        opt("json", list(object([req("key", text()), req("value", text())]))),
        opt("omitEmptyValues", Schema::Bool).or(false),
    ])
}

fn conf_schema() -> Schema {
    let key = Schema::Text(TextRules { pattern: Some(ATTRIBUTE), ..TextRules::default() });
    let backend = object([
        req("type", one_of(["Tcp", "File", "OpenTelemetry"])),
        opt("tcp", object([opt("format", format_schema()), req("address", some_text())])),
        opt("file", object([opt("format", format_schema()), req("path", some_text())])),
        opt(
            "openTelemetry",
            object([
                opt("backendRef", observability::backend_ref_schema()),
                opt("attributes", list(object([req("key", key), req("value", text())]))),
                opt("body", Schema::Any),
            ]),
        ),
    ]);
    object([opt("backends", list(backend))])
}

impl MeshAccessLog {
    /// References to collectors, in order.
    pub fn backend_refs(&self) -> impl Iterator<Item = &BackendResourceRef> {
        let rules = self.rules.iter().flatten().map(|rule| &rule.conf);
        let confs = rules.chain(self.to.iter().flatten().map(|item| &item.conf));
        confs
            .flat_map(|conf| conf.backends.iter().flatten())
            .filter(|backend| backend.kind == "OpenTelemetry")
            .filter_map(|backend| backend.open_telemetry.as_ref()?.backend_ref.as_ref())
    }
}

impl Spec for MeshAccessLog {
    type Status = ObservabilityStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::MeshAccessLog,
        name: "MeshAccessLog",
        path: "meshaccesslogs",
        alias: None,
        cli: Some("meshaccesslog"),
        display: "Mesh Access Log",
        display_plural: "Mesh Access Logs",
        short: Some("mal"),
        scope: Scope::Mesh,
        shape: Shape::SpecStatus,
        sync: Sync::Both,
        role: Role::Policy(Targets { order: 600, to: true, rules: true, own: false }),
        has_status: true,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        Some(object([
            schemas::top_ref(),
            opt("rules", list(object([opt("matches", schemas::matches()), req("default", conf_schema())]))),
            opt("to", list(object([schemas::out_ref(), req("default", conf_schema())]))),
        ]))
    }
    fn status_schema() -> Option<Schema> {
        Some(observability::status_schema())
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        validate::spec(self, at, out);
    }
}
