//! Normalisation and comparison, as the recordings were made: addresses become placeholders, arrays whose order carries
//! no meaning are sorted.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Placeholders of virtual addresses: `<vip meshservices NAME>` stands for an address of our choice.
pub(crate) struct Names {
    by_placeholder: BTreeMap<String, String>,
}

/// Arrays without an order.
const UNORDERED: &[&str] = &[
    "domains",
    "virtualHosts",
    "filterChains",
    "endpoints",
    "lbEndpoints",
    "accessLog",
    "matchTypedSubjectAltNames",
    "queryParameters",
    "retriableStatusCodes",
    "retriableRequestHeaders",
    "retriableHeaders",
    "retryHostPredicate",
    "cidrRanges",
    "requestHeadersToRemove",
    "responseHeadersToRemove",
    "thresholds",
    "records",
    "ips",
];

/// Arrays without an order below a certain parent.
const UNORDERED_UNDER: &[(&str, &str)] =
    &[("weightedClusters", "clusters"), ("filterChainMatch", "applicationProtocols"), ("match", "headers")];

impl Names {
    /// Chooses an address for every placeholder in the recorded lists.
    pub(crate) fn of(recorded: &Value) -> Self {
        let mut found = std::collections::BTreeSet::new();
        collect(recorded, &mut found);
        let by_placeholder = found
            .into_iter()
            .enumerate()
            .map(|(i, placeholder)| (placeholder, format!("241.0.{}.{}", i / 250, i % 250)))
            .collect();
        Self { by_placeholder }
    }

    /// The value with addresses in place of placeholders.
    pub(crate) fn fill(&self, value: &Value) -> Value {
        map_texts(value, &|text| match self.by_placeholder.get(text) {
            Some(address) => address.clone(),
            None => text.to_owned(),
        })
    }

    /// The value as it would have been recorded.
    pub(crate) fn normalise(&self, value: &Value) -> Value {
        canonical(&self.hide("", value, false), "", "")
    }

    fn hide(&self, key: &str, value: &Value, opaque: bool) -> Value {
        match value {
            Value::Object(fields) => {
                let opaque = opaque || fields.get("name").is_some_and(|n| n == "system_envoy_admin");
                let fields = fields.iter().map(|(name, field)| {
                    let field = match name.as_str() {
                        "maxDirectResponseBodySizeBytes" => json!("<size>"),
                        _ => self.hide(name, field, opaque),
                    };
                    (self.text(name), field)
                });
                Value::Object(fields.collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(|i| self.hide(key, i, opaque)).collect()),
            Value::String(text) => match key {
                "inlineBytes" => json!("<bytes>"),
                "inlineString" if text.starts_with(['{', '[']) => match serde_json::from_str::<Value>(text) {
                    Ok(inner) => json!({"<json>": self.hide("", &inner, opaque)}),
                    Err(_) => json!(self.text(text)),
                },
                _ => json!(self.text(text)),
            },
            other => other.clone(),
        }
    }

    fn text(&self, text: &str) -> String {
        if text.len() == 64 && text.chars().all(|c| c.is_ascii_hexdigit()) {
            return "<sha256>".into();
        }
        for (placeholder, address) in &self.by_placeholder {
            if text == address {
                return placeholder.clone();
            }
            if address.parse().ok().is_some_and(|a: std::net::Ipv4Addr| {
                text.parse::<std::net::Ipv6Addr>().is_ok_and(|t| t == a.to_ipv6_mapped())
            }) {
                return format!("<mapped {}", placeholder.trim_start_matches('<'));
            }
        }
        text.to_owned()
    }
}

fn collect(value: &Value, out: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.values().for_each(|v| collect(v, out)),
        Value::Array(items) => items.iter().for_each(|v| collect(v, out)),
        Value::String(text) if text.starts_with("<vip ") => {
            out.insert(text.clone());
        }
        _ => {}
    }
}

fn map_texts(value: &Value, f: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), map_texts(v, f))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(|v| map_texts(v, f)).collect()),
        Value::String(text) => json!(f(text)),
        other => other.clone(),
    }
}

fn canonical(value: &Value, key: &str, parent: &str) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            Value::Object(sorted.into_iter().map(|(k, v)| (k.clone(), canonical(v, k, key))).collect::<Map<_, _>>())
        }
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(|i| canonical(i, key, parent)).collect();
            if UNORDERED.contains(&key) || UNORDERED_UNDER.contains(&(parent, key)) {
                items.sort_by_key(ToString::to_string);
            }
            Value::Array(items)
        }
        other => other.clone(),
    }
}

/// Places where two values differ.
pub(crate) fn difference(actual: &Value, expected: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk("", actual, &canonical(expected, "", ""), &mut out);
    out
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(600).collect()
}

fn walk(path: &str, actual: &Value, expected: &Value, out: &mut Vec<String>) {
    match (actual, expected) {
        (Value::Object(a), Value::Object(e)) => {
            for (key, value) in e {
                match a.get(key) {
                    Some(other) => walk(&format!("{path}/{}", last(key)), other, value, out),
                    None => out.push(format!("{path}/{}: missing, recorded {}", last(key), short(value))),
                }
            }
            for (key, value) in a.iter().filter(|(k, _)| !e.contains_key(*k)) {
                out.push(format!("{path}/{}: not recorded: {}", last(key), short(value)));
            }
        }
        (Value::Array(a), Value::Array(e)) if a.len() == e.len() => {
            for (i, (a, e)) in a.iter().zip(e).enumerate() {
                walk(&format!("{path}[{i}]"), a, e, out);
            }
        }
        (Value::Number(a), Value::Number(e)) if a.as_f64() == e.as_f64() => {}
        (a, e) if a == e => {}
        (Value::String(a), Value::String(e)) if same_duration(a, e) => {}
        (a, e) => out.push(format!("{path}: {}, recorded {}", short(a), short(e))),
    }
}

fn last(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

fn same_duration(a: &str, b: &str) -> bool {
    let parse = |t: &str| t.parse::<kuma_core::duration::GoDuration>().ok();
    parse(a).is_some() && parse(a) == parse(b)
}
