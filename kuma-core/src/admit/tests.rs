use serde_json::{Value, json};

use super::*;
use crate::{json::from_rest, resources::MeshService};

fn zone() -> Site {
    Site::zone("east")
}

fn global() -> Site {
    Site { origin: "global", zone: None, ..zone() }
}

fn service(name: &str, labels: Value) -> Received {
    let document = json!({
        "type": "MeshService", "mesh": "m", "name": name, "labels": labels,
        "spec": {"selector": {"dataplaneRef": {"name": "a"}}, "ports": [{"port": 80}]},
    });
    from_rest(Kind::MeshService, &document).unwrap()
}

fn dataplane(labels: Value, mut networking: Value) -> Received {
    networking["address"] = json!("10.0.0.1");
    let document = json!({"type": "Dataplane", "name": "a", "mesh": "m", "labels": labels, "networking": networking});
    from_rest(Kind::Dataplane, &document).unwrap()
}

fn put(site: &Site, received: &Received, stored: Option<&AnyResource>) -> Result<AnyResource, Rejection> {
    request(site, &received.resource.key(), received)?;
    write(site, &received.resource, stored)
}

fn texts(rejection: Rejection) -> (&'static str, String) {
    match rejection {
        Rejection::Invalid { title, violations } => (title, violations.to_string()),
        Rejection::BadRequest(text) => ("", text),
    }
}

#[test]
fn an_update_keeps_the_status() {
    let stored = put(&zone(), &service("web", json!({})), None).unwrap();
    assert_eq!(stored.meta.zone(), "east");
    let mut status = stored.status::<MeshService>().unwrap().clone();
    status.dataplane_proxies.total = 3;
    let stored = AnyResource::new(stored.meta.clone(), stored.spec::<MeshService>().unwrap().clone(), status);
    let again = put(&zone(), &service("web", json!({"team": "a"})), Some(&stored)).unwrap();
    assert_eq!(again.status::<MeshService>().unwrap().dataplane_proxies.total, 3);
    assert_eq!(again.meta.label("team"), Some("a"));
}

#[test]
fn the_address_fits_the_document() {
    let fault = request(&zone(), &Key::new(Kind::MeshService, "n", "api"), &service("web", json!({}))).unwrap_err();
    let text = "name: name from the URL has to be the same as in body; \
                mesh: mesh from the URL has to be the same as in body";
    assert_eq!(texts(fault), (PROCESS, text.into()));
    let lying = from_rest(Kind::Mesh, &json!({"type": "Zone", "name": "m"})).unwrap();
    let fault = request(&zone(), &Key::new(Kind::Mesh, "", "m"), &lying).unwrap_err();
    assert_eq!(texts(fault).1, "type: type from the URL has to be the same as in body");
}

#[test]
fn names_above_have_the_zone_in_front() {
    let federated = Site { federated: true, ..zone() };
    let labels = || json!({"kuma.io/origin": "zone"});
    let fits = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(64)].join(".");
    let received = service(&fits, labels());
    assert!(request(&federated, &received.resource.key(), &received).is_ok(), "{}", fits.len());
    let received = service(&format!("{fits}e"), labels());
    let fault = request(&federated, &received.resource.key(), &received).unwrap_err();
    assert_eq!(texts(fault).1, "name: the length of the name must be shorter");
}

#[test]
fn names_of_a_kind_are_checked_when_it_is_stored() {
    let (title, text) = texts(put(&zone(), &service("1web", json!({})), None).unwrap_err());
    assert_eq!(title, CREATE);
    assert!(text.starts_with("name: a DNS-1035 label must consist"), "{text}");
    let (title, _) = texts(put(&zone(), &service("Web", json!({})), None).unwrap_err());
    assert_eq!(title, PROCESS);
    let name = "m".repeat(64);
    let mesh = from_rest(Kind::Mesh, &json!({"type": "Mesh", "name": name})).unwrap();
    let (_, text) = texts(put(&zone(), &mesh, None).unwrap_err());
    assert!(text.starts_with("name: cannot be longer than 63 characters"), "{text}");
}

#[test]
fn the_zone_of_an_object_cannot_change() {
    let stored = put(&Site::zone("west"), &service("web", json!({})), None).unwrap();
    let moved = put(&zone(), &service("web", json!({})), Some(&stored)).unwrap_err();
    let text = "labels[\"kuma.io/zone\"]: is immutable, cannot be changed from \"west\" to \"east\"";
    assert_eq!(texts(moved), (IMMUTABLE, text.into()));
}

#[test]
fn probed_inbounds_start_not_ready_and_gateways_know_their_zone() {
    let inbounds = |r: &AnyResource| {
        let networking = r.spec::<Dataplane>().unwrap().networking.clone().unwrap();
        networking.inbound.iter().map(|i| (i.state, i.health.map(|h| h.ready))).collect::<Vec<_>>()
    };
    let probed = dataplane(json!({}), json!({"inbound": [{"port": 80, "serviceProbe": {"tcp": {}}}, {"port": 81}]}));
    let first = put(&zone(), &probed, None).unwrap();
    assert_eq!(inbounds(&first), [(InboundState::NotReady, Some(false)), (InboundState::Ready, None)]);
    let again = put(&zone(), &probed, Some(&first)).unwrap();
    assert_eq!(inbounds(&again)[0], (InboundState::Ready, None));

    let gateway = put(&zone(), &dataplane(json!({}), json!({"gateway": {}})), None).unwrap();
    let networking = gateway.spec::<Dataplane>().unwrap().networking.clone().unwrap();
    assert_eq!(networking.gateway.unwrap().tags.get("kuma.io/zone").map(String::as_str), Some("east"));
}

#[test]
fn workloads_are_names() {
    let proxy = dataplane(json!({"kuma.io/workload": "Web"}), json!({})).resource;
    let (_, text) = texts(workload(&zone(), &proxy).unwrap_err());
    let front = "labels[\"kuma.io/workload\"]: must be a valid DNS-1035 label (a DNS-1035";
    assert!(text.starts_with(front), "{text}");
    let (_, text) = texts(workload(&global(), &proxy).unwrap_err());
    assert_eq!(text, "labels[\"kuma.io/workload\"]: not allowed on Global control plane");
    assert!(workload(&zone(), &dataplane(json!({"kuma.io/workload": "web"}), json!({})).resource).is_ok());
}

#[test]
fn deletions() {
    let mesh = from_rest(Kind::Mesh, &json!({"type": "Mesh", "name": "m"})).unwrap().resource;
    let fault = delete(&zone(), &mesh, InUse { dataplanes: true, zone_online: false }).unwrap_err();
    assert_eq!(texts(fault), (DELETE, "mesh: unable to delete mesh, there are still some dataplanes attached".into()));
    assert!(delete(&zone(), &mesh, InUse { zone_online: true, ..InUse::default() }).is_ok());
    let copy = service("web", json!({"kuma.io/origin": "global"})).resource;
    let federated = Site { federated: true, ..zone() };
    let (_, text) = texts(delete(&federated, &copy, InUse::default()).unwrap_err());
    assert_eq!(text, "labels[\"kuma.io/origin\"]: the origin label must be set to 'zone'");
}
