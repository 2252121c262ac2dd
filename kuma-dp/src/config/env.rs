//! The environment variables of `kuma-dp run`: one table from published name to field.

use kuma_core::duration::{DurationError, GoDuration};

use super::Config;

/// A variable that was set to something its field cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment variable {name}: {reason}")]
pub struct InvalidVariable {
    /// Published name.
    pub name: &'static str,
    /// What was expected.
    pub reason: String,
}

type Set = fn(&mut Config, &str) -> Result<(), String>;

/// Port of `/ready`; setting it makes the port explicit.
pub const READINESS_PORT: &str = "KUMA_READINESS_PORT";
/// Port of the DNS server; setting it makes the port explicit.
pub const DNS_PORT: &str = "KUMA_DNS_PROXY_PORT";
/// Envoy executable; setting it makes the choice explicit.
pub const BINARY_PATH: &str = "KUMA_DATAPLANE_RUNTIME_BINARY_PATH";

/// Every variable that configures `run`, with the field it sets.
pub const VARIABLES: &[(&str, Set)] = &[
    ("KUMA_CONTROL_PLANE_URL", |c, v| put(&mut c.control_plane.url, v)),
    ("KUMA_CONTROL_PLANE_RETRY_BACKOFF", |c, v| put(&mut c.control_plane.retry.backoff, v)),
    ("KUMA_CONTROL_PLANE_RETRY_MAX_DURATION", |c, v| put(&mut c.control_plane.retry.max_duration, v)),
    ("KUMA_CONTROL_PLANE_CA_CERT", |c, v| put(&mut c.control_plane.ca_cert, v)),
    ("KUMA_CONTROL_PLANE_CA_CERT_FILE", |c, v| put(&mut c.control_plane.ca_cert_file, v)),
    ("KUMA_CONTROL_PLANE_TLS_SKIP_VERIFY", |c, v| put(&mut c.control_plane.tls_skip_verify, v)),
    ("KUMA_DATAPLANE_MESH", |c, v| put(&mut c.dataplane.mesh, v)),
    ("KUMA_DATAPLANE_NAME", |c, v| put(&mut c.dataplane.name, v)),
    ("KUMA_DATAPLANE_PROXY_TYPE", |c, v| put(&mut c.dataplane.proxy_type, v)),
    ("KUMA_DATAPLANE_DRAIN_TIME", |c, v| put(&mut c.dataplane.drain_time, v)),
    (READINESS_PORT, |c, v| put(&mut c.dataplane.readiness_port, v)),
    ("KUMA_DATAPLANE_RESILIENT_COMPONENT_BASE_BACKOFF", |c, v| {
        put(&mut c.dataplane.resilient_component_base_backoff, v)
    }),
    ("KUMA_DATAPLANE_RESILIENT_COMPONENT_MAX_BACKOFF", |c, v| put(&mut c.dataplane.resilient_component_max_backoff, v)),
    (BINARY_PATH, |c, v| put(&mut c.dataplane_runtime.binary_path, v)),
    ("KUMA_DATAPLANE_RUNTIME_WORK_DIR", |c, v| put(&mut c.dataplane_runtime.work_dir, v)),
    ("KUMA_DATAPLANE_RUNTIME_CONCURRENCY", |c, v| put(&mut c.dataplane_runtime.concurrency, v)),
    ("KUMA_DATAPLANE_RUNTIME_TOKEN_PATH", |c, v| put(&mut c.dataplane_runtime.token_path, v)),
    ("KUMA_DATAPLANE_RUNTIME_TOKEN", |c, v| put(&mut c.dataplane_runtime.token, v)),
    ("KUMA_DATAPLANE_RUNTIME_RESOURCE", |c, v| put(&mut c.dataplane_runtime.resource, v)),
    ("KUMA_DATAPLANE_RUNTIME_RESOURCE_PATH", |c, v| put(&mut c.dataplane_runtime.resource_path, v)),
    ("KUMA_DATAPLANE_RUNTIME_ENVOY_LOG_LEVEL", |c, v| put(&mut c.dataplane_runtime.envoy_log_level, v)),
    ("KUMA_DATAPLANE_RUNTIME_ENVOY_COMPONENT_LOG_LEVEL", |c, v| {
        put(&mut c.dataplane_runtime.envoy_component_log_level, v)
    }),
    ("KUMA_DATAPLANE_RESOURCES_MAX_MEMORY_BYTES", |c, v| put(&mut c.dataplane_runtime.resources.max_memory_bytes, v)),
    ("KUMA_DATAPLANE_RUNTIME_METRICS_CERT_PATH", |c, v| put(&mut c.dataplane_runtime.metrics.cert_path, v)),
    ("KUMA_DATAPLANE_RUNTIME_METRICS_KEY_PATH", |c, v| put(&mut c.dataplane_runtime.metrics.key_path, v)),
    ("KUMA_DATAPLANE_RUNTIME_DYNAMIC_CONFIGURATION_REFRESH_INTERVAL", |c, v| {
        put(&mut c.dataplane_runtime.dynamic_configuration.refresh_interval, v)
    }),
    ("KUMA_DATAPLANE_RUNTIME_DYNAMIC_SYSTEM_CA_PATH", |c, v| put(&mut c.dataplane_runtime.system_ca_path, v)),
    ("KUMA_DATAPLANE_RUNTIME_BIND_OUTBOUNDS", |c, v| put(&mut c.dataplane_runtime.bind_outbounds, v)),
    ("KUMA_DATAPLANE_RUNTIME_IPV6_ENABLED", |c, v| put(&mut c.dataplane_runtime.ipv6_enabled, v)),
    ("KUMA_DATAPLANE_RUNTIME_SPIRE_SUPPORTED", |c, v| put(&mut c.dataplane_runtime.spire.supported, v)),
    ("KUMA_DATAPLANE_RUNTIME_SPIRE_SOCKET_PATH", |c, v| put(&mut c.dataplane_runtime.spire.socket_path, v)),
    ("KUMA_DATAPLANE_RUNTIME_STRICT_INBOUND_PORTS_ENABLED", |c, v| {
        put(&mut c.dataplane_runtime.strict_inbound_ports_enabled, v)
    }),
    ("KUMA_DATAPLANE_RUNTIME_OTEL_PIPE_ENABLED", |c, v| put(&mut c.dataplane_runtime.otel_pipe_enabled, v)),
    ("KUMA_DATAPLANE_RUNTIME_REUSE_PORT_ENABLED", |c, v| put(&mut c.dataplane_runtime.reuse_port_enabled, v)),
    ("KUMA_DNS_ENABLED", |c, v| put(&mut c.dns.enabled, v)),
    (DNS_PORT, |c, v| put(&mut c.dns.proxy_port, v)),
    ("KUMA_APPLICATION_PROBE_PROXY_PORT", |c, v| put(&mut c.application_probe_proxy_server.port, v)),
];

