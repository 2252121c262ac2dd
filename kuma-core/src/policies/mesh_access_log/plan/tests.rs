//! What is written where. Whole plans are in `testdata`.

use serde_json::{Value, json};

use super::*;
use crate::{
    ir::{LogContent, ProxyIr},
    plan::{
        NodeFacts, PlanSettings, ProxyFacts,
        fixture::{mesh, stored},
        plan_proxy,
    },
    policies::MeshHTTPRoute,
    resources::{Dataplane, MeshService},
};

fn service(name: &str, protocol: &str) -> crate::resource::AnyResource {
    let spec = json!({"ports": [{"name": "main", "port": 80, "appProtocol": protocol}]});
    let status = json!({"vips": [{"ip": format!("241.0.0.{}", name.len())}]});
    stored::<MeshService>(json!({"name": name, "spec": spec, "status": status}), &[]).erase()
}

/// The plan of a redirected proxy with an HTTP inbound, in a mesh with services `api` (HTTP) and `data` (TCP), a route
/// to each path of `/a` and `/b` of the former, and these policies.
fn plan(policies: &[Value]) -> ProxyIr {
    let dataplane = json!({"name": "dp", "networking": {
        "address": "10.0.0.1",
        "inbound": [{"port": 8080, "name": "http", "protocol": "http"}],
        "transparentProxying": {"redirectPortInbound": 15_006, "redirectPortOutbound": 15_001},
    }});
    let route = |path: &str| {
        let rule = json!({"matches": [{"path": {"type": "Exact", "value": format!("/{path}")}}], "default": {}});
        let target = json!({"kind": "MeshService", "labels": {"kuma.io/display-name": "api"}});
        stored::<MeshHTTPRoute>(json!({"name": path, "spec": {"to": [{"targetRef": target, "rules": [rule]}]}}), &[])
            .erase()
    };
    let policy = |(nth, spec): (usize, &Value)| {
        stored::<MeshAccessLog>(json!({"name": format!("p{nth}"), "spec": spec}), &[]).erase()
    };
    let resources = [
        stored::<Dataplane>(dataplane, &[]).erase(),
        service("api", "http"),
        service("data", "tcp"),
        route("a"),
        route("b"),
    ];
    let facts = mesh(resources.into_iter().chain(policies.iter().enumerate().map(policy)));
    let proxy = ProxyFacts::new(facts.dataplanes["dp"].clone(), &NodeFacts::default());
    plan_proxy(&facts, &PlanSettings::default(), &proxy, false)
}

fn file(path: &str) -> Value {
    json!({"type": "File", "file": {"path": path, "format": {"type": "Plain", "plain": "x"}}})
}

fn to(target: Value, backends: &[Value]) -> Value {
    json!({"targetRef": target, "default": {"backends": backends}})
}

fn named(kind: &str, name: &str) -> Value {
    json!({"kind": kind, "labels": {"kuma.io/display-name": name}})
}

/// Files and conditions.
fn told(logs: &[Arc<AccessLog>]) -> Vec<(String, Option<LogCondition>)> {
    let file = |log: &AccessLog| match &log.to {
        LogSink::File(path) | LogSink::Tcp(path) => path.to_string(),
    };
    logs.iter().map(|log| (file(log), log.condition.clone())).collect()
}

fn outbound<'a>(ir: &'a ProxyIr, service: &str) -> &'a ir::Outbound {
    let name = format!("kri_msvc_default_default__{service}_main");
    &ir.outbounds[&*name]
}

#[test]
fn nothing_is_written_without_a_policy() {
    let ir = plan(&[]);
    assert!(outbound(&ir, "api").logs.is_empty() && outbound(&ir, "data").logs.is_empty());
    assert!(ir.inbounds.values().all(|inbound| inbound.logs.is_empty()));
    assert!(ir.wide.passthrough.as_ref().unwrap().logs.is_empty());
}

#[test]
fn a_destination_has_the_list_of_the_narrowest_policy() {
    let mesh = json!({"kind": "Mesh"});
    let ir = plan(&[json!({"to": [
        to(mesh, &[file("/mesh")]), to(named("MeshService", "data"), &[file("/1"), file("/2")]),
    ]})]);
    let files = |logs: &[Arc<AccessLog>]| told(logs).into_iter().map(|(file, _)| file).collect::<Vec<_>>();
    assert_eq!(files(&outbound(&ir, "data").logs), ["/1", "/2"]);
    assert_eq!(files(&outbound(&ir, "api").logs), ["/mesh"]);
    assert_eq!(files(&ir.wide.passthrough.as_ref().unwrap().logs), ["/mesh"]);
    // A shorter list replaces a longer one, an empty one all.
    let none =
        plan(&[json!({"to": [to(json!({"kind": "Mesh"}), &[file("/mesh")]), to(named("MeshService", "data"), &[])]})]);
    assert!(outbound(&none, "data").logs.is_empty());
}

