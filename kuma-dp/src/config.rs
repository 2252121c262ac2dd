//! What `kuma-dp run` can be told: one struct, its documented defaults and its rules.
//!
//! Sources, weakest first: [`Config::defaults`], environment ([`mod@env`]), flags ([`crate::cli`]). There is no configuration file.

pub mod env;
pub mod sources;

use std::collections::BTreeMap;

use kuma_core::{
    document::{Limits, Part},
    duration::GoDuration,
};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::transparent_proxy::TransparentProxy;

/// Everything that can be configured, keys as published. `Config::default()` is all zero; see [`Config::defaults`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Config {
    /// Where and how the bootstrap is fetched.
    pub control_plane: ControlPlane,
    /// Which data plane this is.
    pub dataplane: Dataplane,
    /// How Envoy runs here.
    pub dataplane_runtime: DataplaneRuntime,
    /// The embedded DNS server.
    pub dns: Dns,
    /// The probe proxy for Kubernetes.
    pub application_probe_proxy_server: ProbeProxy,
}

/// Where and how the bootstrap is fetched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ControlPlane {
    /// `https://host:port` of the data plane server.
    pub url: String,
    /// How often and how long to try.
    pub retry: Retry,
    /// PEM text; wins over the file.
    pub ca_cert: String,
    /// Path of the PEM file.
    pub ca_cert_file: String,
    /// Do not verify the server's certificate.
    pub tls_skip_verify: bool,
}

/// How often and how long to try.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retry {
    /// Between two tries.
    #[serde(deserialize_with = "text_or_zero")]
    pub backoff: GoDuration,
    /// From the first try; checked between tries.
    #[serde(deserialize_with = "text_or_zero")]
    pub max_duration: GoDuration,
}

/// Which data plane this is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dataplane {
    /// Mesh, empty when the resource says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mesh: String,
    /// Name, empty when the resource says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `dataplane`.
    pub proxy_type: String,
    /// Between the first SIGTERM and the end of Envoy.
    #[serde(deserialize_with = "text_or_zero")]
    pub drain_time: GoDuration,
    /// Port of `/ready`.
    pub readiness_port: u32,
    /// First wait before a component that failed is started again.
    #[serde(deserialize_with = "text_or_zero")]
    pub resilient_component_base_backoff: GoDuration,
    /// Longest such wait.
    #[serde(deserialize_with = "text_or_zero")]
    pub resilient_component_max_backoff: GoDuration,
}

/// How Envoy runs here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataplaneRuntime {
    /// Envoy: a path, or a name to look up.
    pub binary_path: String,
    /// Where generated files and sockets go; empty is a temporary directory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub work_dir: String,
    /// Worker threads of Envoy; 0 derives them from the CPU set.
    #[serde(skip_serializing_if = "is_zero")]
    pub concurrency: u32,
    /// File that holds the data plane token.
    #[serde(rename = "dataplaneTokenPath", skip_serializing_if = "String::is_empty")]
    pub token_path: String,
    /// The token itself.
    #[serde(rename = "dataplaneToken", skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Dataplane resource as text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Dataplane resource as a file; `-` is standard input.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_path: String,
    /// Variables of the resource's template.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource_vars: BTreeMap<String, String>,
    /// Envoy's log level; empty is kuma-dp's own.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub envoy_log_level: String,
    /// Envoy's `--component-log-level`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub envoy_component_log_level: String,
    /// Limits of the host.
    pub resources: Resources,
    /// Certificate for scraping.
    pub metrics: Metrics,
    /// Configuration that comes through Envoy.
    pub dynamic_configuration: DynamicConfiguration,
    /// CA bundle of the system; empty is autodetected.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub system_ca_path: String,
    /// Set when the transparent proxy is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent_proxy: Option<TransparentProxy>,
    /// Bind outbound listeners to their real addresses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bind_outbounds: bool,
    /// Whether IPv6 may be used.
    #[serde(rename = "IPv6Enabled")]
    pub ipv6_enabled: bool,
    /// SPIRE agent.
    pub spire: Spire,
    /// Let traffic in on declared ports only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub strict_inbound_ports_enabled: bool,
    /// Telemetry through kuma-dp.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub otel_pipe_enabled: bool,
    /// SO_REUSEPORT on inbound listeners.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reuse_port_enabled: bool,
}

/// Limits of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    /// Bytes; 0 reads the cgroup.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub max_memory_bytes: u64,
}

/// Certificate for scraping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// PEM certificate file.
    #[serde(rename = "metricsCertPath", skip_serializing_if = "String::is_empty")]
    pub cert_path: String,
    /// PEM key file.
    #[serde(rename = "metricsKeyPath", skip_serializing_if = "String::is_empty")]
    pub key_path: String,
}

