//! An instance is cut off from the database while its proxies stay connected to it: nobody loses anything.

use std::{thread, time::Duration};

use tests::harness::{load::Load, mesh::Mesh, postgres::Postgres, relay::Relay, until};

use super::{RATE, Twins, diagnostics, leads};

/// When a cut-off instance hands its proxies over, when it counts as gone, and when what they brought may be removed.
const HAND_OVER: u64 = 2;
const GONE: u64 = 6;
const REMOVAL: u64 = 2;
/// By then everything would have been removed that anybody would remove.
const LONG: Duration = Duration::from_secs(GONE + REMOVAL + 4);

/// First proxies can go to the other instance, then they cannot.
pub(crate) fn instance_cut_off() {
    let database = Postgres::shared().fresh_database();
    let ways = [(); 2].map(|()| Relay::start(0, database.address));
    let [first, other] = [&ways[0], &ways[1]].map(|way| database.at(way.address()));
    let [hand_over, gone, removal] = [HAND_OVER, GONE, REMOVAL].map(|seconds| format!("{seconds}s"));
    let settings = [
        ("KUMA_STORE_POSTGRES_CONNECTION_TIMEOUT", "1"),
        ("KUMA_STORE_POSTGRES_HAND_OVER_AFTER", &hand_over),
        ("KUMA_STORE_POSTGRES_GONE_AFTER", &gone),
        ("KUMA_STORE_POSTGRES_REMOVE_AFTER", &removal),
    ];
    let twins = Twins::open_by([first, other], 2, &settings);
    let (first, other) = (&twins.shop.mesh, &twins.other);
    let rows = || twins.database.sql("SELECT count(*) FROM resources WHERE type = 'Dataplane'");
    let (before, dataplanes) = (twins.sent(), rows());
    let load = Load::start(&twins.shop.calls, RATE);
    thread::sleep(Duration::from_secs(1));

    // A load balancer goes by readiness; streams that stand it leaves alone.
    ways[0].set_blackhole(true);
    until("not ready", || diagnostics(first, "/ready").status == 503);
    twins.relay.set_target(other.dp_server);
    twins.await_streams(other);
    until("the other one leads", || leads(other));
    thread::sleep(LONG);
    assert_eq!((twins.sent(), rows()), (before.clone(), dataplanes.clone()));
    twins.assert_streams(other);
    twins.assert_change_arrives(other, "/one");
    twins.settle();
    let changed = twins.sent();
    ways[0].set_blackhole(false);
    is_back(first);
    thread::sleep(Duration::from_secs(2));
    twins.assert_streams(other);
    assert_eq!((twins.sent(), rows()), (changed.clone(), dataplanes.clone()));

    // Now the one that has them is cut off, and no way leads to another one.
    ways[1].set_blackhole(true);
    until("the first one leads", || leads(first));
    let let_go = || twins.proxies().iter().all(|proxy| !proxy.admin.connected());
    until("proxies are sent away", let_go);
    until("proxies are taken back", || twins.proxies().iter().all(|proxy| proxy.admin.connected()));
    thread::sleep(LONG);
    assert_eq!((twins.sent(), rows()), (changed.clone(), dataplanes.clone()), "who takes connections is not removed");
    ways[1].set_blackhole(false);
    is_back(other);
    twins.await_streams(other);
    assert_eq!((twins.sent(), rows()), (changed, dataplanes));
    twins.assert_change_arrives(first, "/two");
    twins.finish(load);
}

fn is_back(mesh: &Mesh) {
    until("ready", || diagnostics(mesh, "/ready").status == 200);
}
