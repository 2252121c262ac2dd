//! A class, that is the policies that match a proxy, in order, with its traits, decides all of its outbounds: whatever
//! else differs between two proxies of one class, what both reach at one address is one and the same unit.
#![expect(clippy::unwrap_used, reason = "what is generated here is valid")]

use std::{collections::BTreeMap, sync::Arc};

use kuma_core::{
    json::from_rest,
    labels::{self, Site},
    meta::Meta,
    plan::{
        MatchedPolicies, MatchedSet, MeshFacts, Names, NodeFacts, OutboundRules, PlanSettings, ProxyFacts, ProxyTraits,
        outbound, outbound_inputs, plan_proxy, reach,
    },
    policies::policy::Policy,
    registry::Kind,
    resource::AnyResource,
    state::MeshState,
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

fn stored(mut document: Value) -> AnyResource {
    let kind = Kind::by_name(document["type"].as_str().unwrap()).unwrap();
    if kind != Kind::Mesh {
        document["mesh"] = json!("default");
    }
    let resource = from_rest(kind, &document).unwrap_or_else(|e| panic!("{e}: {document}")).resource;
    let labels = labels::compute(&Site::zone("default"), &resource).into();
    AnyResource { meta: Meta { labels, ..resource.meta.clone() }, ..resource }
}

fn service(number: usize, protocol: &str) -> Value {
    json!({
        "type": "MeshService", "name": format!("s{number}"),
        "spec": {"ports": [{"name": "main", "port": 80, "targetPort": 8080, "appProtocol": protocol}],
            "selector": {"dataplaneLabels": {"matchLabels": {"app": format!("s{number}")}}}},
        "status": {"vips": [{"ip": format!("241.0.0.{number}")}]},
    })
}

/// Three services, one of each protocol.
const PROTOCOLS: [&str; 3] = ["http", "grpc", "tcp"];

fn dataplane() -> impl Strategy<Value = Value> {
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
fn policy() -> impl Strategy<Value = Value> {
    let kind = select(&["MeshTimeout", "MeshRetry", "MeshCircuitBreaker", "MeshHTTPRoute", "MeshTCPRoute"][..]);
    let services = 0..PROTOCOLS.len();
    (kind, top(), any::<bool>(), services.clone(), services, 1..9_u32).prop_map(|(kind, top, mesh, to, backend, n)| {
        let target = if mesh { json!({"kind": "Mesh"}) } else { named(to) };
        let mut backend = named(backend);
        backend["port"] = json!(80);
        let item = match kind {
            "MeshTimeout" => json!({"targetRef": target, "default": {"idleTimeout": format!("{n}s"), "http": {"requestTimeout": format!("{n}m")}}}),
            "MeshRetry" => json!({"targetRef": target, "default": {"tcp": {"maxConnectAttempt": n}, "http": {"numRetries": n}}}),
            "MeshCircuitBreaker" => json!({"targetRef": target, "default": {"connectionLimits": {"maxConnections": n}}}),
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

/// Resources of a mesh, and how many proxies are in it.
fn mesh() -> impl Strategy<Value = (Vec<Value>, usize)> {
    (vec(dataplane(), 2..7), vec(policy(), 0..8)).prop_map(|(dataplanes, policies)| {
        let count = dataplanes.len();
        let mut documents = vec![json!({"type": "Mesh", "name": "default"})];
        documents.extend(PROTOCOLS.iter().enumerate().map(|(number, protocol)| service(number, protocol)));
        for (prefix, list) in [("d", dataplanes), ("p", policies)] {
            documents.extend(list.into_iter().enumerate().map(|(number, mut document)| {
                document["name"] = json!(format!("{prefix}{number}"));
                document
            }));
        }
        (documents, count)
    })
}

/// Names of matched policies, in order, by kind; and the traits.
type Class = (Vec<Vec<String>>, ProxyTraits);

fn class(matched: &MatchedSet, traits: ProxyTraits) -> Class {
    fn names<P: Policy>(list: &MatchedPolicies<P>) -> Vec<String> {
        list.policies.iter().map(|m| m.policy.head.meta.name.to_string()).collect()
    }
    let kinds = vec![
        names(&matched.http_routes),
        names(&matched.tcp_routes),
        names(&matched.timeouts),
        names(&matched.breakers),
        names(&matched.retries),
    ];
    (kinds, traits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn proxies_of_one_class_share_their_outbounds((documents, count) in mesh()) {
        let state = MeshState::of(documents.into_iter().map(stored));
        let facts = MeshFacts::of(&state, "default", &Names::default());
        let settings = PlanSettings::default();
        let context = facts.rule_context();
        let mut rules_of: BTreeMap<Class, OutboundRules> = BTreeMap::new();
        let mut units: BTreeMap<(Class, String), Value> = BTreeMap::new();
        for number in 0..count {
            let name: Arc<str> = format!("d{number}").into();
            let proxy = ProxyFacts::new(facts.dataplanes.get(&name).unwrap().clone(), &NodeFacts::default());
            let matched = MatchedSet::find(&facts, &proxy, false);
            let class = class(&matched, proxy.traits);
            let plan = plan_proxy(&facts, &settings, &proxy, false);
            // Whoever comes first makes the rules for all.
            let rules = rules_of.entry(class.clone()).or_insert_with(|| OutboundRules::build(&matched, &context));
            for reference in reach(&proxy, &facts.destinations) {
                let inputs = outbound_inputs(&reference, rules, &context, settings.internal(proxy.traits.ipv6)).unwrap();
                let name = reference.destination.to_string();
                let unit = outbound(&inputs);
                prop_assert_eq!(unit.as_ref(), plan.outbounds.get(&*name).map(AsRef::as_ref), "{} of d{}", name, number);
                let clusters: Vec<_> = unit.iter().flat_map(kuma_core::ir::Outbound::clusters).map(|c| plan.clusters.get(&c)).collect();
                prop_assert!(clusters.iter().all(Option::is_some), "{name} of d{number} names a cluster that is not there");
                // The unit with its clusters, printed: what was made for another member of the class.
                let printed = json!([unit, clusters]);
                let known = units.entry((class.clone(), format!("{reference:?}"))).or_insert_with(|| printed.clone());
                prop_assert_eq!(&*known, &printed, "{} of d{}", name, number);
            }
            // No cluster without somebody who asks for it, and each with endpoints.
            let mut used: Vec<_> = plan.outbounds.values().flat_map(|u| u.clusters()).collect();
            used.sort();
            used.dedup();
            prop_assert_eq!(&used, &plan.clusters.keys().cloned().collect::<Vec<_>>());
            prop_assert_eq!(&used, &plan.endpoints.keys().cloned().collect::<Vec<_>>());
        }
    }
}
