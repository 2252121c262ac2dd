//! What a change costs, counted: it follows what changed, not the size of the mesh.

use std::sync::Arc;

use kuma_core::{
    engine::{Counters, StreamId},
    plan::NodeFacts,
    registry::Kind,
    resource::Key,
};
use serde_json::{Value, json};

use crate::scene::Scene;

const SERVICES: usize = 20;

fn service(number: usize) -> Value {
    json!({
        "type": "MeshService", "name": format!("s{number}"),
        "spec": {"ports": [{"name": "main", "port": 80, "targetPort": 8080, "appProtocol": "http"}],
            "selector": {"dataplaneLabels": {"matchLabels": {"app": format!("s{number}")}}}},
        "status": {"vips": [{"ip": format!("241.0.0.{}", number + 1)}]},
    })
}

/// A Dataplane of service `app` that reaches these services, or all.
fn dataplane(number: usize, app: usize, reach: Option<&[usize]>) -> Value {
    let mut proxying = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
    if let Some(services) = reach {
        let refs = services.iter().map(|s| json!({"kind": "MeshService", "name": format!("s{s}")}));
        proxying["reachableBackends"] = json!({"refs": refs.collect::<Vec<_>>()});
    }
    json!({
        "type": "Dataplane", "name": format!("d{number}"), "labels": {"app": format!("s{app}")},
        "networking": {
            "address": format!("10.{}.{}.1", number / 250, number % 250),
            "inbound": [{"port": 8080, "name": "main", "protocol": "http"}],
            "transparentProxying": proxying,
        },
    })
}

fn timeout(name: &str, to: Option<usize>, seconds: u32) -> Value {
    let target = match to {
        Some(service) => json!({"kind": "MeshService", "labels": {"kuma.io/display-name": format!("s{service}")}}),
        None => json!({"kind": "Mesh"}),
    };
    let conf = json!({"connectionTimeout": format!("{seconds}s"), "http": {"requestTimeout": format!("{seconds}m")}});
    json!({"type": "MeshTimeout", "name": name, "spec": {"to": [{"targetRef": target, "default": conf}]}})
}

/// `count` connected proxies, each reaching what `reach` says, and all services; every second proxy belongs to a
/// service with a policy of its own, so that there are two classes.
fn scene(count: usize, reach: impl Fn(usize) -> Option<Vec<usize>>) -> Scene {
    let mut documents = vec![json!({"type": "Mesh", "name": "default"}), timeout("all", None, 9)];
    let mut own = timeout("own", Some(SERVICES - 1), 7);
    own["spec"]["targetRef"] = json!({"kind": "Dataplane", "labels": {"team": "b"}});
    documents.push(own);
    documents.extend((0..SERVICES).map(service));
    for number in 0..count {
        let mut document = dataplane(number, number % SERVICES, reach(number).as_deref());
        document["labels"]["team"] = json!(["a", "b"][number % 2]);
        documents.push(document);
    }
    let mut scene = Scene::with(documents);
    let node = Arc::new(NodeFacts::default());
    for number in 0..count {
        scene.connect(&format!("d{number}"), &node);
    }
    scene.step().unwrap();
    scene
}

fn reaching(scene: &Scene, service: usize) -> Vec<StreamId> {
    let cluster = format!("kri_msvc_default_default__s{service}_main");
    let has =
        |c: &&crate::clients::Client| c.has.as_ref().is_some_and(|[_, clusters, ..]| clusters.contains_key(&*cluster));
    scene.clients.values().filter(has).map(|c| c.stream).collect()
}

/// The work of a step, without the batch itself and those who were woken.
fn work(counters: Counters) -> Counters {
    Counters { batches: 0, woken: 0, ..counters }
}

#[test]
fn an_endpoint_plans_nothing_and_is_rendered_once_for_those_who_read_it() {
    let mut scene = scene(40, |number| Some(vec![number % 5, number % 7]));
    for (what, state) in [("added", "Ready"), ("no longer ready", "NotReady")] {
        let mut document = dataplane(1000, 3, None);
        document["networking"]["inbound"][0]["state"] = json!(state);
        scene.put(document);
        let (counters, woken) = scene.cost();
        assert_eq!(work(counters), Counters { endpoints: 1, rendered: 1, ..Counters::default() }, "{what}");
        assert_eq!(woken, reaching(&scene, 3), "{what}");
        assert!(woken.len() > 2 && woken.len() < 40);
    }
    scene.delete(Key::new(Kind::Dataplane, "default", "d1000"));
    let (counters, woken) = scene.cost();
    // It was not ready, so nobody knew it.
    assert_eq!((work(counters), woken), (Counters { endpoints: 1, ..Counters::default() }, vec![]));
    scene.check().unwrap();
}

