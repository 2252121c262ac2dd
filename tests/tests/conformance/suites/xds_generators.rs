//! `xds-generators`: one part of a proxy's configuration at a time, before any policy. A Dataplane becomes facts, facts
//! become the bare unit, the unit becomes Envoy messages.

use std::{collections::BTreeMap, sync::Arc};

use envoy_api::pack;
use kuma_core::{
    ir::{CidrText, Listen, Own, ProxyWide},
    kri::Kri,
    meta::{Labels, Meta},
    plan::{
        DataplaneFacts, Destination, DestinationKind, Destinations, Features, InboundInputs, Names, NodeFacts,
        OutboundRef, PlanSettings, ProxyFacts, WideInputs, bare_inbound, bare_wide, direct_access, dns,
    },
    resource::{NoStatus, Resource},
    resources::Dataplane,
};
use prost::{Message, Name};
use serde_json::{Value, json};
use xds_gen::{
    json::any_to_json,
    render::{AdminTls, WideMessages, render_inbound, render_wide},
};

use crate::{case::Case, compare, report::Outcome};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    let resources = generate(case);
    let compared = |golden: Option<String>| {
        let expected = compare::yaml(&golden.ok_or("the check names no golden")?)?;
        compare::values(&resources.clone()?, &expected)
    };
    case.checks().into_iter().map(|check| Outcome::new(check.name, compared(check.golden(case)))).collect()
}

fn generate(case: &Case) -> Result<Value, String> {
    let document = compare::yaml(&case.input("dataplane").ok_or("no Dataplane")?)?;
    match case.area() {
        "admin" => admin(case, document),
        "dns" => dns_listener(case, document),
        "inbound" => inbounds(document),
        "direct-access" => direct(case, document),
        other => Err(format!("nothing is known of generator {other:?}")),
    }
}

fn admin(case: &Case, document: Value) -> Result<Value, String> {
    let Some(facts) = facts("default", document)? else { return Ok(response(Answer::default())) };
    let text = |name: &str| case.param(name).as_str().unwrap_or_default();
    let features = case.param("features").as_array().into_iter().flatten().filter_map(Value::as_str);
    let node = NodeFacts {
        features: Features::from_names(features),
        admin_port: 9901,
        admin_address: text("adminAddress").into(),
        admin_socket: [text("adminSocketPath"), text("socketPath")].concat().into(),
        readiness_port: case.param("readinessPort").as_u64().unwrap_or_default() as u16,
        ..NodeFacts::default()
    };
    let proxy = ProxyFacts::new(Arc::new(facts), &node);
    let wide = bare_wide(&WideInputs { traits: proxy.traits, direct_access: Vec::new(), dns: None, access_logs: None });
    let tls =
        AdminTls { certificate_chain: b"certPEM".to_vec(), private_key: b"keyPEM".to_vec(), ca: b"caPEM".to_vec() };
    let admin = ProxyWide { admin: wide.admin, ..ProxyWide::default() };
    Ok(response(render_wide(&admin, &proxy.own, Some(&tls)).into()))
}

/// Names of virtual addresses in the mesh of the cases.
const NAMES: [(&str, &[&str]); 3] = [
    ("240.0.0.1", &["httpbin.mesh"]),
    ("240.0.0.0", &["backend.test-ns.svc.8080.mesh", "backend_test-ns_svc_8080.mesh"]),
    ("2001:db8::ff00:42:8329", &["frontend.test-ns.svc.8080.mesh", "frontend_test-ns_svc_8080.mesh"]),
];

fn dns_listener(case: &Case, document: Value) -> Result<Value, String> {
    let mesh = case.param("dpMesh").as_str().unwrap_or_default();
    let labels = case.param("dpLabels").as_object().into_iter().flatten();
    let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect();
    let Some(facts) = facts_of_spec(mesh, labels, document)? else { return Ok(response(Answer::default())) };
    let node = NodeFacts { dns_port: 53001, ipv6: false, ..NodeFacts::default() };
    let proxy = ProxyFacts::new(Arc::new(facts), &node);
    let destinations: Destinations = NAMES.iter().map(|(vip, names)| Arc::new(destination(vip, names))).collect();
    let outbounds: Vec<OutboundRef> = proxy
        .dataplane
        .declared
        .iter()
        .map(|outbound| OutboundRef {
            destination: kri(&outbound.at.address),
            listen: Listen { address: outbound.at.address.clone(), port: outbound.at.port, bind: None },
        })
        .collect();
    let dns = dns(&proxy.dataplane, &proxy.traits, &outbounds, &destinations).map(Arc::new);
    let wide = bare_wide(&WideInputs { traits: proxy.traits, direct_access: Vec::new(), dns, access_logs: None });
    let dynamic = ProxyWide { dynamic: wide.dynamic, ..ProxyWide::default() };
    Ok(response(render_wide(&dynamic, &proxy.own, None).into()))
}

