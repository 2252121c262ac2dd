//! Random resources of one small mesh: few names, so that they often meet.

use kuma_core::{
    json::from_rest,
    labels::{self, Site},
    meta::Meta,
    registry::Kind,
    resource::AnyResource,
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

/// A document as it is stored.
pub(crate) fn stored(mut document: Value) -> AnyResource {
    let kind = Kind::by_name(document["type"].as_str().unwrap()).unwrap();
    if kind != Kind::Mesh {
        document["mesh"] = json!("default");
    }
    let resource = from_rest(kind, &document).unwrap_or_else(|e| panic!("{e}: {document}")).resource;
    let labels = labels::compute(&Site::zone("default"), &resource).into();
    resource.with_meta(Meta { labels, ..resource.meta.clone() })
}

/// A service with one port, its virtual address made from its number.
pub(crate) fn service(number: usize, protocol: &str) -> Value {
    json!({
        "type": "MeshService", "name": format!("s{number}"),
        "spec": {"ports": [{"name": "main", "port": 80, "targetPort": 8080, "appProtocol": protocol}],
            "selector": {"dataplaneLabels": {"matchLabels": {"app": format!("s{number}")}}}},
        "status": {"vips": [{"ip": format!("241.0.0.{number}")}]},
    })
}

/// Three services, one of each protocol.
pub(crate) const PROTOCOLS: [&str; 3] = ["http", "grpc", "tcp"];

/// A Dataplane, nameless.
pub(crate) fn dataplane() -> impl Strategy<Value = Value> {
    let inbound = select(&["http", "tcp"][..]);
    let labels = (select(&["s0", "s1", "web"][..]), select(&["a", "b"][..]));
    (1..250_u8, labels, vec(inbound, 0..3), any::<bool>()).prop_map(|(address, (app, team), inbounds, redirected)| {
        let inbounds: Vec<Value> = inbounds
            .iter()
            .enumerate()
            .map(|(i, protocol)| json!({"port": 8080 + i, "name": format!("i{i}"), "protocol": protocol}))
            .collect();
        let mut networking = json!({"address": format!("10.0.0.{address}"), "inbound": inbounds});
        if inbounds.is_empty() {
            networking["gateway"] = json!({"type": "DELEGATED"});
        }
        if redirected {
            networking["transparentProxying"] = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
        } else {
            let outbound = |s| json!({"port": 10000 + s, "backendRef": {"kind": "MeshService", "name": format!("s{s}"), "port": 80}});
            networking["outbound"] = (0..PROTOCOLS.len()).map(outbound).collect();
        }
        json!({"type": "Dataplane", "labels": {"app": app, "team": team}, "networking": networking})
    })
}

/// Whom a policy addresses.
fn top() -> impl Strategy<Value = Value> {
    select(vec![
        Value::Null,
        json!({"kind": "Mesh"}),
        json!({"kind": "Dataplane"}),
        json!({"kind": "Dataplane", "labels": {"app": "web"}}),
        json!({"kind": "Dataplane", "labels": {"team": "a"}}),
        json!({"kind": "Dataplane", "labels": {"team": "b", "app": "s0"}}),
    ])
}

fn named(service: usize) -> Value {
    json!({"kind": "MeshService", "labels": {"kuma.io/display-name": format!("s{service}")}})
}

/// A policy; the number makes confs differ.
pub(crate) fn policy() -> impl Strategy<Value = Value> {
    let kind = select(
        &["MeshTimeout", "MeshRetry", "MeshCircuitBreaker", "MeshHTTPRoute", "MeshTCPRoute", "MeshAccessLog"][..],
    );
    let services = 0..PROTOCOLS.len();
    (kind, top(), any::<bool>(), services.clone(), services, 1..9_u32).prop_map(|(kind, top, mesh, to, backend, n)| {
        let target = if mesh { json!({"kind": "Mesh"}) } else { named(to) };
        let mut backend = named(backend);
        backend["port"] = json!(80);
        let item = match kind {
            "MeshTimeout" => json!({"targetRef": target, "default": {"idleTimeout": format!("{n}s"), "http": {"requestTimeout": format!("{n}m")}}}),
            "MeshRetry" => json!({"targetRef": target, "default": {"tcp": {"maxConnectAttempt": n}, "http": {"numRetries": n}}}),
            "MeshCircuitBreaker" => json!({"targetRef": target, "default": {"connectionLimits": {"maxConnections": n}}}),
            "MeshAccessLog" => json!({"targetRef": target, "default": {"backends": [{"type": "File", "file": {"path": format!("/{n}")}}]}}),
            "MeshHTTPRoute" => json!({"targetRef": named(to), "rules": [
                {"matches": [{"path": {"type": "Exact", "value": format!("/{n}")}}], "default": {"backendRefs": [backend]}}]}),
            _ => json!({"targetRef": named(to), "rules": [{"default": {"backendRefs": [backend]}}]}),
        };
        let mut spec = json!({"to": [item]});
        if !top.is_null() {
            spec["targetRef"] = top;
        }
        json!({"type": kind, "spec": spec})
    })
}
