//! What is derived, from scratch. The incremental way is held to the same by `property`.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::*;
use crate::{
    meta::{Labels, label},
    policies::{MeshAccessLog, ObservabilityStatus},
    resource::NoStatus,
    resources::{Dataplane, DataplaneInsight, Inbound, Mesh, Networking, ServiceState, Subscription, Workload},
    state::MeshState,
    store::Change,
};

fn settings() -> Settings {
    Settings { settle: Duration::from_millis(500), ..Settings::in_zone("east") }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + minute * 60).expect("in range")
}

fn dataplane(name: &str, port: u32) -> AnyResource {
    let inbound = Inbound { port, protocol: "http".into(), name: "web".into(), ..Inbound::default() };
    let networking = Networking { address: "10.0.0.1".into(), inbound: vec![inbound], ..Networking::default() };
    let labels = Labels::from([(label::WORKLOAD.to_owned(), "api".to_owned())]);
    AnyResource::new(Meta::new("m", name, labels), Dataplane { networking: Some(networking) }, NoStatus {})
}

fn mesh() -> AnyResource {
    AnyResource::new(Meta::new("", "m", Labels::new()), Mesh::default(), NoStatus {})
}

/// Applies writes to a state, as a store would.
fn apply(state: &MeshState, outcome: &Outcome) -> MeshState {
    let mut all: BTreeMap<Key, AnyResource> = state.all().map(|r| (r.key(), r.clone())).collect();
    for write in &outcome.writes {
        match write {
            Write::Create { resource, .. } | Write::Update { resource, .. } | Write::Replace { resource, .. } => {
                all.insert(resource.key(), resource.clone());
            }
            Write::Delete { key, .. } => {
                all.remove(key);
            }
        }
    }
    MeshState::of(all.into_values())
}

fn service(state: &MeshState) -> Option<Resource<MeshService>> {
    state.find("m", "api")
}

#[test]
fn a_service_is_made_when_its_oldest_dataplane_has_settled() {
    let mut dataplane = dataplane("a-1", 80);
    dataplane.meta.created = at(0);
    let state = MeshState::of([mesh(), dataplane]);
    let mut vips = Vips::new(settings().service_range);
    let half = SignedDuration::from_millis(499);
    let early = reconcile(&state, &settings(), at(0) + half, &mut vips);
    assert!(service(&apply(&state, &early)).is_none());
    let due = early.due.expect("time asks for more");
    assert_eq!(due, at(0) + SignedDuration::from_millis(500));
    let outcome = reconcile(&state, &settings(), due, &mut vips);
    assert!(service(&apply(&state, &outcome)).is_some());
}

#[test]
fn one_batch_leads_to_the_fixed_point() {
    let state = MeshState::of([mesh(), dataplane("a-1", 80), dataplane("a-2", 80)]);
    let mut vips = Vips::new(settings().service_range);
    let state = apply(&state, &reconcile(&state, &settings(), at(0), &mut vips));
    let made = service(&state).expect("a service");
    assert_eq!(made.status().vips[0].ip, "241.0.0.0");
    assert_eq!(made.status().dataplane_proxies.total, 2);
    assert_eq!(made.spec().state, ServiceState::Available);
    assert_eq!(made.spec().ports[0].name.as_deref(), Some("web"));
    let workload: Resource<Workload> = state.find("m", "api").expect("a workload");
    assert_eq!(workload.status().dataplane_proxies.total, 2);
    assert!(reconcile(&state, &settings(), at(1), &mut vips).writes.is_empty(), "nothing is left to do");
}

#[test]
fn an_access_log_is_told_about_its_collectors_where_it_was_written() {
    let log = |name: &str, origin: &str| {
        let labels = Labels::from([(label::ORIGIN.to_owned(), origin.to_owned())]);
        AnyResource::new(Meta::new("m", name, labels), MeshAccessLog::default(), ObservabilityStatus::default())
    };
    let state = MeshState::of([mesh(), log("own", "zone"), log("copied", "global")]);
    let mut vips = Vips::new(settings().service_range);
    let state = apply(&state, &reconcile(&state, &settings(), at(0), &mut vips));
    let told = |name: &str| state.find::<MeshAccessLog>("m", name).expect("it is there").status().conditions.len();
    assert_eq!((told("own"), told("copied")), (1, 0));
    assert!(reconcile(&state, &settings(), at(1), &mut vips).writes.is_empty(), "nothing is left to do");
}

