//! What breaks while traffic flows: two frontends call two backends 200 times a second, nothing is retried.

use std::{
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tests::harness::{
    PATIENCE, eventually,
    load::{Load, Outcome},
    mesh::{Mesh, Proxy},
    ports::free_port,
    process::is_alive,
    relay::Relay,
    until,
};

use super::shop::Shop;

const RATE: u32 = 200;
/// How long a proxy drains in these cases: longer than it takes until Envoy reports its health, 5 s at most.
const DRAIN: Duration = Duration::from_secs(10);

/// Two frontends, two backends, no MeshRetry.
fn shop(mesh: Mesh) -> Shop {
    let shop = Shop::open_in(mesh, 2, 2, &["--drain-time", &format!("{}s", DRAIN.as_secs())]);
    for line in shop.mesh.kumactl(&["get", "meshretries"]).lines().skip(1) {
        let name = line.split_whitespace().nth(1).unwrap();
        shop.mesh.kumactl(&["delete", "meshretry", name]);
    }
    shop
}

/// All proxies.
fn proxies(shop: &Shop) -> impl Iterator<Item = &Proxy> {
    shop.frontends.iter().chain(shop.backends.iter().map(|backend| &backend.proxy))
}

/// No request failed, and none was sent a second time behind its sender's back.
fn assert_undisturbed(shop: &Shop, outcome: &Outcome) {
    println!("  {}", outcome.summary());
    outcome.assert_no_failure();
    for frontend in &shop.frontends {
        assert_eq!(frontend.admin.sum("upstream_rq_retry"), Some(0), "{}", frontend.name);
    }
}

/// What each Envoy has dropped so far: clusters and listeners.
fn withdrawn(shop: &Shop) -> Vec<[Option<u64>; 2]> {
    let counters = ["cluster_manager.cluster_removed", "listener_manager.listener_removed"];
    proxies(shop).map(|proxy| counters.map(|counter| proxy.admin.stat(counter))).collect()
}

/// The control plane is killed and comes back with an empty store: nothing that proxies serve is withdrawn, and they
/// register again by themselves. The frontends return first, while nobody has heard of the backends yet.
pub(crate) fn forgetful_control_plane_killed() {
    control_plane_killed("memory", |shop, relay, endpoints| {
        until("the frontends registered again", || {
            endpoints.look(shop);
            shop.frontends.iter().all(|frontend| is_registered(shop, relay, frontend))
        });
        println!("  the frontends are registered again, the backends are not");
        endpoints.look_for(shop, Duration::from_secs(2));
        assert!(!shop.backends.iter().any(|backend| is_registered(shop, relay, &backend.proxy)), "they are held back");
    });
}

/// The same with a store that remembers, everybody returning as they like.
pub(crate) fn remembering_control_plane_killed() {
    control_plane_killed("sqlite", |_, _, _| {});
}

fn control_plane_killed(store: &str, before_backends: impl FnOnce(&Shop, &Relay, &mut Watch)) {
    let port = free_port();
    let settings = [("KUMA_STORE_TYPE", store), ("KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_PORT", &port.to_string())];
    let mesh = Mesh::start_with(&settings);
    let relay = Relay::start(port, mesh.dp_server);
    let mut shop = shop(mesh);
    let before = withdrawn(&shop);
    assert!(before.iter().flatten().all(Option::is_some), "{before:?}");
    let load = Load::start(&shop.calls, RATE);
    thread::sleep(Duration::from_secs(1));
    relay.hold(shop.backends.iter().map(|backend| backend.proxy.envoy().unwrap()).collect());
    shop.mesh.cp().kill();
    let mut endpoints = Watch::default();
    endpoints.look_for(&shop, Duration::from_secs(5));
    shop.mesh.start_cp();
    let back = Instant::now();
    before_backends(&shop, &relay, &mut endpoints);
    relay.release();
    until("all proxies registered again", || {
        endpoints.look(&shop);
        proxies(&shop).all(|proxy| is_registered(&shop, &relay, proxy))
    });
    println!("  all proxies registered again {:.2?} after the new control plane was up", back.elapsed());
    endpoints.look_for(&shop, Duration::from_secs(2));
    let outcome = load.finish();
    println!("  fewest endpoints seen at a frontend: {}", endpoints.fewest());
    assert_undisturbed(&shop, &outcome);
    assert_eq!(endpoints.fewest(), 2);
    assert_eq!(withdrawn(&shop), before);
}

/// Whether a proxy has come back, and the control plane knows it.
fn is_registered(shop: &Shop, relay: &Relay, proxy: &Proxy) -> bool {
    let online = |line: &str| line.contains(&proxy.name) && line.contains("Online");
    proxy.envoy().is_some_and(|envoy| relay.has_let_through(envoy))
        && proxy.admin.connected()
        && shop.mesh.kumactl(&["inspect", "dataplanes"]).lines().any(online)
}

/// A backend says goodbye: its proxy is asked to end, its application ends after that.
pub(crate) fn backend_stopped() {
    let mut shop = shop(Mesh::start());
    let load = Load::start(&shop.calls, RATE);
    thread::sleep(Duration::from_secs(1));
    let gone = shop.backends[0].endpoint.clone();
    shop.backends[0].proxy.terminate();
    let since = Instant::now();
    until("the endpoint gone everywhere", || is_gone(&shop, &gone));
    let took = since.elapsed();
    assert_eq!(shop.backends[0].proxy.process.has_ended(), None, "gone only when the proxy had ended");
    shop.backends[0].proxy.ends_well(DRAIN + PATIENCE);
    println!("  the endpoint was gone everywhere after {took:.2?}, kuma-dp after {:.2?}", since.elapsed());
    shop.backends[0].app.stop();
    thread::sleep(Duration::from_secs(1));
    assert_undisturbed(&shop, &load.finish());
}

/// A backend's proxy is killed: its Envoy dies with it, and the endpoint goes.
pub(crate) fn backend_killed() {
    let mut shop = shop(Mesh::start());
    let envoy = shop.backends[0].proxy.envoy().unwrap();
    let load = Load::start(&shop.calls, RATE);
    thread::sleep(Duration::from_secs(1));
    shop.backends[0].proxy.process.kill();
    let (killed, since) = (load.elapsed(), Instant::now());
    until("the Envoy dead", || !is_alive(envoy));
    let gone = shop.backends[0].endpoint.clone();
    until("the endpoint gone everywhere", || is_gone(&shop, &gone));
    let took = since.elapsed();
    println!("  the endpoint was gone everywhere {took:.2?} after the kill");
    thread::sleep(Duration::from_secs(1));
    let outcome = load.finish();
    println!("  killed at {killed:.2?}: {}", outcome.summary());
    let late: Vec<_> =
        outcome.failures.iter().filter(|(at, _)| *at > killed + took + Duration::from_millis(500)).collect();
    assert!(late.is_empty(), "{late:?}");
}

/// A backend's Envoy is killed, again and again: kuma-dp starts it anew, and at last gives up with the cause.
pub(crate) fn envoy_killed() {
    let mut shop = Shop::open(1, 1, &[]);
    let proxy = &shop.backends[0].proxy;
    let mut envoy = proxy.envoy().unwrap();
    for death in 1..5 {
        kill(Pid::from_raw(envoy), Signal::SIGKILL).unwrap();
        envoy = eventually("another Envoy", || proxy.envoy().filter(|pid| *pid != envoy)).0;
        let took = until("an answer", || shop.ask("/", &[]) == (200, "backend-1".to_owned()));
        println!("  death {death}: the next Envoy answered {took:.2?} after its start");
    }
    kill(Pid::from_raw(envoy), Signal::SIGKILL).unwrap();
    let status = shop.backends[0].proxy.process.ended(PATIENCE);
    assert_eq!(status.code(), Some(1));
    let log = std::fs::read_to_string(shop.mesh.path("kuma-dp-backend-1.log")).unwrap();
    let told = log.lines().find(|line| line.starts_with("Error: ")).unwrap_or_default();
    println!("  {told}");
    assert!(told.starts_with("Error: Envoy died 5 times within ") && told.contains("Last: signal 9"), "{log}");
}

fn is_gone(shop: &Shop, endpoint: &String) -> bool {
    shop.frontends
        .iter()
        .all(|frontend| frontend.admin.endpoints("backend").is_some_and(|known| !known.contains(endpoint)))
}

/// The fewest endpoints that any frontend had at any look.
#[derive(Default)]
struct Watch(Option<usize>);

impl Watch {
    fn look_for(&mut self, shop: &Shop, span: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < span {
            self.look(shop);
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn look(&mut self, shop: &Shop) {
        for frontend in &shop.frontends {
            let now = frontend.admin.endpoints("backend").unwrap_or_default().len();
            self.0 = Some(self.0.map_or(now, |before| before.min(now)));
        }
    }

    fn fewest(&self) -> usize {
        self.0.unwrap_or_default()
    }
}