/// Configuration that comes through Envoy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DynamicConfiguration {
    /// Between two polls.
    #[serde(deserialize_with = "text_or_zero")]
    pub refresh_interval: GoDuration,
}

/// SPIRE agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spire {
    /// Kubernetes: the socket is mounted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub supported: bool,
    /// Universal: where the socket is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub socket_path: String,
}

/// The embedded DNS server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns {
    /// Whether it runs.
    pub enabled: bool,
    /// Its port, UDP and TCP.
    pub proxy_port: u32,
}

/// The probe proxy for Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeProxy {
    /// 0 is off.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
const fn is_zero_u64(n: &u64) -> bool {
    *n == 0
}

/// A configuration that breaks a rule; the text lists every broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidConfig(String);

/// A configuration file that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("failed to read configuration from file '{path}'")]
    Read {
        /// As given.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not YAML of this shape.
    #[error("parsing configuration from file '{path}' failed: {reason}")]
    Parse {
        /// As given.
        path: String,
        /// What does not fit, with its place.
        reason: String,
    },
    /// It breaks rules.
    #[error("parsing configuration from file '{path}' failed: configuration validation failed: {source}")]
    Invalid {
        /// As given.
        path: String,
        /// Which rules.
        source: InvalidConfig,
    },
}

impl Config {
    /// The documented defaults.
    pub fn defaults() -> Self {
        Self {
            control_plane: ControlPlane {
                url: "https://localhost:5678".into(),
                retry: Retry { backoff: GoDuration::from_secs(3), max_duration: GoDuration::from_secs(300) },
                ..ControlPlane::default()
            },
            dataplane: Dataplane {
                proxy_type: "dataplane".into(),
                drain_time: GoDuration::from_secs(30),
                readiness_port: 9902,
                resilient_component_base_backoff: GoDuration::from_secs(5),
                resilient_component_max_backoff: GoDuration::from_secs(60),
                ..Dataplane::default()
            },
            dataplane_runtime: DataplaneRuntime {
                binary_path: "envoy".into(),
                dynamic_configuration: DynamicConfiguration { refresh_interval: GoDuration::from_secs(1) },
                ipv6_enabled: true,
                strict_inbound_ports_enabled: true,
                otel_pipe_enabled: true,
                reuse_port_enabled: true,
                ..DataplaneRuntime::default()
            },
            dns: Dns { enabled: true, proxy_port: 15053 },
            application_probe_proxy_server: ProbeProxy::default(),
        }
    }

    /// Reads a file on its own: no defaults, no environment, keys left out are empty or zero. `run` has no such file; this
    /// is the door for checking a written configuration against the rules.
    pub fn from_file(path: &str) -> Result<Self, FileError> {
        let text = std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.into(), source })?;
        let parse = |reason: String| FileError::Parse { path: path.into(), reason };
        let parsed = Part::whole(&text).parse(Limits::REQUEST).map_err(|fault| parse(fault.to_string()))?;
        let mut value = parsed.value;
        drop_nulls(&mut value);
        let config: Self = serde_json::from_value(value).map_err(|e| parse(e.to_string()))?;
        config.validate().map_err(|source| FileError::Invalid { path: path.into(), source })?;
        Ok(config)
    }

    /// Checks every rule and reports all that are broken, section by section.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut sections = Vec::new();
        if !self.control_plane.retry.backoff.is_positive() {
            let text = ".ControlPlane is not valid: .Retry is not valid: .Backoff must be a positive duration";
            sections.push(text.to_owned());
        }
        section(&mut sections, ".Dataplane", self.dataplane.violations(self.dataplane_runtime.has_resource()));
        if self.dataplane_runtime.binary_path.is_empty() {
            section(&mut sections, ".DataplaneRuntime", vec![".BinaryPath must be non-empty"]);
        }
        if self.dns.enabled && !is_port(self.dns.proxy_port) {
            section(&mut sections, ".DNS", vec![".ProxyPort has to be in (0, 65535] range"]);
        }
        if self.application_probe_proxy_server.port > u32::from(u16::MAX) {
            section(&mut sections, ".ApplicationProbeProxyServer", vec![".Port has to be in [0, 65535] range"]);
        }
        if sections.is_empty() { Ok(()) } else { Err(InvalidConfig(sections.join("; "))) }
    }

    /// The same configuration with secrets replaced, for logs.
    pub fn redacted(&self) -> Self {
        let mut copy = self.clone();
        for secret in [&mut copy.dataplane_runtime.token, &mut copy.control_plane.ca_cert] {
            if !secret.is_empty() {
                *secret = "*****".into();
            }
        }
        copy
    }
}

