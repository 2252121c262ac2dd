//! `config-dump-sanitize`: what is taken out of the configuration dump of an Envoy before anybody sees it.

use kuma_cp::envoy_admin::redact;
use serde_json::Value;

use crate::{
    case::{Case, Check},
    compare,
    report::Outcome,
};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, one(case, &check))).collect()
}

fn one(case: &Case, check: &Check<'_>) -> Result<(), String> {
    let dump = case.input("configDump").ok_or("the case has no dump")?;
    let golden = check.golden(case).ok_or("the check has no golden")?;
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).map(said).map_err(|e| e.to_string());
    compare::values(&parse(&redact(dump.as_bytes()).map_err(|e| e.to_string())?)?, &parse(golden.as_bytes())?)
}

/// Without fields that say nothing: the golden went through messages, which drop them.
fn said(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().map(|(k, v)| (k, said(v))).filter(|(_, v)| !is_default(v)).collect(),
        Value::Array(list) => list.into_iter().map(said).collect(),
        other => other,
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(_) | Value::Bool(true) => false,
    }
}
