//! The body of `POST /bootstrap`, as every version of kuma-dp sends it: fields that are missing, null or unknown are
//! no reason to refuse.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::BootstrapRefusal;

/// What a proxy asks for its bootstrap with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BootstrapRequest {
    /// Mesh of the proxy.
    pub mesh: String,
    /// Name of the proxy; may contain dots.
    pub name: String,
    /// `dataplane`, or empty for the same.
    pub proxy_type: String,
    /// Its token.
    pub dataplane_token: String,
    /// File of its token, on its host.
    pub dataplane_token_path: String,
    /// The Dataplane that it registers itself with, as a JSON or YAML document.
    pub dataplane_resource: String,
    /// What runs there.
    pub version: ProxyVersions,
    /// CA that it verifies the control plane with, PEM.
    pub ca_cert: String,
    /// Free metadata.
    pub dynamic_metadata: BTreeMap<String, String>,
    /// What kuma-dp found about OpenTelemetry in its environment.
    pub otel_env: Option<Map<String, Value>>,
    /// Port of the DNS server in kuma-dp; 0: unknown.
    pub dns_port: u32,
    /// Port of the readiness reporter; 0: unknown.
    pub readiness_port: u32,
    /// True means that the probe proxy is ENABLED: the published name says the opposite, and must stay.
    #[serde(rename = "appProbeProxyDisabled")]
    pub app_probe_proxy_enabled: bool,
    /// Announced features.
    pub features: Vec<String>,
    /// Work directory of kuma-dp.
    pub workdir: String,
    /// Certificate for the metrics listener.
    pub metrics_resources: MetricsResources,
    /// CA bundle of the host.
    pub system_ca_path: String,
    /// How traffic is redirected; absent without transparent proxy.
    pub dataplane_config: Option<Map<String, Value>>,
    /// The host has IPv6.
    pub ipv6_enabled: bool,
    /// SPIRE agent of the host.
    pub spire_resources: SpireResources,
}

/// What runs at the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyVersions {
    /// kuma-dp.
    pub kuma_dp: KumaDpVersion,
    /// Its Envoy.
    pub envoy: EnvoyVersion,
}

/// Build of kuma-dp.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct KumaDpVersion {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_tag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub git_commit: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build_date: String,
}

/// Build of Envoy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct EnvoyVersion {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub build: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub kuma_dp_compatible: bool,
}

/// Certificate for the metrics listener, files on the host of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct MetricsResources {
    pub cert_path: String,
    pub key_path: String,
}

/// SPIRE agent on the host of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct SpireResources {
    pub socket_path: String,
}

impl BootstrapRequest {
    /// Reads the body of a request.
    pub fn parse(body: &[u8]) -> Result<Self, BootstrapRefusal> {
        let read = |body| serde_json::from_value(without_nulls(serde_json::from_slice(body)?));
        read(body).map_err(|error: serde_json::Error| BootstrapRefusal::NotARequest(error.to_string()))
    }
}

/// Null stands for absent, also where a list or a text is expected.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        other => other,
    }
}