#[test]
fn a_stream_shows_in_the_counts() {
    let state = MeshState::of([mesh(), dataplane("a-1", 80)]);
    let mut vips = Vips::new(settings().service_range);
    let mut state = apply(&state, &reconcile(&state, &settings(), at(0), &mut vips));
    let subscription = Subscription { connect_time: Some(at(0).to_string()), ..Subscription::default() };
    let insight = DataplaneInsight { subscriptions: vec![subscription], ..DataplaneInsight::default() };
    let insight = AnyResource::new(Meta::new("m", "a-1", Labels::new()), insight, NoStatus {});
    let change = Change { key: insight.key(), now: Some(insight) };
    state.apply(&crate::store::WatchEvent::Changes { revision: crate::store::Revision(1), changes: [change].into() });
    let state = apply(&state, &reconcile(&state, &settings(), at(1), &mut vips));
    assert_eq!(service(&state).expect("a service").status().dataplane_proxies.connected, 1);
}

#[test]
fn an_unused_service_goes_after_the_grace_period_and_keeps_its_address_until_then() {
    let with = MeshState::of([mesh(), dataplane("a-1", 80)]);
    let mut vips = Vips::new(settings().service_range);
    let state = apply(&with, &reconcile(&with, &settings(), at(0), &mut vips));
    let mut kept: Vec<AnyResource> = state.all().filter(|r| r.kind() != Kind::Dataplane).cloned().collect();
    let state = MeshState::of(kept.clone());
    let outcome = reconcile(&state, &settings(), at(1), &mut vips);
    assert_eq!(outcome.due, Some(at(61)));
    let state = apply(&state, &outcome);
    assert!(service(&state).expect("in grace").meta.labels.contains_key(label::GRACE_PERIOD_STARTED));
    assert!(reconcile(&state, &settings(), at(60), &mut vips).writes.is_empty());
    let gone = apply(&state, &reconcile(&state, &settings(), at(61), &mut vips));
    assert!(service(&gone).is_none());

    kept = state.all().cloned().collect();
    kept.push(dataplane("a-1", 80));
    let state = MeshState::of(kept);
    let back = apply(&state, &reconcile(&state, &settings(), at(30), &mut vips));
    let back = service(&back).expect("back in use");
    assert!(!back.meta.labels.contains_key(label::GRACE_PERIOD_STARTED));
    assert_eq!(back.status().vips[0].ip, "241.0.0.0");
}

#[test]
fn a_service_that_somebody_wrote_is_not_taken_over() {
    let own =
        AnyResource::new(Meta::new("m", "api", Labels::new()), MeshService::default(), MeshServiceStatus::default());
    let state = MeshState::of([mesh(), dataplane("a-1", 80), own]);
    let mut vips = Vips::new(settings().service_range);
    let state = apply(&state, &reconcile(&state, &settings(), at(0), &mut vips));
    assert!(service(&state).expect("the written one").spec().ports.is_empty());
}

#[test]
fn differing_ports_of_one_workload_do_not_flap() {
    let state = MeshState::of([mesh(), dataplane("a-1", 80), dataplane("a-2", 81)]);
    let mut vips = Vips::new(settings().service_range);
    let state = apply(&state, &reconcile(&state, &settings(), at(0), &mut vips));
    assert_eq!(service(&state).expect("a service").spec().ports[0].port, 80);
    assert!(reconcile(&state, &settings(), at(1), &mut vips).writes.is_empty());
}

#[test]
fn an_address_of_a_write_that_failed_is_given_again() {
    let state = MeshState::of([mesh(), dataplane("a-1", 80)]);
    let mut vips = Vips::new(settings().service_range);
    reconcile(&state, &settings(), at(0), &mut vips);
    let state = apply(&state, &reconcile(&state, &settings(), at(0), &mut vips));
    assert_eq!(service(&state).expect("a service").status().vips[0].ip, "241.0.0.0");
}

#[test]
fn a_service_gets_the_hostnames_of_every_generator_that_selects_it() {
    let mut resources = vec![mesh(), dataplane("a-1", 80)];
    resources.extend(crate::defaults::zone_hostname_generators());
    let state = MeshState::of(resources);
    let mut vips = Vips::new(settings().service_range);
    let state = apply(&state, &reconcile(&state, &settings(), at(0), &mut vips));
    let made = service(&state).expect("a service");
    assert_eq!(made.status().addresses[0].hostname, "api.svc.mesh.local");
    assert_eq!(made.status().hostname_generators[0].conditions[0].reason, "Generated");
    assert!(reconcile(&state, &settings(), at(1), &mut vips).writes.is_empty());
}