#[test]
fn a_route_writes_what_is_said_of_it_and_its_destination_the_rest() {
    let ir = plan(&[json!({"to": [
        to(json!({"kind": "Mesh"}), &[file("/mesh")]),
        to(named("MeshHTTPRoute", "b"), &[file("/b")]),
        to(named("MeshHTTPRoute", "a"), &[]),
    ]})]);
    let api = outbound(&ir, "api");
    let mark = |route: &str| ir::Name::from(format!("kri_mhttpr_default_default__{route}_rule0"));
    let wanted =
        [("/mesh".to_owned(), Some(LogCondition::Unmarked)), ("/b".to_owned(), Some(LogCondition::Marked(mark("b"))))];
    assert_eq!(told(&api.logs), wanted);
    let OutboundFilter::Http(http) = &api.filter else { panic!("not HTTP") };
    assert_eq!(http.log_marks.values().cloned().collect::<Vec<_>>(), [mark("a"), mark("b")]);
    // Every mark is that of a route that is there.
    assert!(http.log_marks.keys().all(|name| http.routes.iter().any(|route| route.name.as_ref() == Some(name))));
    // Where there are no requests there is nothing to tell apart.
    assert_eq!(told(&outbound(&ir, "data").logs), [("/mesh".to_owned(), None)]);
}

#[test]
fn every_rule_that_holds_writes() {
    let id = |kind: &str| json!({"spiffeID": {"type": kind, "value": "spiffe://default/web"}});
    let rule = |matches: Value, path: &str| json!({"matches": matches, "default": {"backends": [file(path)]}});
    let ir = plan(&[
        json!({"rules": [rule(json!([id("Exact"), id("Prefix")]), "/some")]}),
        json!({"rules": [{"default": {"backends": [file("/all")]}}]}),
        json!({"rules": [rule(json!([{}]), "/empty")]}),
    ]);
    let client = |id: IdTest| Some(LogCondition::Client { id: Some(id), server_name: None });
    let value: Arc<str> = "spiffe://default/web".into();
    let found = told(&ir.inbounds["self_inbound_dp_http"].logs);
    assert_eq!(found[0], ("/some".to_owned(), client(IdTest::Exact(value.clone()))));
    assert_eq!(found[1], ("/some".to_owned(), client(IdTest::Prefix(value))));
    // A condition that says nothing holds for everybody.
    let mut rest = found[2..].to_vec();
    rest.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(rest, [("/all".to_owned(), None), ("/empty".to_owned(), None)]);
}

#[test]
fn collectors_that_do_not_exist_are_left_out() {
    let otel = json!({"type": "OpenTelemetry", "openTelemetry": {
        "backendRef": {"kind": "MeshOpenTelemetryBackend", "labels": {"a": "b"}}}});
    let ir = plan(&[json!({"to": [to(json!({"kind": "Mesh"}), &[otel, file("/f")])]})]);
    assert_eq!(told(&outbound(&ir, "data").logs).len(), 1);
}

#[test]
fn names_of_both_ends() {
    let all = json!({"type": "File", "file": {"path": "/f", "format": {"type": "Plain",
        "plain": "%KUMA_SOURCE_SERVICE% %KUMA_DESTINATION_SERVICE%"}}});
    let ir = plan(&[
        json!({"to": [to(json!({"kind": "Mesh"}), std::slice::from_ref(&all))]}),
        json!({"rules": [{"default": {"backends": [all]}}]}),
    ]);
    let content = |logs: &[Arc<AccessLog>]| logs[0].line.content.clone();
    let text = |text: &str| LogPart::Text(text.into());
    let caller = || LogPart::Own(OwnPart::Service);
    assert_eq!(content(&outbound(&ir, "data").logs), LogContent::Text(vec![caller(), text(" data")]));
    let passthrough = ir.wide.passthrough.as_ref().unwrap();
    assert_eq!(content(&passthrough.logs), LogContent::Text(vec![caller(), text(" external")]));
    let inbound = LogPart::Own(OwnPart::Inbound("http".into()));
    let called = content(&ir.inbounds["self_inbound_dp_http"].logs);
    assert_eq!(called, LogContent::Text(vec![text("unknown "), inbound]));
}
