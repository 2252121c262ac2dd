//! Two control planes on one database, behind a load balancer that sends everybody to one of them, while traffic flows.

mod cut_off;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tests::harness::{
    PATIENCE,
    instances::{self, diagnostics, leads, responses_sent},
    load::Load,
    mesh::{self, Mesh, Proxy},
    ports::free_port,
    postgres::{Database, Postgres},
    relay::Relay,
    until,
};

use super::shop::Shop;

const RATE: u32 = 200;
/// How long a Dataplane stays after its proxy has gone.
const DEREGISTRATION: Duration = Duration::from_secs(1);
/// How long the database is away: long enough for both to let go of their proxies once.
const AWAY: Duration = Duration::from_mins(1);
/// Whoever led without it leads no more by then.
const YIELDS: Duration = Duration::from_secs(30);

/// The scene: the first control plane is the one of the shop.
struct Twins {
    shop: Shop,
    other: Mesh,
    relay: Relay,
    database: Database,
    /// Where kuma-dp asks for its bootstrap.
    door: String,
}

/// What an Envoy was sent, and what it has dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    updates: u64,
    clusters_removed: u64,
    listeners_removed: u64,
}

impl Twins {
    fn open(database: Database, frontends: u8) -> Self {
        Self::open_by([database.clone(), database], frontends, &[])
    }