fn kri(name: &str) -> Kri {
    Kri::with_short(DestinationKind::MeshService.short(), &Meta::new("default", name, Labels::new()))
}

fn destination(vip: &str, names: &[&str]) -> Destination {
    Destination {
        kind: DestinationKind::MeshService,
        kri: kri(vip),
        name: vip.into(),
        labels: Arc::default(),
        created: jiff::Timestamp::UNIX_EPOCH,
        ports: Arc::default(),
        vips: [vip.into()].into(),
        hostnames: names.iter().map(|name| (*name).into()).collect(),
        tls_ready: false,
        identities: Arc::default(),
    }
}

fn inbounds(document: Value) -> Result<Value, String> {
    let Some(facts) = facts_of_spec("default", Labels::new(), document)? else {
        return Ok(response(Answer::default()));
    };
    let proxy = ProxyFacts::new(Arc::new(facts), &NodeFacts { ipv6: false, ..NodeFacts::default() });
    let internal = [("100.64.0.0", 16), ("fc00::/7", 128), ("::1/128", 128)];
    let internal = internal.map(|(address, length)| CidrText { address: address.into(), length });
    let internal = PlanSettings::new("default", internal).internal(proxy.traits.ipv6);
    let mut answer = Answer::default();
    for inbound in proxy.dataplane.inbounds.iter() {
        let inputs = InboundInputs::bare(inbound.clone(), &proxy.traits, internal.clone());
        if let Some(unit) = bare_inbound(&inputs) {
            let (listener, cluster) = render_inbound(&unit, &proxy.own);
            answer.add(&cluster.name, &cluster);
            answer.add(&listener.name, &listener);
        }
    }
    Ok(response(answer))
}

fn direct(case: &Case, document: Value) -> Result<Value, String> {
    let Some(own) = facts("default", document)? else { return Ok(response(Answer::default())) };
    let mut others = Vec::new();
    for document in compare::yaml_documents(&case.input("dataplanes").unwrap_or_default())? {
        others.extend(facts("default", document)?.map(Arc::new));
    }
    let proxy = ProxyFacts::new(Arc::new(own), &NodeFacts::default());
    let direct_access = direct_access(&proxy.dataplane, &proxy.traits, &others);
    let wide = bare_wide(&WideInputs { traits: proxy.traits, direct_access, dns: None, access_logs: None });
    let direct = ProxyWide { direct_access: wide.direct_access, ..ProxyWide::default() };
    Ok(response(render_wide(&direct, &Own::default(), None).into()))
}

/// Facts of a Dataplane given as a resource; `None` for an empty document.
fn facts(mesh: &str, document: Value) -> Result<Option<DataplaneFacts>, String> {
    let labels = serde_json::from_value(document["labels"].clone()).unwrap_or_default();
    named_facts(mesh, document["name"].as_str().unwrap_or_default(), labels, document.clone())
}

/// Facts of a Dataplane given as a spec; `None` if it says nothing.
fn facts_of_spec(mesh: &str, labels: Labels, spec: Value) -> Result<Option<DataplaneFacts>, String> {
    named_facts(mesh, "dp-1", labels, spec)
}

fn named_facts(mesh: &str, name: &str, labels: Labels, spec: Value) -> Result<Option<DataplaneFacts>, String> {
    let spec: Dataplane = serde_json::from_value(spec).map_err(|e| format!("Dataplane: {e}"))?;
    let dataplane = Resource::<Dataplane>::new(Meta::new(mesh, name, labels), spec, NoStatus::default());
    // Cases that are not about addresses have none.
    let names = Names(BTreeMap::from([("".into(), "".into())]));
    Ok(DataplaneFacts::of(&dataplane, &names))
}

/// Resources by type URL and name: one of a type and name replaces an earlier one.
#[derive(Default)]
struct Answer(BTreeMap<(String, String), prost_types::Any>);

impl Answer {
    fn add<M: Message + Name>(&mut self, name: &str, message: &M) {
        self.0.insert((M::type_url(), name.to_owned()), pack(message));
    }
}

impl From<WideMessages> for Answer {
    fn from(messages: WideMessages) -> Self {
        let mut answer = Self::default();
        messages.clusters.iter().for_each(|cluster| answer.add(&cluster.name, cluster));
        messages.listeners.iter().for_each(|listener| answer.add(&listener.name, listener));
        answer
    }
}

/// A delta discovery response as it prints: resources by type and name, and nothing if there are none.
fn response(answer: Answer) -> Value {
    let resources: Vec<Value> = answer
        .0
        .into_iter()
        .map(|((_, name), any)| json!({"name": name, "resource": any_to_json(&any).unwrap_or(Value::Null)}))
        .collect();
    if resources.is_empty() { json!({}) } else { json!({"resources": resources}) }
}
