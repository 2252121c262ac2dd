//! Many simulated proxies: how long they take to register, and what they see of the death of a control plane.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::harness::{
    fleet::{self, Fleet, Received, Seen},
    instances,
    mesh::Mesh,
    postgres::{Postgres, Settings},
    until,
};
use xds_gen::set::TypeUrl;

use crate::{
    sample::{Sample, millis},
    table::Row,
};

const SERVICES: usize = 10;
/// Proxies that register at the same moment.
const REGISTERED: usize = 500;
/// Times that they do with each store.
const ROUNDS: usize = 3;
const INSTANCES: usize = 3;
/// Proxies of all instances.
const PROXIES: usize = 300;
/// The address of an endpoint that comes after the death.
const ADDRESS: &str = "10.9.9.9";
/// The service that it is of, which all proxies use.
const SERVICE: &str = "service-0";

/// All figures of many proxies.
pub(crate) fn measure() -> Vec<Row> {
    let mut rows = registering();
    rows.extend(failover());
    rows
}

/// The same proxies with a store that writes to the disk and one that does not, in turns.
fn registering() -> Vec<Row> {
    let (mut memory, mut sqlite) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        memory.push(registered("memory"));
        sqlite.push(registered("sqlite"));
    }
    let [memory, sqlite] = [memory, sqlite].map(Sample::from_iter);
    let (fast, slow) = (memory.median(), sqlite.median());
    let longer = format!("{:.2} s", slow.as_secs_f64() - fast.as_secs_f64());
    let figure = |store: &str| format!("{store}: {REGISTERED} proxies register at once, until all are configured");
    vec![
        Row::new(figure("memory"), memory.to_string(), ""),
        Row::new(figure("sqlite"), format!("{sqlite}; {longer} longer than memory"), "1 s longer than memory"),
    ]
}

fn registered(store: &str) -> Duration {
    let mesh = Mesh::start_with(&[("KUMA_STORE_TYPE", store)]);
    let members = fleet::members(&mesh, REGISTERED, SERVICES);
    let fleet = Fleet::start(members, REGISTERED, &[mesh.dp_server], &certificate(&mesh));
    let took = fleet.until_complete();
    let failures: usize = fleet.seen().iter().map(|seen| seen.failures.len() + seen.ends.len()).sum();
    println!("  {store}: {REGISTERED} proxies are configured after {took:.2?}, {failures} of their tries failed");
    took
}

/// The leader is killed.
fn failover() -> Vec<Row> {
    // As it runs outside of tests: every commit waits for the disk.
    let server = Postgres::start_with(Settings::default().durable());
    let mut instances = instances::start(&vec![server.fresh_database(); INSTANCES], &[]);
    let doors: Vec<_> = instances.iter().map(|instance| instance.dp_server).collect();
    let mut members = fleet::members(&instances[0], PROXIES, SERVICES);
    for (nth, member) in members.iter_mut().enumerate() {
        member.door = nth % INSTANCES;
    }
    let fleet = Fleet::start(members, PROXIES, &doors, &certificate(&instances[0]));
    println!(
        "  postgres, {INSTANCES} instances: {PROXIES} proxies are configured after {:.2?}",
        fleet.until_complete()
    );
    fleet.settle();
    assert!(instances::leads(&instances[0]));

    fleet.look_for(ADDRESS);
    instances[0].cp().kill();
    let killed = Instant::now();
    let mut endpoint = fleet::dataplane("endpoint", 0, SERVICES);
    endpoint["networking"]["address"] = ADDRESS.into();
    put(&instances[1], "endpoint", &endpoint);
    // Of a service that there was not: only a leader makes it, and gives it an address.
    let mut first = fleet::dataplane("first", 0, SERVICES);
    first["labels"]["kuma.io/workload"] = "after".into();
    put(&instances[1], "first", &first);
    until("an address for a new service", || has_address(&instances[2], "after"));
    let led = killed.elapsed();
    fleet.until("an endpoint at all proxies", |seen| seen.found.is_some() && seen.at.is_some());
    fleet.settle();
    thread::sleep(Duration::from_secs(1));

    let seen = fleet.seen();
    let (moved, stayed): (Vec<&Seen>, Vec<&Seen>) = seen.iter().partition(|seen| !seen.ends.is_empty());
    let arrived = |seen: &[&Seen]| {
        let sample: Sample = seen.iter().map(|seen| seen.found.unwrap() - killed).collect();
        sample.percentiles()
    };
    let failures: usize = moved.iter().map(|seen| seen.failures.len()).sum();
    let lost: usize = moved.iter().map(|seen| seen.ends.len()).sum();
    println!("  {} proxies lost {lost} streams, {failures} of their tries to connect failed", moved.len());
    let [again, removed] = flaps(&moved);
    let figure = |what: &str| format!("kill -9 of the leader, {INSTANCES} instances, {PROXIES} proxies: {what}");
    vec![
        Row::new(figure("until a new service has its address"), millis(led), "5 s"),
        Row::new(figure("until an endpoint is at those that moved"), arrived(&moved), "5 s"),
        Row::new(figure("until an endpoint is at the others"), arrived(&stayed), ""),
        Row::new(figure("sent again to those that moved"), format!("{again} resources, {removed} removed"), "0"),
    ]
}

/// Resources that proxies that moved were sent although they had them, or for no reason, and that they were told to drop.
fn flaps(moved: &[&Seen]) -> [usize; 2] {
    let later =
        |seen: &&&Seen| seen.received.iter().filter(|received| received.stream > 0).cloned().collect::<Vec<_>>();
    let all: Vec<Received> = moved.iter().flat_map(|seen| later(&seen)).collect();
    let is_due = |received: &Received, name: &str| received.type_url == TypeUrl::Endpoint && name.contains(SERVICE);
    let again = |received: &Received| {
        received.repeated.len() + received.fresh.iter().filter(|name| !is_due(received, name)).count()
    };
    [all.iter().map(again).sum(), all.iter().map(|received| received.removed.len()).sum()]
}

/// What proxies trust.
fn certificate(mesh: &Mesh) -> String {
    fs::read_to_string(mesh.path("cp/kuma-cp.crt")).unwrap()
}

fn put(mesh: &Mesh, name: &str, dataplane: &Value) {
    let mut dataplane = dataplane.clone();
    dataplane["name"] = name.into();
    let path = format!("/meshes/default/dataplanes/{name}");
    let answer = mesh.rest("PUT", &path, dataplane.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
}

fn has_address(mesh: &Mesh, service: &str) -> bool {
    let answer = mesh.rest("GET", &format!("/meshes/default/meshservices/{service}"), b"").unwrap();
    let service: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    service["status"]["vips"].as_array().is_some_and(|vips| !vips.is_empty())
}
