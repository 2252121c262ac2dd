//! Rules as the goldens of the policy suites show them.

use kuma_core::{
    plan::{InboundRules, ToRules},
    policies::policy::Conf,
};
use serde_json::{Map, Value, json};

use crate::{compare, documents::shown};

/// Rules of one listener.
pub(crate) fn inbound<C: Conf>(rules: &InboundRules<C>) -> Result<Value, String> {
    let mut out = Vec::new();
    for rule in &*rules.rules {
        out.push(json!({
            "match": rule.condition,
            "conf": *rule.conf,
            "origin": {"Resource": shown(&rule.origin.policy)?, "RuleIndex": rule.origin.index},
        }));
    }
    Ok(out.into())
}

/// Compares rules about destinations with a golden: keys, confs, sections and origins.
pub(crate) fn same_to_rules<C: Conf>(rules: &ToRules<C>, golden: &Value) -> Result<(), String> {
    let mut found = Map::new();
    for (kri, rule) in rules.iter() {
        let origins: Vec<Value> = rule
            .origins
            .iter()
            .map(|o| origin(&o.policy.meta.name, &o.policy.meta.mesh, json!(*o.policy.meta.labels), o.index.into()))
            .collect();
        let rule = json!({"Conf": [*rule.conf], "Origin": origins, "ResourceSectionName": *kri.section});
        found.insert(kri.to_string(), rule);
    }
    let mut wanted = Map::new();
    for (kri, rule) in golden.as_object().ok_or("the golden is no map")? {
        let mut origins = Vec::new();
        for o in rule["Origin"].as_array().into_iter().flatten() {
            let meta = &o["Resource"];
            let labels = if meta["Labels"].is_null() { json!({}) } else { meta["Labels"].clone() };
            let text = |field: &str| meta[field].as_str().unwrap_or_default();
            origins.push(origin(text("Name"), text("Mesh"), labels, o["RuleIndex"].clone()));
        }
        let rule = json!({
            "Conf": rule["Conf"], "Origin": origins, "ResourceSectionName": rule["ResourceSectionName"],
        });
        wanted.insert(kri.clone(), rule);
    }
    compare::values(&found.into(), &wanted.into())
}

fn origin(name: &str, mesh: &str, labels: Value, index: Value) -> Value {
    json!({"Name": name, "Mesh": mesh, "Labels": labels, "RuleIndex": index})
}
