//! `_policies` and `_routes`: the confs that hold for the proxy, for one inbound, one outbound, one route.

use std::sync::Arc;

use axum::http::StatusCode;
use kuma_core::{
    kri::Kri,
    plan::{ListenAt, PolicyHead, mesh_kri},
    policies::{HttpMatch, match_hash},
    registry::Kind,
};
use serde_json::{Value, json};

use super::scene::{KindRules, Scene, ToConf};
use crate::api::problem::Problem;

/// `_policies` of a proxy.
pub(super) fn of_proxy(scene: &Scene<'_>) -> Value {
    let rules = scene.rules();
    let policies = rules.iter().filter_map(|kind| {
        let (conf, from) = kind.own.as_ref()?;
        Some(json!({"conf": conf, "kind": kind.kind.name(), "origins": origins(from.iter())}))
    });
    json!({"policies": policies.collect::<Vec<_>>()})
}

/// `_inbounds/{kri}/_policies`
pub(super) fn of_inbound(scene: &Scene<'_>, inbound: &Kri) -> Result<Value, Problem> {
    let Some(at) = listener(scene, &inbound.section) else {
        let title = "Failed building response";
        tracing::debug!(section = &*inbound.section, "inbound not found");
        // Published as a fault of the server.
        return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, title, "Internal Server Error"));
    };
    let rules = scene.rules();
    let policies = rules.iter().filter_map(|kind| {
        let rules = kind.inbounds.get(&at)?;
        let row = |rule: &super::scene::InboundConf| {
            let mut row = json!({"conf": rule.conf, "kri": rule.origin.policy.kri});
            if let (Some(condition), Some(row)) = (&rule.condition, row.as_object_mut()) {
                row.insert("match".into(), condition.clone());
            }
            row
        };
        Some(json!({
            "kind": kind.kind.name(),
            "origins": origins(rules.iter().map(|r| &r.origin.policy)),
            "rules": rules.iter().map(row).collect::<Vec<_>>(),
        }))
    });
    Ok(json!({"policies": policies.collect::<Vec<_>>()}))
}

/// Where the inbound or the zone listener of this section listens.
fn listener(scene: &Scene<'_>, section: &str) -> Option<ListenAt> {
    let proxy = scene.proxy.as_ref()?;
    let inbound = proxy.inbound_addresses().find(|(inbound, _)| &*inbound.section == section).map(|(_, at)| at);
    inbound.or_else(|| proxy.listeners.iter().find(|l| &*l.section == section).map(|l| l.at.clone()))
}

/// `_outbounds/{kri}/_policies`
pub(super) fn of_outbound(scene: &Scene<'_>, outbound: &Kri) -> Value {
    let rules = scene.rules();
    let policies = rules.iter().filter_map(|kind| outbound_conf(kind, outbound).map(|rule| conf(kind, rule)));
    json!({"policies": policies.collect::<Vec<_>>()})
}

/// `_outbounds/{kri}/_routes/{kri}/_policies`
pub(super) fn of_route(scene: &Scene<'_>, outbound: &Kri, route: &Kri) -> Value {
    let rules = scene.rules();
    let policies = rules.iter().filter(|kind| !is_route(kind.kind)).filter_map(|kind| {
        let ids = [route.clone(), route.whole(), outbound.clone(), outbound.whole(), mesh_kri(&outbound.mesh)];
        let rule = ids.iter().filter_map(|id| kind.to.get(id)).find(|rule| !rule.empty)?;
        Some(conf(kind, rule))
    });
    json!({"policies": policies.collect::<Vec<_>>()})
}

/// `_outbounds/{kri}/_routes`
pub(super) fn routes(scene: &Scene<'_>, outbound: &Kri) -> Value {
    let rules = scene.rules();
    let routes = rules.iter().filter(|kind| is_route(kind.kind)).filter_map(|kind| {
        let found = outbound_conf(kind, outbound)?;
        let rules: Vec<Value> = match found.conf["rules"].as_array() {
            Some(rules) => rules.iter().map(|rule| http_rule(found, rule)).collect(),
            None => vec![json!({"conf": found.conf["default"], "kri": "", "matches": null})],
        };
        Some(json!({
            "kind": kind.kind.name(),
            "origins": origins(found.origins.iter().map(|o| &o.policy)),
            "rules": rules,
        }))
    });
    json!({"routes": routes.collect::<Vec<_>>()})
}

fn http_rule(found: &ToConf, rule: &Value) -> Value {
    let matches: Vec<HttpMatch> = serde_json::from_value(rule["matches"].clone()).unwrap_or_default();
    let origin = found.by_matches.get(&match_hash(&matches));
    let kri = origin.map_or_else(String::new, |o| o.policy.kri.to_string());
    json!({"conf": rule["default"], "kri": kri, "matches": rule["matches"]})
}

fn is_route(kind: Kind) -> bool {
    matches!(kind.name(), "MeshHTTPRoute" | "MeshTCPRoute")
}

/// The conf about a port of a destination: its own, else that of the destination, else that of the mesh.
fn outbound_conf<'a>(kind: &'a KindRules, outbound: &Kri) -> Option<&'a ToConf> {
    [outbound.clone(), outbound.whole(), mesh_kri(&outbound.mesh)].iter().find_map(|id| kind.to.get(id))
}

fn conf(kind: &KindRules, rule: &ToConf) -> Value {
    json!({
        "conf": [rule.conf],
        "kind": kind.kind.name(),
        "origins": origins(rule.origins.iter().map(|o| &o.policy)),
    })
}

/// Each policy once.
fn origins<'a>(policies: impl Iterator<Item = &'a Arc<PolicyHead>>) -> Vec<Value> {
    let mut seen: Vec<&Kri> = Vec::new();
    for policy in policies {
        if !seen.contains(&&policy.kri) {
            seen.push(&policy.kri);
        }
    }
    seen.into_iter().map(|kri| json!({"kri": kri})).collect()
}
