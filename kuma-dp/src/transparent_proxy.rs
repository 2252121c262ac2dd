//! The part of the transparent proxy's configuration that the control plane needs to know.
//!
//! Input is the file that `kumactl install transparent-proxy --config` takes; everything about iptables is left out.

use kuma_core::document::{Limits, Part};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is redirected where. Serialized as the bootstrap request's `dataplaneConfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransparentProxy {
    /// `dualstack` or `ipv4`.
    pub ip_family_mode: String,
    /// Directions.
    pub redirect: Redirect,
}

/// Directions of redirection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// Traffic towards the service.
    pub inbound: Direction,
    /// Traffic from the service.
    pub outbound: Direction,
    /// DNS queries.
    pub dns: Direction,
    /// Networks of virtual machines or containers whose traffic is taken as well.
    #[serde(default)]
    pub vnet: VirtualNetworks,
}

/// One direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// Whether it is redirected.
    pub enabled: bool,
    /// To which port.
    pub port: u16,
}

/// Networks behind this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualNetworks {
    /// `interface:CIDR`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
}

/// A transparent proxy configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransparentProxy {
    /// Not YAML, or not a map.
    #[error("transparent proxy configuration {from} is not a YAML map: {reason}")]
    Unreadable {
        /// Path, or "standard input".
        from: String,
        /// What the parser said.
        reason: String,
    },
    /// A field holds something else.
    #[error("transparent proxy configuration: {field}: {reason}")]
    Field {
        /// Path of the field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl TransparentProxy {
    /// Defaults of a data plane, then the given texts in order (later values win), then the DNS settings of kuma-dp.
    ///
    /// `sources` are pairs of where a text comes from and the text.
    pub fn load(
        sources: &[(String, String)],
        dns_enabled: bool,
        dns_port: u16,
    ) -> Result<Self, InvalidTransparentProxy> {
        let mut merged = Map::new();
        for (from, text) in sources {
            let unreadable = |reason: String| InvalidTransparentProxy::Unreadable { from: from.clone(), reason };
            let parsed = Part::whole(text).parse(Limits::REQUEST).map_err(|fault| unreadable(fault.to_string()))?;
            match parsed.value {
                Value::Object(map) => merge(&mut merged, map),
                Value::Null => {}
                _ => return Err(unreadable("it is a single value or a list".into())),
            }
        }
        let at = |path: &[&str]| {
            let (first, rest) = path.split_first()?;
            rest.iter().try_fold(merged.get(*first)?, |v, key| v.get(key))
        };
        let mode = match at(&["ipFamilyMode"]) {
            None => "dualstack",
            Some(Value::String(s)) if s == "dualstack" || s == "ipv4" => s,
            Some(_) => return Err(field("ipFamilyMode", "must be one of 'dualstack' or 'ipv4'".into())),
        };
        let redirect = |port_field, name: &str, default_port| {
            Ok(Direction {
                enabled: boolean(at(&["redirect", name, "enabled"]))?,
                port: port(port_field, at(&["redirect", name, "port"]), default_port)?,
            })
        };
        Ok(Self {
            ip_family_mode: mode.to_owned(),
            redirect: Redirect {
                inbound: redirect("redirect.inbound.port", "inbound", 15006)?,
                outbound: redirect("redirect.outbound.port", "outbound", 15001)?,
                dns: Direction { enabled: dns_enabled, port: dns_port },
                vnet: VirtualNetworks { networks: texts(at(&["redirect", "vnet", "networks"]))? },
            },
        })
    }
}

fn field(field: &'static str, reason: String) -> InvalidTransparentProxy {
    InvalidTransparentProxy::Field { field, reason }
}

/// Maps are merged, everything else is replaced; an empty value keeps what was there.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (_, Value::Null) => {}
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn boolean(value: Option<&Value>) -> Result<bool, InvalidTransparentProxy> {
    match value {
        None => Ok(true),
        Some(Value::Bool(b)) => Ok(*b),
        Some(other) => Err(field("redirect.*.enabled", format!("{other} is not true or false"))),
    }
}

fn port(name: &'static str, value: Option<&Value>, default: u16) -> Result<u16, InvalidTransparentProxy> {
    let number = match value {
        None => Some(default),
        Some(Value::Number(n)) => n.as_u64().and_then(|n| u16::try_from(n).ok()),
        Some(Value::String(s)) => s.parse().ok(),
        Some(_) => None,
    };
    let shown = value.map(ToString::to_string).unwrap_or_default();
    number.filter(|port| *port > 0).ok_or_else(|| {
        let shown = shown.trim_matches('"');
        field(name, format!("value '{shown}' is not a valid port (uint16 in the range [1, 65535])"))
    })
}

fn texts(value: Option<&Value>) -> Result<Vec<String>, InvalidTransparentProxy> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(s)) => Ok(s.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()),
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Some(other) => Err(field("redirect.vnet.networks", format!("{other} is not a list of texts"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(texts: &[&str]) -> Result<TransparentProxy, InvalidTransparentProxy> {
        let sources: Vec<_> = texts.iter().map(|t| ("tp.yaml".to_owned(), (*t).to_owned())).collect();
        TransparentProxy::load(&sources, true, 15053)
    }

    #[test]
    fn defaults_are_sent_as_recorded() {
        let expected = r#"{"ipFamilyMode":"dualstack","redirect":{"inbound":{"enabled":true,"port":15006},"outbound":{"enabled":true,"port":15001},"dns":{"enabled":true,"port":15053},"vnet":{}}}"#;
        assert_eq!(serde_json::to_string(&load(&[]).unwrap()).unwrap(), expected);
    }

    #[test]
    fn later_files_win_and_iptables_settings_are_left_out() {
        let first = "ipFamilyMode: ipv4\nredirect:\n  inbound: {port: 1, excludePorts: [22]}\nverbose: true\n";
        let second = "redirect:\n  inbound: {port: \"25006\", enabled: false}\n  dns: {enabled: false, port: 9}\n  vnet: {networks: 'docker0:172.17.0.0/16'}\n";
        let tp = load(&[first, second]).unwrap();
        assert_eq!(tp.ip_family_mode, "ipv4");
        assert_eq!(tp.redirect.inbound, Direction { enabled: false, port: 25006 });
        assert_eq!(tp.redirect.outbound, Direction { enabled: true, port: 15001 });
        assert_eq!(tp.redirect.dns, Direction { enabled: true, port: 15053 });
        assert_eq!(tp.redirect.vnet.networks, ["docker0:172.17.0.0/16"]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = |input: &str| load(&[input]).unwrap_err().to_string();
        assert_eq!(
            text("ipFamilyMode: ipv6"),
            "transparent proxy configuration: ipFamilyMode: must be one of 'dualstack' or 'ipv4'"
        );
        assert_eq!(
            text("redirect: {outbound: {port: 70000}}"),
            "transparent proxy configuration: redirect.outbound.port: \
             value '70000' is not a valid port (uint16 in the range [1, 65535])"
        );
        assert!(text("[1, 2]").starts_with("transparent proxy configuration tp.yaml is not a YAML map"));
        assert!(text("redirect: {inbound: {enabled: maybe}}").contains("maybe"));
    }
}