/// Lays the environment over `config`. A variable that is set but empty counts as not set.
pub fn apply(config: &mut Config, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), InvalidVariable> {
    for (name, set) in VARIABLES {
        if let Some(value) = lookup(name).filter(|v| !v.is_empty()) {
            set(config, &value).map_err(|reason| InvalidVariable { name, reason })?;
        }
    }
    Ok(())
}

/// A field that can be set from text.
trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, String>;
}

fn put<T: FromText>(field: &mut T, text: &str) -> Result<(), String> {
    *field = T::from_text(text)?;
    Ok(())
}

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Result<Self, String> {
        parse_bool(text)
    }
}

impl FromText for u32 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not a whole number from 0 to {}", Self::MAX))
    }
}

impl FromText for u64 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not a whole number from 0 to {}", Self::MAX))
    }
}

impl FromText for GoDuration {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|e: DurationError| format!("{e} (for example \"30s\", \"500ms\" or \"1h30m\")"))
    }
}

/// The spellings of truth that Kuma's variables and flags accept.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("{other:?} is not a boolean: use \"true\" or \"false\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_reaches_its_own_field() {
        // Each variable alone must change the defaults, and no two in the same way.
        let mut seen = Vec::new();
        for (name, _) in VARIABLES {
            let changed = ["true", "false", "7", "7s", "text"].into_iter().find_map(|value| {
                let mut config = Config::defaults();
                apply(&mut config, &|n| (n == *name).then(|| value.to_owned())).ok()?;
                (config != Config::defaults()).then_some(config)
            });
            let changed = changed.unwrap_or_else(|| panic!("{name} sets nothing"));
            assert!(!seen.contains(&changed), "{name} sets the field of another variable");
            seen.push(changed);
        }
    }

    #[test]
    fn a_bad_value_names_the_variable() {
        let env = |name: &str| (name == "KUMA_DATAPLANE_DRAIN_TIME").then(|| "soon".to_owned());
        assert_eq!(
            apply(&mut Config::defaults(), &env).unwrap_err().to_string(),
            "environment variable KUMA_DATAPLANE_DRAIN_TIME: time: invalid duration \"soon\" \
             (for example \"30s\", \"500ms\" or \"1h30m\")"
        );
    }

    #[test]
    fn an_empty_variable_is_no_variable() {
        let mut config = Config::defaults();
        apply(&mut config, &|_| Some(String::new())).unwrap();
        assert_eq!(config, Config::defaults());
    }
}
