//! A control plane with many streams is told to end: another one gets them, one after the other.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::harness::{
    fleet::{self, Fleet, Seen},
    instances::{self, responses_sent},
    mesh::Mesh,
    postgres::Postgres,
    until,
};

const STREAMS: usize = 1_000;
/// As many proxies of each, so that not every one that starts is news for all the others.
const SERVICES: usize = 100;
/// Proxies that start at a time.
const AT_ONCE: usize = 32;
/// What the control plane has to end in, its default.
const GRACE: Duration = Duration::from_secs(10);
/// The streams end over this time at least. It is about half of what the pace makes of them: ends are seen late where
/// the machine is busy.
const SPREAD: Duration = Duration::from_millis(2_500);

pub(crate) fn a_thousand_streams_move() {
    let mut instances = instances::start(&vec![Postgres::shared().fresh_database(); 2], &[]);
    let ca = fs::read_to_string(instances[0].path("cp/kuma-cp.crt")).unwrap();
    let doors = [instances[0].dp_server, instances[1].dp_server];
    let fleet = Fleet::start(fleet::members(&instances[0], STREAMS, SERVICES), AT_ONCE, &doors, &ca);
    println!("  {STREAMS} streams are configured after {:.2?}", fleet.until_complete());
    fleet.settle();
    assert_eq!(responses_sent(&instances[1]), 0);

    instances[0].cp().signal(Signal::SIGTERM);
    let told = Instant::now();
    let status = instances[0].cp().ended(GRACE);
    println!("  the control plane had ended {:.2?} after SIGTERM", told.elapsed());
    assert!(status.success(), "{status}");
    fleet.until("all streams at the other one", |seen| seen.at == Some(1) && !seen.ends.is_empty());
    println!("  all streams are at the other one {:.2?} after SIGTERM", told.elapsed());
    until("all streams known there", || instances::sum(&instances[1], "xds_streams_active") == STREAMS as u64);
    until("all proxies online", || online(&instances[1]) == STREAMS as u64);
    fleet.settle();

    let seen = fleet.seen();
    let mut ends: Vec<Instant> = seen.iter().map(last_end).collect();
    ends.sort();
    let (spread, busiest) = (ends[STREAMS - 1] - ends[0], busiest(&ends));
    println!("  streams ended over {spread:.2?}, at most {busiest} of them in a second");
    assert!(spread > SPREAD, "a herd: all streams ended within {spread:?}");
    for seen in &seen {
        let again: Vec<_> = seen.received.iter().filter(|received| received.stream > 0).collect();
        assert!(again.is_empty(), "a proxy that had everything was sent {again:#?}");
    }
    assert_eq!(responses_sent(&instances[1]), 0);

    fleet.look_for("10.9.9.9");
    let mut more = fleet::dataplane("more", 0, SERVICES);
    more["networking"]["address"] = "10.9.9.9".into();
    let answer = instances[1].rest("PUT", "/meshes/default/dataplanes/more", more.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
    let took = fleet.until("a change at all proxies", |seen| seen.found.is_some());
    println!("  a change is at all proxies after {took:.2?}");
}

/// When the only stream that ended did so, as the control plane asked for.
fn last_end(seen: &Seen) -> Instant {
    let [end] = &seen.ends[..] else { panic!("it has lost more than one stream: {:#?}", seen.ends) };
    assert!(end.is_orderly && end.code == tonic::Code::Unavailable, "{end:?}");
    end.at
}

/// Most ends in any one second.
fn busiest(ends: &[Instant]) -> usize {
    let within = |from: &Instant| ends.iter().filter(|at| *at >= from && **at < *from + Duration::from_secs(1)).count();
    ends.iter().map(within).max().unwrap_or_default()
}

/// How many proxies this one takes for connected.
fn online(mesh: &Mesh) -> u64 {
    let answer = mesh.rest("GET", "/mesh-insights/default", b"").unwrap();
    let insight: Value = serde_json::from_str(&answer.body).unwrap();
    insight["dataplanes"]["online"].as_u64().unwrap_or_default()
}
