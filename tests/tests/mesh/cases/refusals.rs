//! What Envoy refuses: the last good configuration serves on, the user sees which resource it is and why, and the next
//! good one is taken.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde_json::Value;

use tests::harness::{
    eventually,
    mesh::{self, ask},
    ports::free_port,
    until,
};

use super::shop::Shop;

/// What `inspect dataplanes` says is refused, one line each; waited for.
fn refused(shop: &Shop, word: &str) -> String {
    let table = || shop.mesh.kumactl(&["inspect", "dataplanes"]);
    eventually("a refusal in the table", || {
        let table = table();
        let (_, refused) = table.split_once("Refused by Envoy (the last good configuration is kept):\n")?;
        refused.lines().find(|line| line.contains(word)).map(str::to_owned)
    })
    .0
}

fn nothing_refused(shop: &Shop) {
    until("nothing refused any more", || !shop.mesh.kumactl(&["inspect", "dataplanes"]).contains("Refused by Envoy"));
}

/// Refusals in a subscription list, which insight and overview both have.
fn rejections(insight: &Value) -> Vec<Value> {
    let last = insight["subscriptions"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    last["status"]["rejections"].as_array().cloned().unwrap_or_default()
}

fn get(shop: &Shop, path: &str) -> Value {
    serde_json::from_str(&shop.mesh.rest("GET", path, b"").unwrap().body).unwrap()
}

/// The frontend with its outbound at this port.
fn frontend(shop: &Shop, inbound: u16, outbound: u16) -> String {
    let dataplane = mesh::dataplane("frontend-1", "frontend", Ipv4Addr::LOCALHOST, inbound, free_port());
    dataplane + &mesh::outbounds(&[(outbound, "backend", shop.port)])
}

/// A listener is to move to a port that somebody else has.
pub(crate) fn taken_port_is_refused() {
    let shop = Shop::open(1, 1, &[]);
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let inbound = free_port();
    shop.mesh.apply(&frontend(&shop, inbound, taken.local_addr().unwrap().port()));
    let line = refused(&shop, "Address already in use");
    println!("  {line}");
    assert!(line.trim_start().starts_with("frontend-1: Listener ") && line.contains("backend"), "{line}");
    assert_eq!(shop.ask("/", &[]), (200, "backend-1".to_owned()), "the old port serves on");
    let insight = get(&shop, "/meshes/default/dataplanes/frontend-1/_overview");
    let shown = rejections(&insight["dataplaneInsight"]);
    assert_eq!(shown.len(), 1, "{insight}");
    assert!(shown[0]["reason"].as_str().unwrap().contains("Address already in use"), "{shown:?}");
    assert_eq!(shown[0]["type"], "Listener");

    let free = free_port();
    shop.mesh.apply(&frontend(&shop, inbound, free));
    let moved = SocketAddr::from((Ipv4Addr::LOCALHOST, free));
    until("the new port serves", || ask(moved, "/", &[]) == (200, "backend-1".to_owned()));
    nothing_refused(&shop);
    drop(taken);
}

/// A route matches by an expression that Envoy cannot read.
pub(crate) fn bad_regex_is_refused() {
    let shop = Shop::open(1, 1, &[]);
    let route = |expression: &str, header: &str| {
        format!(
            "type: MeshHTTPRoute\nmesh: default\nname: by-expression\nspec:\n  to:\n    - targetRef: {{kind: MeshService, \
             labels: {{kuma.io/display-name: backend}}}}\n      rules:\n        - matches: [{{path: {{type: \
             RegularExpression, value: '{expression}'}}}}]\n          default: {{filters: [{{type: \
             RequestRedirect, requestRedirect: {{hostname: {header}.test, statusCode: 302}}}}]}}\n"
        )
    };
    shop.mesh.apply(&route("/v[0-9]/.*", "first"));
    until("the route", || shop.ask("/v1/x", &[]).0 == 302);
    shop.mesh.apply(&route("/v[0-9/.*", "second"));
    let line = refused(&shop, "frontend-1");
    println!("  {line}");
    assert!(line.contains("missing ]: [0-9/.*"), "{line}");
    assert_eq!(shop.ask("/v1/x", &[]).0, 302, "the last good route serves on");
    assert_eq!(shop.ask("/", &[]), (200, "backend-1".to_owned()));
    shop.mesh.apply(&route("/w[0-9]/.*", "third"));
    until("the corrected route", || shop.ask("/w1/x", &[]).0 == 302);
    assert_eq!(shop.ask("/v1/x", &[]).0, 200);
    nothing_refused(&shop);
}