    /// The same, each with its own way to the database, and with more settings.
    fn open_by([database, way]: [Database; 2], frontends: u8, more: &[(&'static str, &str)]) -> Self {
        let port = free_port();
        let delay = format!("{}s", DEREGISTRATION.as_secs());
        let port_text = port.to_string();
        let mut settings = vec![
            ("KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_PORT", &*port_text),
            ("KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY", &*delay),
        ];
        settings.extend(more);
        let [first, other] = instances::start(&[database.clone(), way], &settings).try_into().ok().unwrap();
        let relay = Relay::start(port, first.dp_server);
        let door = format!("https://{}", relay.address());
        let shop = Shop::open_in(first, frontends, 2, &["--cp-address", &door]);
        for line in shop.mesh.kumactl(&["get", "meshretries"]).lines().skip(1) {
            let name = line.split_whitespace().nth(1).unwrap();
            shop.mesh.kumactl(&["delete", "meshretry", name]);
        }
        let twins = Self { shop, other, relay, database, door };
        assert!(leads(&twins.shop.mesh) && !leads(&twins.other));
        twins.await_streams(&twins.shop.mesh);
        twins.settle();
        twins
    }

    fn proxies(&self) -> Vec<&Proxy> {
        self.shop.frontends.iter().chain(self.shop.backends.iter().map(|backend| &backend.proxy)).collect()
    }

    /// Waits until nothing more is sent.
    fn settle(&self) {
        let mut before = self.sent();
        until("nothing more is sent", || {
            thread::sleep(Duration::from_millis(1_500));
            let now = self.sent();
            now == std::mem::replace(&mut before, self.sent())
        });
    }

    fn sent(&self) -> BTreeMap<String, Sent> {
        let of = |proxy: &Proxy| Sent {
            updates: proxy.admin.sum("update_success").unwrap(),
            clusters_removed: proxy.admin.stat("cluster_manager.cluster_removed").unwrap(),
            listeners_removed: proxy.admin.stat("listener_manager.listener_removed").unwrap(),
        };
        self.proxies().into_iter().map(|proxy| (proxy.name.clone(), of(proxy))).collect()
    }

    /// Waits until all proxies have their stream at this one, as it says itself.
    fn await_streams(&self, at: &Mesh) {
        let since = Instant::now();
        until("all streams at one control plane", || {
            self.proxies().iter().all(|proxy| proxy.admin.connected() && holder(at, &proxy.name).is_some())
        });
        println!("  all streams are there after {:.2?}", since.elapsed());
        self.assert_streams(at);
    }

    /// Both say of every proxy that its only open stream is at this one.
    fn assert_streams(&self, at: &Mesh) {
        let instance = instance(at);
        for proxy in self.proxies() {
            assert_eq!(holder(at, &proxy.name).as_ref(), Some(&instance), "{}", proxy.name);
        }
    }

    /// Nothing was sent by this one when the streams came, and no proxy was told to drop anything.
    fn assert_nothing_sent(&self, before: &BTreeMap<String, Sent>, by: &Mesh, responses: u64) {
        assert_eq!(&self.sent(), before);
        assert_eq!(responses_sent(by), responses);
    }

    /// A change that is made here reaches the frontends.
    fn assert_change_arrives(&self, at: &Mesh, path: &str) {
        let since = Instant::now();
        at.apply(&format!(
            "type: MeshHTTPRoute\nmesh: default\nname: moved\nspec:\n  to:\n    - targetRef: {{kind: MeshService, labels: \
             {{kuma.io/display-name: backend}}}}\n      rules:\n        - matches: [{{path: {{type: PathPrefix, value: \
             {path}}}}}]\n          default: {{filters: [{{type: RequestRedirect, requestRedirect: {{statusCode: 302, \
             hostname: elsewhere}}}}]}}\n"
        ));
        let seen = |call: &SocketAddr| mesh::ask(*call, path, &[]).0 == 302;
        until("a change in effect", || self.shop.calls.iter().all(seen));
        println!("  a change was in effect everywhere after {:.2?}", since.elapsed());
    }

    /// The rows that only a leader writes.
    fn derived(&self) -> String {
        self.database.sql(
            "SELECT type, mesh, name, version, xmin FROM resources WHERE type IN ('MeshService', 'Workload', 'Secret', \
             'GlobalSecret') ORDER BY 1, 2, 3",
        )
    }

    fn finish(&self, load: Load) {
        let outcome = load.finish();
        println!("  {}", outcome.summary());
        outcome.assert_no_failure();
        for frontend in &self.shop.frontends {
            assert_eq!(frontend.admin.sum("upstream_rq_retry"), Some(0), "{}", frontend.name);
        }
    }
}

/// The id of a control plane.
fn instance(mesh: &Mesh) -> String {
    let index: Value = serde_json::from_str(&mesh.rest("GET", "/", b"").unwrap().body).unwrap();
    index["instanceId"].as_str().unwrap().to_owned()
}

/// What this control plane says of the streams of a proxy.
fn subscriptions(mesh: &Mesh, proxy: &str) -> Vec<Value> {
    let answer = mesh.rest("GET", &format!("/meshes/default/dataplanes/{proxy}/_overview"), b"").unwrap();
    let overview: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    overview["dataplaneInsight"]["subscriptions"].as_array().cloned().unwrap_or_default()
}

/// Where the only open stream of a proxy is, if that is this one.
fn holder(mesh: &Mesh, proxy: &str) -> Option<String> {
    let open =
        |s: &Value| s["disconnectTime"].is_null().then(|| s["controlPlaneInstanceId"].as_str().unwrap().to_owned());
    let open: Vec<String> = subscriptions(mesh, proxy).iter().filter_map(open).collect();
    open.first().filter(|first| open.len() == 1 && **first == instance(mesh)).cloned()
}

/// The instance that has all streams and leads is killed, then the one that took over is told to end.
pub(crate) fn instance_ends() {
    let mut twins = Twins::open(Postgres::shared().fresh_database(), 2);
    let before = twins.sent();
    let load = Load::start(&twins.shop.calls, RATE);
    thread::sleep(Duration::from_secs(1));
    twins.relay.set_target(twins.other.dp_server);
    twins.shop.mesh.cp().kill();
    let since = Instant::now();
    twins.await_streams(&twins.other);
    until("the other one leads", || leads(&twins.other));
    println!("  the other one leads {:.2?} after the kill", since.elapsed());
    thread::sleep(DEREGISTRATION);
    twins.assert_nothing_sent(&before, &twins.other, 0);
    twins.assert_change_arrives(&twins.other, "/one");
    assert_ne!(responses_sent(&twins.other), 0);

    twins.shop.mesh.start_cp();
    twins.settle();
    let before = twins.sent();
    twins.relay.set_target(twins.shop.mesh.dp_server);
    twins.other.cp().signal(Signal::SIGTERM);
    let since = Instant::now();
    twins.await_streams(&twins.shop.mesh);
    until("the first one leads", || leads(&twins.shop.mesh));
    println!("  the first one leads {:.2?} after SIGTERM", since.elapsed());
    let status = twins.other.cp().ended(PATIENCE);
    println!("  the other one had ended {:.2?} after it", since.elapsed());
    assert!(status.success(), "{status}");
    thread::sleep(DEREGISTRATION + Duration::from_secs(1));
    twins.assert_streams(&twins.shop.mesh);
    twins.assert_nothing_sent(&before, &twins.shop.mesh, 0);
    twins.assert_change_arrives(&twins.shop.mesh, "/two");
    twins.finish(load);
}

/// The instance that has all streams and leads stands still, and comes back to life when others do its work.
pub(crate) fn instance_stands_still() {
    let mut twins = Twins::open(Postgres::shared().fresh_database(), 2);
    let (before, derived) = (twins.sent(), twins.derived());
    let load = Load::start(&twins.shop.calls, RATE);
    thread::sleep(Duration::from_secs(1));
    twins.shop.mesh.cp().signal(Signal::SIGSTOP);
    let since = Instant::now();
    twins.relay.set_target(twins.other.dp_server);
    twins.relay.reset_all();
    twins.await_streams(&twins.other);
    until("the other one leads", || leads(&twins.other));
    println!("  the other one leads {:.2?} after the stop", since.elapsed());
    twins.assert_change_arrives(&twins.other, "/one");
    twins.settle();
    let changed = twins.sent();
    assert!(changed != before);

    twins.shop.mesh.cp().signal(Signal::SIGCONT);
    let responses = responses_sent(&twins.shop.mesh);
    thread::sleep(DEREGISTRATION + Duration::from_secs(2));
    assert!(!leads(&twins.shop.mesh) && leads(&twins.other));
    twins.assert_streams(&twins.other);
    assert_eq!(twins.sent(), changed);
    assert_eq!(twins.derived(), derived);
    // It knows what happened meanwhile: proxies that are sent to it have everything.
    twins.relay.set_target(twins.shop.mesh.dp_server);
    twins.relay.reset_all();
    twins.await_streams(&twins.shop.mesh);
    thread::sleep(DEREGISTRATION + Duration::from_secs(1));
    twins.assert_streams(&twins.shop.mesh);
    twins.assert_nothing_sent(&changed, &twins.shop.mesh, responses);
    twins.assert_change_arrives(&twins.shop.mesh, "/two");
    twins.finish(load);
}

pub(crate) use cut_off::instance_cut_off;

/// The database is away: traffic goes on, proxies come and go, and when it is back everything is as it should be.
pub(crate) fn database_away() {
    let postgres = Postgres::start();
    let mut twins = Twins::open(postgres.fresh_database(), 3);
    let load = Load::start(&twins.shop.calls[..2], RATE);
    thread::sleep(Duration::from_secs(1));
    let mut comes_and_goes = twins.shop.frontends.pop().unwrap();
    let (name, call) = (comes_and_goes.name.clone(), twins.shop.calls.pop().unwrap());
    let before = twins.sent();
    postgres.stop();
    let stopped = Instant::now();
    for mesh in [&twins.shop.mesh, &twins.other] {
        until("not ready", || diagnostics(mesh, "/ready").status == 503);
        assert_eq!(diagnostics(mesh, "/healthy").status, 200);
        let refused = mesh.rest("PUT", "/meshes/another", br#"{"type": "Mesh", "name": "another"}"#).unwrap();
        assert!(refused.status == 503 && refused.retry_after.is_some(), "{refused:?}");
        assert_eq!(mesh.rest("GET", "/meshes/default/dataplanes", b"").unwrap().status, 200);
    }
    comes_and_goes.process.kill();
    let dataplane = fs::read_to_string(twins.shop.mesh.path(&format!("{name}.yaml"))).unwrap();
    let since = Instant::now();
    comes_and_goes = twins.shop.mesh.proxy(&name, &dataplane, &["--cp-address", &twins.door, "--drain-time", "1s"]);
    until("an answer", || mesh::ask(call, "/", &[]).0 == 200);
    println!("  a proxy that was started again answered after {:.2?}", since.elapsed());
    comes_and_goes.terminate();
    comes_and_goes.ends_well(PATIENCE);
    until("nobody leads", || !leads(&twins.shop.mesh) && !leads(&twins.other));
    assert!(stopped.elapsed() < YIELDS, "somebody led without the database for {:.2?}", stopped.elapsed());
    thread::sleep(AWAY.saturating_sub(stopped.elapsed()));
    postgres.start_again();
    let since = Instant::now();
    for mesh in [&twins.shop.mesh, &twins.other] {
        until("ready", || diagnostics(mesh, "/ready").status == 200);
    }
    println!("  both were ready {:.2?} after the database", since.elapsed());
    until("one leads", || leads(&twins.shop.mesh) != leads(&twins.other));
    println!("  one leads {:.2?} after it", since.elapsed());
    let path = format!("/meshes/default/dataplanes/{name}");
    until("no ghost of who left", || twins.other.rest("GET", &path, b"").unwrap().status == 404);
    println!("  who had left meanwhile was gone {:.2?} after it", since.elapsed());
    twins.await_streams(&twins.shop.mesh);
    assert_eq!(twins.sent(), before);
    twins.assert_change_arrives(&twins.other, "/one");
    twins.finish(load);
}
