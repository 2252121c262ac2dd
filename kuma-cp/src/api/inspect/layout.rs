//! `_layout`: the inbounds, outbounds and listeners of a proxy, and the names that its Envoy gives them.

use kuma_core::{
    plan::reachable_ports,
    resources::{Dataplane, ZoneListenerType},
};
use serde_json::{Map, Value, json};

use super::scene::Scene;

/// The whole answer.
pub(super) fn layout(scene: &Scene<'_>) -> Value {
    let resource = scene.resource;
    let kri = resource.erase().kri();
    let section = |section: String| kri.as_ref().map(|kri| kri.section(section));
    let mut out = Map::new();
    let inbounds: Vec<Value> = inbounds(resource.spec())
        .map(|inbound| {
            json!({
                "kri": section(inbound.section()),
                "port": inbound.port,
                "protocol": inbound.protocol,
                "proxyResourceName": format!("self_inbound_dp_{}", inbound.section()),
            })
        })
        .collect();
    out.insert("inbounds".into(), inbounds.into());
    out.insert("kri".into(), json!(kri));
    let labels = &resource.meta.labels;
    out.insert("labels".into(), if labels.is_empty() { Value::Null } else { json!(labels) });
    let listeners = resource.spec().networking.iter().flat_map(|n| &n.listeners).map(|listener| {
        let (kind, name) = match listener.kind {
            ZoneListenerType::ZoneEgress => ("ZoneEgress", "zoneegress"),
            _ => ("ZoneIngress", "zoneingress"),
        };
        json!({
            "kri": section(listener.section()),
            "port": listener.port,
            "proxyResourceName": format!("self_{name}_dp_{}", listener.section()),
            "type": kind,
        })
    });
    out.insert("listeners".into(), listeners.collect());
    out.insert("outbounds".into(), outbounds(scene).into());
    out.into()
}

fn inbounds(spec: &Dataplane) -> impl Iterator<Item = &kuma_core::resources::Inbound> {
    spec.networking.iter().flat_map(|n| &n.inbound)
}

/// Every port that the proxy may reach, whether it is declared or found by its address; sorted.
fn outbounds(scene: &Scene<'_>) -> Vec<Value> {
    let Some(proxy) = &scene.proxy else { return Vec::new() };
    let ports = reachable_ports(proxy, &scene.facts.destinations);
    let row = |kri: &kuma_core::kri::Kri| {
        let destination = scene.facts.destinations.get(&kri.whole())?;
        let port = destination.port(&kri.section)?;
        Some(json!({"kri": kri, "port": port.number, "protocol": port.protocol.name(), "proxyResourceName": kri}))
    };
    ports.iter().filter_map(row).collect()
}
