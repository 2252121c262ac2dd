//! Whatever happens, in whatever order: what the engine tells proxies is what a plan from scratch says, and nobody is
//! told what it has already.

use std::{collections::BTreeMap, sync::Arc};

use kuma_core::{
    plan::{Features, Names, NodeFacts},
    registry::Kind,
    resource::Key,
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::{
    generated::{PROTOCOLS, dataplane, policy, service},
    scene::Scene,
};

const PROXIES: usize = 5;
const POLICIES: usize = 6;
const SERVICES: usize = 4;

#[derive(Clone, Debug)]
enum Event {
    Put(Value),
    Delete(Kind, String),
    Connect(usize, usize),
    /// The stream at this place among those that there are.
    Disconnect(usize),
    Rename(u8),
}

/// A Dataplane with more of what reach and endpoints depend on.
fn proxy() -> impl Strategy<Value = Value> {
    let reach = select(vec![
        Value::Null,
        json!([]),
        json!([{"kind": "MeshService", "name": "s0"}]),
        json!([{"kind": "MeshService", "labels": {"tier": "x"}}]),
        json!([{"kind": "MeshService", "name": "s1", "port": 80}, {"kind": "MeshService", "name": "s3"}]),
    ]);
    let address = proptest::option::weighted(0.2, select(&["host-1", "host-2"][..]));
    let state = select(&["Ready", "NotReady", "Ignored"][..]);
    let direct = proptest::option::weighted(0.2, Just(json!(["*"])));
    (0..PROXIES, dataplane(), reach, address, state, direct).prop_map(
        |(number, mut document, reach, address, state, direct)| {
            document["name"] = json!(format!("d{number}"));
            let networking = &mut document["networking"];
            if let Some(address) = address {
                networking["address"] = json!(address);
            }
            if let Some(inbound) = networking["inbound"].as_array_mut().and_then(|i| i.first_mut()) {
                inbound["state"] = json!(state);
            }
            if networking["transparentProxying"].is_object() {
                if !reach.is_null() {
                    networking["transparentProxying"]["reachableBackends"] = json!({"refs": reach});
                }
                if let Some(direct) = direct {
                    networking["transparentProxying"]["directAccessServices"] = direct;
                }
            }
            document
        },
    )
}

fn some_service() -> impl Strategy<Value = Value> {
    let label = select(&["x", "y"][..]);
    let hostname = proptest::option::of(select(&["a.mesh", "b.mesh"][..]));
    let address = 0..3_u8;
    (0..SERVICES, select(&PROTOCOLS[..]), label, hostname, address, any::<bool>()).prop_map(
        |(number, protocol, tier, hostname, moved, by_name)| {
            let mut document = service(number, protocol);
            document["labels"] = json!({"tier": tier});
            // Addresses are never shared, but a proxy may listen on one itself.
            document["status"]["vips"] = json!([{"ip": format!("10.0.{moved}.{}", number + 1)}]);
            if let Some(hostname) = hostname {
                document["status"]["addresses"] = json!([{"hostname": hostname, "origin": "HostnameGenerator"}]);
            }
            if by_name {
                document["spec"]["selector"] = json!({"dataplaneRef": {"name": format!("d{number}")}});
                document["spec"]["ports"][0]["targetPort"] = json!("i0");
            }
            document
        },
    )
}

fn some_policy() -> impl Strategy<Value = Value> {
    let backend = json!({"kind": "MeshService", "labels": {"tier": "x"}, "port": 80});
    let route = json!({"kind": "MeshHTTPRoute", "labels": {"kuma.io/display-name": "p0"}});
    (0..POLICIES, policy(), 0..10_u8).prop_map(move |(number, mut document, special)| {
        document["name"] = json!(format!("p{number}"));
        let kind = document["type"].as_str().unwrap().to_owned();
        match (special, kind.as_str()) {
            (0, "MeshTimeout") => {
                document["spec"] = json!({"rules": [{"default": {"idleTimeout": format!("{number}s")}}]});
            }
            (1, "MeshTimeout" | "MeshRetry" | "MeshAccessLog") => {
                document["spec"]["to"][0]["targetRef"] = route.clone();
            }
            (0, "MeshAccessLog") => {
                let rule = json!({"default": {"backends": [{"type": "File", "file": {"path": format!("/{number}")}}]}});
                document["spec"] = json!({"rules": [rule]});
            }
            (0..=4, "MeshHTTPRoute") => {
                document["spec"]["to"][0]["rules"][0]["default"]["backendRefs"] = json!([backend]);
            }
            (3, _) => document["labels"] = json!({"kuma.io/effect": "shadow"}),
            _ => {}
        }
        document
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => proxy().prop_map(Event::Put),
        3 => some_service().prop_map(Event::Put),
        5 => some_policy().prop_map(Event::Put),
        1 => Just(Event::Put(json!({"type": "Mesh", "name": "default"}))),
        1 => (0..PROXIES).prop_map(|n| Event::Delete(Kind::Dataplane, format!("d{n}"))),
        1 => (0..SERVICES).prop_map(|n| Event::Delete(Kind::MeshService, format!("s{n}"))),
        2 => (select(vec![Kind::MeshTimeout, Kind::MeshRetry, Kind::MeshHTTPRoute, Kind::MeshTCPRoute, Kind::MeshAccessLog]), 0..POLICIES)
            .prop_map(|(kind, n)| Event::Delete(kind, format!("p{n}"))),
        1 => Just(Event::Delete(Kind::Mesh, "default".to_owned())),
        4 => (0..PROXIES, 0..NODES).prop_map(|(proxy, node)| Event::Connect(proxy, node)),
        1 => any::<usize>().prop_map(Event::Disconnect),
        1 => (0..4_u8).prop_map(Event::Rename),
    ]
}

const NODES: usize = 4;

fn node(number: usize) -> Arc<NodeFacts> {
    let node = NodeFacts { admin_port: 9901, dns_port: 15053, ipv6: true, ..NodeFacts::default() };
    Arc::new(match number {
        0 => NodeFacts { ipv6: false, ..node },
        1 => NodeFacts { features: Features { bind_outbounds: true, ..Features::default() }, ..node },
        2 => NodeFacts { admin_port: 0, dns_port: 0, ..node },
        _ => node,
    })
}

impl Scene {
    fn happen(&mut self, event: Event) {
        match event {
            Event::Put(document) => self.put(document),
            Event::Delete(kind, name) => {
                let mesh = if kind == Kind::Mesh { "" } else { "default" };
                self.delete(Key::new(kind, mesh, name));
            }
            Event::Connect(proxy, number) => drop(self.connect(&format!("d{proxy}"), &node(number))),
            Event::Disconnect(at) => {
                let streams: Vec<_> = self.clients.keys().copied().collect();
                if let Some(stream) = streams.get(at % streams.len().max(1)) {
                    self.disconnect(*stream);
                }
            }
            Event::Rename(which) => {
                let known = (0..2).filter(|host| which & (1 << host) != 0);
                let names = known.map(|h| (format!("host-{}", h + 1).into(), format!("10.1.0.{which}").into()));
                self.rename(Names(names.collect::<BTreeMap<_, _>>()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn incremental_planning_equals_planning_from_scratch(batches in vec(vec(event(), 1..5), 1..25)) {
        let mut scene = Scene::with([json!({"type": "Mesh", "name": "default"})]);
        for batch in batches {
            for event in batch {
                scene.happen(event);
            }
            scene.step().map_err(TestCaseError::fail)?;
            scene.check().map_err(TestCaseError::fail)?;
        }
    }
}
