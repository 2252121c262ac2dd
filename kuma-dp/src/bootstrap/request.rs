//! The wire forms of the bootstrap exchange: what is asked, what comes back, and the little of Envoy's bootstrap that
//! kuma-dp itself has to know.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use base64::Engine as _;
use kuma_core::document::{Limits, Part};
use serde::{Deserialize, Serialize};

use crate::{envoy::binary::EnvoyVersion, http::Peer, otel_env::OtelEnv, transparent_proxy::TransparentProxy, version};

/// Body of `POST /bootstrap`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct BootstrapRequest {
    pub mesh: String,
    pub name: String,
    pub proxy_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dataplane_token: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dataplane_token_path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dataplane_resource: String,
    pub version: Versions,
    pub ca_cert: String,
    pub dynamic_metadata: BTreeMap<String, String>,
    pub otel_env: OtelEnv,
    pub dns_port: u16,
    pub readiness_port: u16,
    /// True means that the probe proxy is ENABLED: the published name says the opposite, and must stay.
    #[serde(rename = "appProbeProxyDisabled", skip_serializing_if = "std::ops::Not::not")]
    pub app_probe_proxy_enabled: bool,
    pub operating_system: &'static str,
    pub features: Vec<&'static str>,
    pub resources: HostResources,
    pub workdir: String,
    pub metrics_resources: MetricsResources,
    pub system_ca_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataplane_config: Option<TransparentProxy>,
    pub ipv6_enabled: bool,
    pub spire_resources: SpireResources,
}

/// Who asks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct Versions {
    pub kuma_dp: KumaDpVersion,
    pub envoy: EnvoyVersion,
}

/// This build.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct KumaDpVersion {
    pub version: &'static str,
    pub git_tag: &'static str,
    pub git_commit: &'static str,
    pub build_date: &'static str,
}

impl Versions {
    /// This kuma-dp with that Envoy.
    pub fn with(envoy: EnvoyVersion) -> Self {
        let kuma_dp = KumaDpVersion {
            version: version::VERSION,
            git_tag: version::GIT_TAG,
            git_commit: version::GIT_COMMIT,
            build_date: version::BUILD_DATE,
        };
        Self { kuma_dp, envoy }
    }
}

/// Limits of the host.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct HostResources {
    pub max_heap_size_bytes: u64,
}

/// Certificate for scraping.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct MetricsResources {
    pub cert_path: String,
    pub key_path: String,
}

/// SPIRE agent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct SpireResources {
    pub socket_path: String,
}

/// An answer that is not a bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum BadAnswer {
    /// The envelope is broken.
    #[error("the control plane's answer is not a bootstrap response: {0}")]
    Envelope(#[from] serde_json::Error),
    /// The bootstrap inside is not base64.
    #[error("the bootstrap in the control plane's answer is not base64: {0}")]
    Encoding(#[from] base64::DecodeError),
    /// The bootstrap inside is not YAML.
    #[error("the bootstrap in the control plane's answer is not valid YAML: {0}")]
    Yaml(String),
}

/// What the control plane sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Envoy's configuration, as it came.
    pub yaml: Vec<u8>,
    /// How to reach Envoy's admin API; `None` if it has none.
    pub admin: Option<Peer>,
    /// `networking.address` of the Dataplane, if it is an IP address.
    pub address: Option<IpAddr>,
    /// More endpoints to scrape, beside Envoy.
    pub aggregate: Vec<ScrapeTarget>,
}

/// One endpoint to scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the fields are the published wire form")]
pub struct ScrapeTarget {
    pub name: String,
    pub address: String,
    pub port: u16,
    pub path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    bootstrap: String,
    #[serde(default)]
    kuma_sidecar_configuration: SidecarConfiguration,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SidecarConfiguration {
    networking: SidecarNetworking,
    metrics: SidecarMetrics,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SidecarNetworking {
    address: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SidecarMetrics {
    aggregate: Option<Vec<ScrapeTarget>>,
}

#[derive(Deserialize)]
struct EnvoyBootstrap {
    admin: Option<EnvoyAdmin>,
}

#[derive(Deserialize)]
struct EnvoyAdmin {
    address: Option<EnvoyAddress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvoyAddress {
    pipe: Option<EnvoyPipe>,
    #[serde(alias = "socket_address")]
    socket_address: Option<EnvoySocketAddress>,
}

#[derive(Deserialize)]
struct EnvoyPipe {
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvoySocketAddress {
    address: IpAddr,
    #[serde(alias = "port_value", default)]
    port_value: u16,
}

impl Bootstrap {
    /// Reads the body of a 200 answer.
    pub fn parse(body: &[u8]) -> Result<Self, BadAnswer> {
        let envelope: Envelope = serde_json::from_slice(body)?;
        let yaml = base64::engine::general_purpose::STANDARD.decode(&envelope.bootstrap)?;
        let text = std::str::from_utf8(&yaml).map_err(|e| BadAnswer::Yaml(e.to_string()))?;
        let envoy: EnvoyBootstrap =
            Part::whole(text).decode(Limits::FILE).map_err(|e| BadAnswer::Yaml(e.to_string()))?;
        let admin = envoy.admin.and_then(|admin| admin.address).and_then(|address| match address {
            EnvoyAddress { pipe: Some(pipe), .. } => Some(Peer::Unix(pipe.path)),
            EnvoyAddress { socket_address: Some(tcp), .. } => {
                Some(Peer::Tcp(SocketAddr::new(tcp.address, tcp.port_value)))
            }
            _ => None,
        });
        let sidecar = envelope.kuma_sidecar_configuration;
        Ok(Self {
            yaml,
            admin,
            address: sidecar.networking.address.parse().ok(),
            aggregate: sidecar.metrics.aggregate.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(yaml: &str) -> Vec<u8> {
        let bootstrap = base64::engine::general_purpose::STANDARD.encode(yaml);
        serde_json::json!({"bootstrap": bootstrap, "kumaSidecarConfiguration": {
            "networking": {"address": "10.0.0.1"}, "metrics": {"aggregate": null}
        }})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn the_admin_api_is_found_in_either_form() {
        let unix = "admin:\n  address:\n    pipe: {mode: 384, path: /run/a.sock}\nnode: {id: default.web}\n";
        let parsed = Bootstrap::parse(&answer(unix)).unwrap();
        assert_eq!(parsed.admin, Some(Peer::Unix("/run/a.sock".into())));
        assert_eq!(parsed.address, Some(IpAddr::from([10, 0, 0, 1])));
        assert_eq!(parsed.yaml, unix.as_bytes());

        for tcp in [
            "admin: {address: {socketAddress: {address: 127.0.0.1, portValue: 9901}}}",
            "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}",
        ] {
            let expected = Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 9901)));
            assert_eq!(Bootstrap::parse(&answer(tcp)).unwrap().admin, Some(expected));
        }
        assert_eq!(Bootstrap::parse(&answer("node: {id: default.web}")).unwrap().admin, None);
    }

    #[test]
    fn other_answers_are_refused_with_a_reason() {
        assert!(matches!(Bootstrap::parse(b"<html>"), Err(BadAnswer::Envelope(_))));
        assert!(matches!(Bootstrap::parse(br#"{"bootstrap": "?"}"#), Err(BadAnswer::Encoding(_))));
        assert!(matches!(Bootstrap::parse(&answer("a: [")), Err(BadAnswer::Yaml(_))));
    }
}
