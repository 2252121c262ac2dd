//! `_rules`: everything that policies say about a proxy.

use std::collections::BTreeMap;

use kuma_core::{
    kri::Kri,
    plan::{ListenAt, PolicyHead, RuleOrigin},
    policies::{HttpMatch, match_hash},
};
use serde_json::{Map, Value, json};

use super::{
    meta,
    scene::{InboundConf, KindRules, Scene, ToConf},
};

/// The whole answer.
pub(super) fn rules(scene: &Scene<'_>) -> Value {
    let rules = scene.rules();
    let resource = &scene.resource.meta;
    json!({
        "httpMatches": http_matches(&rules),
        "resource": meta("Dataplane", &resource.mesh, &resource.name, &resource.labels),
        "rules": rules.iter().filter_map(|kind| of_kind(scene, kind)).collect::<Vec<_>>(),
    })
}

/// Nothing for a kind that has nothing to say.
fn of_kind(scene: &Scene<'_>, kind: &KindRules) -> Option<Value> {
    if kind.own.is_none() && kind.inbounds.is_empty() && kind.to.is_empty() {
        return None;
    }
    let mut to: Vec<(&Kri, &ToConf)> = kind.to.iter().collect();
    to.sort_by_key(|(kri, conf)| (conf.target.name.clone(), (*kri).clone()));
    let mut out = Map::new();
    out.insert("inboundRules".into(), inbounds(scene, kind).into());
    if let Some((conf, origins)) = &kind.own {
        let origins: Vec<Value> = origins.iter().map(|policy| head(policy)).collect();
        out.insert("proxyRule".into(), json!({"conf": conf, "origin": origins}));
    }
    out.insert("toResourceRules".into(), to.into_iter().map(|(kri, conf)| to_rule(kri, conf)).collect());
    out.insert("type".into(), kind.kind.name().into());
    out.insert("warnings".into(), kind.warnings.clone().into());
    Some(out.into())
}

fn to_rule(kri: &Kri, rule: &ToConf) -> Value {
    let target = &rule.target;
    json!({
        "conf": [rule.conf],
        "origin": rule.origins.iter().map(origin).collect::<Vec<_>>(),
        "resourceMeta": meta(target.kind, &target.mesh, &target.name, &target.labels),
        "resourceSectionName": &*kri.section,
    })
}

fn inbounds(scene: &Scene<'_>, kind: &KindRules) -> Vec<Value> {
    let networking = scene.resource.spec().networking.as_ref();
    let tags = networking.and_then(|n| n.gateway.as_ref()).map_or(Value::Null, |g| json!(g.tags));
    let names = names(scene);
    let mut rows: Vec<(&ListenAt, &Vec<InboundConf>)> = kind.inbounds.iter().collect();
    rows.sort_by_key(|(at, _)| (at.port, (*at).clone()));
    rows.into_iter()
        .map(|(at, rules)| {
            let mut inbound = Map::new();
            if let Some(name) = names.get(at) {
                inbound.insert("name".into(), name.as_str().into());
            }
            inbound.insert("port".into(), at.port.into());
            inbound.insert("tags".into(), tags.clone());
            json!({"inbound": inbound, "rules": rules.iter().map(inbound_rule).collect::<Vec<_>>()})
        })
        .collect()
}

/// Names that inbounds were given; listeners of zone proxies are shown by their port alone.
fn names(scene: &Scene<'_>) -> BTreeMap<ListenAt, String> {
    let networking = scene.resource.spec().networking.as_ref();
    let (Some(networking), Some(proxy)) = (networking, &scene.proxy) else { return BTreeMap::new() };
    let named = proxy.inbound_addresses().zip(&networking.inbound).filter(|(_, i)| !i.name.is_empty());
    named.map(|((_, at), inbound)| (at, inbound.name.clone())).collect()
}

fn inbound_rule(rule: &InboundConf) -> Value {
    let mut out = Map::new();
    out.insert("conf".into(), json!([rule.conf]));
    if let Some(condition) = &rule.condition {
        out.insert("match".into(), condition.clone());
    }
    out.insert("origin".into(), json!([origin(&rule.origin)]));
    out.into()
}

fn origin(origin: &RuleOrigin) -> Value {
    json!({"resourceMeta": head(&origin.policy), "ruleIndex": origin.index})
}

fn head(policy: &PolicyHead) -> Value {
    meta(policy.kind.name(), &policy.meta.mesh, &policy.meta.name, &policy.meta.labels)
}

/// The conditions of all HTTP rules by their hash, which names of routes are made of.
fn http_matches(rules: &[KindRules]) -> Vec<Value> {
    let mut found: BTreeMap<std::sync::Arc<str>, Value> = BTreeMap::new();
    let routes = rules.iter().filter(|kind| kind.kind.name() == "MeshHTTPRoute");
    for rule in routes.flat_map(|kind| kind.to.values()).filter_map(|to| to.conf["rules"].as_array()).flatten() {
        let matches: Vec<HttpMatch> = serde_json::from_value(rule["matches"].clone()).unwrap_or_default();
        found.insert(match_hash(&matches), rule["matches"].clone());
    }
    found.into_iter().map(|(hash, conditions)| json!({"hash": &*hash, "match": conditions})).collect()
}
