//! What the `OTEL_EXPORTER_OTLP*` environment says, as facts for the control plane. Values never leave the host.

use serde::Serialize;

/// Presence and plausibility of the environment, layer by layer. Serialized as the bootstrap request's `otelEnv`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OtelEnv {
    /// Whether telemetry goes through kuma-dp.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pipe_enabled: bool,
    /// Variables for every signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared: Option<Layer>,
    /// Variables for traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<Layer>,
    /// Variables for logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<Layer>,
    /// Variables for metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Layer>,
    /// Those of all layers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation_errors: Vec<String>,
}

/// What one layer of variables says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names say it: which variables are set, and what follows from them")]
pub struct Layer {
    pub signal: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_present: bool,
    #[serde(rename = "endpointParsedAsURL", skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_parsed_as_url: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub endpoint_has_path: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub protocol_present: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub headers_present: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timeout_present: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compression_present: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_present: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub certificate_present: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub client_certificate_present: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub client_key_present: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub effective_protocol: &'static str,
    pub effective_auth_mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub override_kinds: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub validation_errors: Vec<String>,
}

/// Name in `overrideKinds` and variable suffix of every setting, sorted by name.
const SETTINGS: [(&str, &str); 9] = [
    ("certificate", "CERTIFICATE"),
    ("clientCertificate", "CLIENT_CERTIFICATE"),
    ("clientKey", "CLIENT_KEY"),
    ("compression", "COMPRESSION"),
    ("endpoint", "ENDPOINT"),
    ("headers", "HEADERS"),
    ("insecure", "INSECURE"),
    ("protocol", "PROTOCOL"),
    ("timeout", "TIMEOUT"),
];

/// The values of one layer; `None` where the variable is absent or blank.
struct Values([Option<String>; SETTINGS.len()]);

impl Values {
    fn read(prefix: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Self {
        Self(SETTINGS.map(|(_, suffix)| {
            let value = lookup(&format!("{prefix}_{suffix}"))?;
            let value = value.trim();
            (!value.is_empty()).then(|| value.to_owned())
        }))
    }

    fn get(&self, name: &str) -> Option<&str> {
        SETTINGS.iter().zip(&self.0).find(|((known, _), _)| *known == name)?.1.as_deref()
    }

    fn describe(&self, signal: &'static str, shared: Option<&Self>) -> Option<Layer> {
        if self.0.iter().all(Option::is_none) {
            return None;
        }
        let has = |name: &str| self.get(name).is_some();
        let mut layer = Layer {
            signal,
            endpoint_present: has("endpoint"),
            protocol_present: has("protocol"),
            headers_present: has("headers"),
            timeout_present: has("timeout"),
            compression_present: has("compression"),
            insecure_present: has("insecure"),
            certificate_present: has("certificate"),
            client_certificate_present: has("clientCertificate"),
            client_key_present: has("clientKey"),
            effective_auth_mode: match () {
                () if has("clientCertificate") && has("clientKey") => "mtls",
                () if has("certificate") => "tls",
                () if has("headers") => "headers",
                () => "none",
            },
            ..Layer::default()
        };
        if let Some(shared) = shared {
            let differs = |name: &&'static str| has(name) && self.get(name) != shared.get(name);
            layer.override_kinds = SETTINGS.iter().map(|(name, _)| *name).filter(differs).collect();
        }
        let mut wrong = |what: &str| layer.validation_errors.push(format!("{signal}.{what}"));
        if let Some(text) = self.get("protocol") {
            layer.effective_protocol = protocol(text).unwrap_or("unknown");
            if layer.effective_protocol == "unknown" {
                wrong("protocol");
            }
        }
        if let Some(path) = self.get("endpoint").and_then(url_path) {
            layer.endpoint_parsed_as_url = true;
            layer.endpoint_has_path = !path.is_empty();
            let said = self.get("protocol").or_else(|| shared?.get("protocol"));
            // gRPC is the default, and it has no place for a path.
            if !path.is_empty() && said.is_none_or(|p| protocol(p) == Some("grpc")) {
                wrong("endpoint");
            }
        }
        if self.get("compression").is_some_and(|c| !matches!(c.to_ascii_lowercase().as_str(), "gzip" | "none")) {
            wrong("compression");
        }
        if self.get("timeout").is_some_and(|t| t.parse::<u64>().is_err()) {
            wrong("timeout");
        }
        if has("clientCertificate") != has("clientKey") {
            wrong("mtls");
        }
        Some(layer)
    }
}

fn protocol(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "grpc" => Some("grpc"),
        "http/protobuf" => Some("http/protobuf"),
        _ => None,
    }
}

/// The path of a URL with scheme and host, else nothing.
fn url_path(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, tail) = rest.split_at(end);
    let well_formed = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && !host.is_empty();
    well_formed.then(|| &tail[..tail.find(['?', '#']).unwrap_or(tail.len())])
}

/// Reads the environment through `lookup`.
pub fn discover(pipe_enabled: bool, lookup: &dyn Fn(&str) -> Option<String>) -> OtelEnv {
    let read = |suffix: &str| Values::read(&format!("OTEL_EXPORTER_OTLP{suffix}"), lookup);
    let shared_values = read("");
    let shared = shared_values.describe("shared", None);
    let [traces, logs, metrics] = [("traces", "_TRACES"), ("logs", "_LOGS"), ("metrics", "_METRICS")]
        .map(|(signal, suffix)| read(suffix).describe(signal, Some(&shared_values)));
    let layers = [&shared, &traces, &logs, &metrics];
    let validation_errors = layers.into_iter().flatten().flat_map(|l| l.validation_errors.clone()).collect();
    OtelEnv { pipe_enabled, shared, traces, logs, metrics, validation_errors }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pairs: &[(&str, &str)]) -> serde_json::Value {
        let lookup = |name: &str| {
            let suffix = name.strip_prefix("OTEL_EXPORTER_OTLP_")?;
            pairs.iter().find(|(k, _)| *k == suffix).map(|(_, v)| (*v).to_owned())
        };
        serde_json::to_value(discover(true, &lookup)).unwrap()
    }

    #[test]
    fn one_endpoint_is_told_as_recorded() {
        assert_eq!(
            found(&[("ENDPOINT", "http://collector:4317")]),
            serde_json::json!({"pipeEnabled": true, "shared": {
                "signal": "shared", "endpointPresent": true, "endpointParsedAsURL": true, "effectiveAuthMode": "none"
            }})
        );
    }

    #[test]
    fn nothing_set_says_nothing() {
        assert_eq!(found(&[("HEADERS", "  ")]), serde_json::json!({"pipeEnabled": true}));
    }

    #[test]
    fn a_signal_says_what_it_overrides_and_what_is_wrong() {
        let env = found(&[
            ("PROTOCOL", "grpc"),
            ("HEADERS", "a=b"),
            ("TRACES_ENDPOINT", "https://c:4318/v1/traces"),
            ("TRACES_HEADERS", "a=b"),
            ("LOGS_PROTOCOL", "smoke"),
            ("LOGS_TIMEOUT", "soon"),
            ("METRICS_CLIENT_KEY", "/k"),
        ]);
        assert_eq!(env["traces"]["overrideKinds"], serde_json::json!(["endpoint"]));
        assert_eq!(env["traces"]["endpointHasPath"], true);
        assert_eq!(env["logs"]["effectiveProtocol"], "unknown");
        assert_eq!(
            env["validationErrors"],
            serde_json::json!(["traces.endpoint", "logs.protocol", "logs.timeout", "metrics.mtls"])
        );
    }
}