#[test]
fn a_policy_on_one_destination_plans_one_outbound_per_class() {
    // 500 different lists of what is reached.
    let reach = |number: usize| Some(vec![3, 4 + number % 16, 4 + (number / 16) % 16, 4 + (number / 256) % 16]);
    let mut scene = scene(500, reach);
    scene.put(timeout("three", Some(3), 1));
    let (counters, woken) = scene.cost();
    assert_eq!((counters.outbounds, counters.clusters), (1, 1), "both classes say the same of it: {counters:?}");
    assert_eq!((counters.classes, woken.len()), (2, 500), "{counters:?}");
    // From now on the policy is known: nothing is matched again when it comes to say something else.
    scene.put(timeout("three", Some(3), 2));
    let (counters, woken) = scene.cost();
    let wanted = Counters { rule_tables: 2, outbounds: 1, clusters: 1, rendered: 2, sets: 500, ..Counters::default() };
    assert_eq!((work(counters), woken.len()), (wanted, 500));
    // What differs between the classes is planned once for each.
    scene.put(timeout("own", Some(SERVICES - 1), 5));
    scene.step().unwrap();
    let narrow = timeout("all", None, 8);
    scene.put(narrow);
    let (counters, _) = scene.cost();
    assert!(counters.outbounds <= 2 * SERVICES as u64, "{counters:?}");
    assert_eq!((counters.proxies_matched, counters.reaches), (0, 0), "{counters:?}");
    scene.check().unwrap();
}

#[test]
fn a_log_of_the_whole_mesh_is_planned_once_for_all_replicas() {
    let mut scene = scene(40, |_| None);
    let log = |name: &str, part: &str, mut item: Value, path: &str| {
        item["default"] = json!({"backends": [{"type": "File", "file": {"path": path}}]});
        json!({"type": "MeshAccessLog", "name": name, "spec": {part: [item]}})
    };
    // The classes differ about one destination. The default line prints the address of the replica.
    let outbounds = SERVICES as u64 + 1;
    for path in ["/new", "/other"] {
        scene.put(log("out", "to", json!({"targetRef": {"kind": "Mesh"}}), path));
        let (counters, woken) = scene.cost();
        let planned = (counters.outbounds, counters.clusters, counters.inbounds, counters.wides);
        assert_eq!((planned, woken.len()), ((outbounds, 0, 0, 1), 40), "{path}: {counters:?}");
    }
    for path in ["/new", "/other"] {
        scene.put(log("in", "rules", json!({}), path));
        let (counters, woken) = scene.cost();
        let planned = (counters.outbounds, counters.clusters, counters.inbounds, counters.wides);
        assert_eq!((planned, woken.len()), ((0, 0, 1, 0), 40), "{path}: {counters:?}");
    }
    scene.check().unwrap();
}

#[test]
fn a_policy_on_a_destination_that_few_reach_concerns_these_few() {
    let mut scene = scene(60, |number| Some(vec![number % SERVICES]));
    scene.put(timeout("three", Some(3), 1));
    scene.step().unwrap();
    scene.put(timeout("three", Some(3), 2));
    let (counters, woken) = scene.cost();
    assert_eq!(woken, reaching(&scene, 3));
    assert_eq!((counters.sets, counters.outbounds, counters.clusters), (3, 1, 1), "{counters:?}");
}

#[test]
fn one_more_proxy_of_a_known_kind_plans_nothing_of_its_own() {
    let mut scene = scene(40, |_| None);
    let mut document = dataplane(1000, 3, None);
    document["labels"]["team"] = json!("a");
    scene.put(document);
    scene.connect("d1000", &Arc::new(NodeFacts::default()));
    let (counters, woken) = scene.cost();
    let wanted = Counters { proxies_matched: 1, endpoints: 1, rendered: 1, sets: 1, ..Counters::default() };
    assert_eq!(work(counters), wanted);
    assert_eq!(woken.len(), 41, "its endpoint is told to all, and it is told everything");
    scene.check().unwrap();
}

#[test]
fn a_new_service_is_planned_once_per_class() {
    let mut scene = scene(40, |_| None);
    scene.put(service(SERVICES));
    let (counters, woken) = scene.cost();
    assert_eq!((counters.outbounds, counters.clusters, counters.proxies_matched), (1, 1, 0), "{counters:?}");
    assert_eq!((counters.reaches, counters.endpoints, woken.len()), (1, 1, 40), "{counters:?}");
    scene.check().unwrap();
}

#[test]
fn writes_that_no_plan_reads_wake_nobody() {
    let mut scene = scene(10, |_| None);
    let mut document = service(3);
    document["spec"]["state"] = json!("Unavailable");
    document["status"]["dataplaneProxies"] = json!({"connected": 3, "healthy": 2, "total": 4});
    scene.put(document);
    scene.put(timeout("all", None, 9));
    scene.put(json!({"type": "Mesh", "name": "default", "labels": {"a": "b"}}));
    let (counters, woken) = scene.cost();
    assert_eq!((work(counters), woken), (Counters::default(), vec![]));
}

#[test]
fn what_nobody_uses_any_more_is_forgotten() {
    let mut scene = scene(20, |number| Some(vec![number % SERVICES]));
    let table = scene.clients.values().find_map(|c| c.table.clone()).unwrap();
    let cluster = "kri_msvc_default_default__s3_main";
    assert!(table.get(cluster).is_some());
    for stream in reaching(&scene, 3) {
        scene.disconnect(stream);
    }
    scene.step().unwrap();
    assert!(table.get(cluster).is_none(), "endpoints of a cluster that no proxy has");
    let all: Vec<_> = scene.clients.keys().copied().collect();
    for stream in all {
        scene.disconnect(stream);
    }
    scene.step().unwrap();
    scene.put(timeout("all", None, 1));
    assert_eq!(work(scene.cost().0), Counters::default());
}
