//! What a proxy says of itself in the metadata of its xDS node.

use std::sync::Arc;

use serde_json::Value;

use crate::resources::IpFamilyMode;

/// Features that a proxy announces. Names are those on the wire, without the prefix `feature-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// Redirection is described in the metadata, not in the Dataplane.
    pub transparent_proxy_in_dataplane_metadata: bool,
    /// Outbound listeners bind the real addresses of destinations.
    pub bind_outbounds: bool,
    /// Redirected inbound traffic is limited to declared ports.
    pub strict_inbound_ports: bool,
    /// `enableReusePort` on inbound listeners.
    pub reuse_port: bool,
    /// The readiness reporter of old proxies listens on a Unix socket.
    pub readiness_unix_socket: bool,
    /// OpenTelemetry goes through kuma-dp.
    pub otel_via_kuma_dp: bool,
    /// A SPIRE agent may issue the identity.
    pub spire: bool,
}

impl Features {
    /// From the names on the wire; unknown ones are ignored.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut features = Self::default();
        for name in names {
            match name {
                "feature-transparent-proxy-in-dataplane-metadata" => {
                    features.transparent_proxy_in_dataplane_metadata = true;
                }
                "feature-bind-outbounds" => features.bind_outbounds = true,
                "feature-strict-inbound-ports" => features.strict_inbound_ports = true,
                "feature-reuse-port" => features.reuse_port = true,
                "feature-readiness-unix-socket" => features.readiness_unix_socket = true,
                "feature-otel-via-kuma-dp" => features.otel_via_kuma_dp = true,
                "feature-spire" => features.spire = true,
                _ => {}
            }
        }
        features
    }
}

/// Redirection of traffic; a port of 0 means that this direction is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Redirect {
    /// Port that redirected inbound traffic arrives at.
    pub inbound_port: u16,
    /// Port that redirected outbound traffic arrives at.
    pub outbound_port: u16,
    /// IPv6 is redirected too.
    pub ipv6: bool,
}

/// What one proxy said of itself when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// Announced features.
    pub features: Features,
    /// Redirection as kuma-dp knows it; used if the matching feature is announced.
    pub redirect: Option<Redirect>,
    /// Port of the built-in DNS server; 0 is off.
    pub dns_port: u16,
    /// Port of the readiness reporter; 0 if not told.
    pub readiness_port: u16,
    /// Port of Envoy's admin API; 0 is off.
    pub admin_port: u16,
    /// Address of Envoy's admin API as told; may be empty.
    pub admin_address: Arc<str>,
    /// Unix socket of Envoy's admin API; empty if it is a port.
    pub admin_socket: Arc<str>,
    /// The host has IPv6.
    pub ipv6: bool,
    /// Work directory of kuma-dp; may be empty.
    pub work_dir: Arc<str>,
    /// CA bundle of the host; may be empty.
    pub system_ca_path: Arc<str>,
    /// Certificate of the metrics listener; may be empty.
    pub metrics_cert_path: Arc<str>,
    /// Key of the metrics listener; may be empty.
    pub metrics_key_path: Arc<str>,
    /// Socket of the SPIRE agent; may be empty.
    pub spire_socket: Arc<str>,
}

impl Default for NodeFacts {
    /// A proxy that said nothing: IPv6 is then taken to be there.
    fn default() -> Self {
        Self {
            features: Features::default(),
            redirect: None,
            dns_port: 0,
            readiness_port: 0,
            admin_port: 0,
            admin_address: "".into(),
            admin_socket: "".into(),
            ipv6: true,
            work_dir: "".into(),
            system_ca_path: "".into(),
            metrics_cert_path: "".into(),
            metrics_key_path: "".into(),
            spire_socket: "".into(),
        }
    }
}

impl NodeFacts {
    /// Reads node metadata given as JSON. Numbers may come as numbers or as decimal text; what is missing or does not
    /// read has the value of a proxy that said nothing.
    pub fn from_metadata(metadata: &Value) -> Self {
        let names = metadata["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let redirect = &metadata["transparentProxy"];
        Self {
            features: Features::from_names(names),
            redirect: redirect.is_object().then(|| read_redirect(redirect)),
            dns_port: number(&metadata["dataplane.dns.port"]),
            readiness_port: number(&metadata["dataplane.readinessReporter.port"]),
            admin_port: number(&metadata["dataplane.admin.port"]),
            admin_address: string(&metadata["dataplane.admin.address"]),
            admin_socket: string(&metadata["dataplane.admin.socketPath"]),
            ipv6: metadata["ipv6Enabled"].as_bool().unwrap_or(true),
            work_dir: string(&metadata["workdir"]),
            system_ca_path: string(&metadata["systemCaPath"]),
            metrics_cert_path: string(&metadata["metricsCertPath"]),
            metrics_key_path: string(&metadata["metricsKeyPath"]),
            spire_socket: string(&metadata["spireAgent.socketPath"]),
        }
    }

    /// Where the admin API is reached: it is only taken to be on loopback, and a wildcard is reached through the
    /// loopback of its family.
    pub fn admin_loopback(&self) -> &'static str {
        match self.admin_address.as_ref() {
            "::" | "::1" => "::1",
            _ => "127.0.0.1",
        }
    }
}

fn read_redirect(value: &Value) -> Redirect {
    let side = |name: &str| {
        let side = &value["redirect"][name];
        if side["enabled"].as_bool().unwrap_or(false) { number(&side["port"]) } else { 0 }
    };
    // `ipv4` is the one mode without IPv6; anything else, also an unknown text, has both.
    let ipv4_only = value["ipFamilyMode"].as_str().is_some_and(|m| m.eq_ignore_ascii_case("ipv4"));
    Redirect { inbound_port: side("inbound"), outbound_port: side("outbound"), ipv6: !ipv4_only }
}

impl Redirect {
    /// Redirection as a Dataplane describes it.
    pub fn declared(declared: &super::DeclaredRedirect) -> Self {
        Self {
            inbound_port: declared.inbound_port,
            outbound_port: declared.outbound_port,
            ipv6: declared.families != IpFamilyMode::IPv4,
        }
    }
}

fn number(value: &Value) -> u16 {
    match value {
        // Numbers of a protobuf Struct are floating point.
        Value::Number(n) => n.as_f64().filter(|n| (0.0..=65535.0).contains(n)).map_or(0, |n| n as u16),
        Value::String(text) => text.parse().unwrap_or(0),
        _ => 0,
    }
}

fn string(value: &Value) -> Arc<str> {
    value.as_str().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_from_text_and_from_numbers() {
        let facts = NodeFacts::from_metadata(&json!({
            "features": ["feature-reuse-port", "feature-of-tomorrow"],
            "dataplane.admin.port": "9901",
            "dataplane.dns.port": 15053.0,
            "ipv6Enabled": false,
            "transparentProxy": {"ipFamilyMode": "ipv4", "redirect": {
                "inbound": {"enabled": true, "port": 15006}, "outbound": {"enabled": false, "port": 15001}}},
        }));
        assert!(facts.features.reuse_port && !facts.features.bind_outbounds);
        assert_eq!((facts.admin_port, facts.dns_port, facts.ipv6), (9901, 15053, false));
        assert_eq!(facts.redirect, Some(Redirect { inbound_port: 15006, outbound_port: 0, ipv6: false }));
    }

    #[test]
    fn silence_means_ipv6() {
        assert_eq!(NodeFacts::from_metadata(&json!({})), NodeFacts::default());
        assert!(NodeFacts::default().ipv6);
    }
}