impl DataplaneRuntime {
    /// Whether a Dataplane resource is given here rather than stored in the control plane.
    pub fn has_resource(&self) -> bool {
        !self.resource.is_empty() || !self.resource_path.is_empty()
    }
}

impl Dataplane {
    fn violations(&self, resource_given: bool) -> Vec<&'static str> {
        let mut found = Vec::new();
        if !resource_given && self.mesh.is_empty() {
            found.push(".Mesh must be non-empty");
        }
        if !resource_given && self.name.is_empty() {
            found.push(".Name must be non-empty");
        }
        if !self.drain_time.is_positive() {
            found.push(".DrainTime must be positive");
        }
        if !is_port(self.readiness_port) {
            found.push(".ReadinessPort has to be in (0, 65535] range");
        }
        found
    }
}

const fn is_port(n: u32) -> bool {
    n >= 1 && n <= 65535
}

fn section(into: &mut Vec<String>, name: &str, violations: Vec<&str>) {
    if !violations.is_empty() {
        into.push(format!("{name} is not valid: {}", violations.join("; ")));
    }
}

/// A duration, or the bare number 0.
fn text_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<GoDuration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Number(i64),
    }
    match Form::deserialize(deserializer)? {
        Form::Text(text) => text.parse().map_err(de::Error::custom),
        Form::Number(number) => number.to_string().parse().map_err(de::Error::custom),
    }
}

/// A key without a value (`mesh:`) is a key left out.
fn drop_nulls(value: &mut serde_json::Value) {
    if let serde_json::Value::Object(map) = value {
        map.retain(|_, v| !v.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_print_as_documented() {
        let expected = serde_json::json!({
            "applicationProbeProxyServer": {},
            "controlPlane": {
                "caCert": "", "caCertFile": "", "retry": {"backoff": "3s", "maxDuration": "5m0s"},
                "tlsSkipVerify": false, "url": "https://localhost:5678"
            },
            "dataplane": {
                "drainTime": "30s", "proxyType": "dataplane", "readinessPort": 9902,
                "resilientComponentBaseBackoff": "5s", "resilientComponentMaxBackoff": "1m0s"
            },
            "dataplaneRuntime": {
                "IPv6Enabled": true, "binaryPath": "envoy", "dynamicConfiguration": {"refreshInterval": "1s"},
                "metrics": {}, "otelPipeEnabled": true, "resources": {}, "reusePortEnabled": true, "spire": {},
                "strictInboundPortsEnabled": true
            },
            "dns": {"enabled": true, "proxyPort": 15053}
        });
        assert_eq!(serde_json::to_value(Config::defaults()).unwrap(), expected);
    }

    #[test]
    fn a_bare_file_reports_every_broken_rule() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dp.yaml");
        let text = "controlPlane:\n  retry: {backoff: 0s}\ndataplane:\n  mesh:\n  name: $(POD_NAME)\n  drainTime: 0\n";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(
            Config::from_file(path).unwrap_err().to_string(),
            format!(
                "parsing configuration from file '{path}' failed: configuration validation failed: \
                 .ControlPlane is not valid: .Retry is not valid: .Backoff must be a positive duration; \
                 .Dataplane is not valid: .Mesh must be non-empty; .DrainTime must be positive; \
                 .ReadinessPort has to be in (0, 65535] range; \
                 .DataplaneRuntime is not valid: .BinaryPath must be non-empty"
            )
        );
    }

    #[test]
    fn name_and_mesh_are_needed_only_without_a_resource() {
        let mut config = Config::defaults();
        let text = ".Dataplane is not valid: .Mesh must be non-empty; .Name must be non-empty";
        assert_eq!(config.validate().unwrap_err().to_string(), text);
        config.dataplane_runtime.resource_path = "dp.yaml".into();
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn ports_out_of_range_are_named() {
        let mut config = Config::defaults();
        config.dataplane_runtime.resource_path = "-".into();
        config.dns.proxy_port = 70_000;
        config.application_probe_proxy_server.port = 70_000;
        assert_eq!(
            config.validate().unwrap_err().to_string(),
            ".DNS is not valid: .ProxyPort has to be in (0, 65535] range; \
             .ApplicationProbeProxyServer is not valid: .Port has to be in [0, 65535] range"
        );
        config.dns.enabled = false;
        config.application_probe_proxy_server.port = 9001;
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn logs_never_show_secrets() {
        let mut config = Config::defaults();
        config.dataplane_runtime.token = "eyJ".into();
        assert_eq!(config.redacted().dataplane_runtime.token, "*****");
        assert_eq!(config.redacted().control_plane.ca_cert, "");
    }
}
