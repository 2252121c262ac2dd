//! What breaks while traffic flows: two frontends call two backends 200 times a second, nothing is retried.

use std::{
    thread,
    time::{Duration, Instant},
};

use tests::harness::{load::Load, process::is_alive, until};

use super::shop::Shop;

const RATE: u32 = 200;
/// How long a proxy drains in these cases.
const DRAIN: &str = "6s";

/// Two frontends, two backends, no MeshRetry.
fn shop() -> Shop {
    let shop = Shop::open(2, 2, &["--drain-time", DRAIN]);
    for line in shop.mesh.kumactl(&["get", "meshretries"]).lines().skip(1) {
        let name = line.split_whitespace().nth(1).unwrap();
        shop.mesh.kumactl(&["delete", "meshretry", name]);
    }
    shop
}

/// The control plane is killed and comes back with an empty store: nothing that proxies serve is withdrawn, and they
/// register again by themselves.
pub(crate) fn control_plane_killed() {
    let mut shop = shop();
    let load = Load::start(&shop.calls, RATE);
    thread::sleep(Duration::from_secs(1));
    shop.mesh.cp().kill();
    let down = Instant::now();
    let mut endpoints = Watch::default();
    while down.elapsed() < Duration::from_secs(5) {
        endpoints.look(&shop);
        thread::sleep(Duration::from_millis(50));
    }
    shop.mesh.start_cp();
    let back = Instant::now();
    let names: Vec<String> = shop
        .frontends
        .iter()
        .chain(shop.backends.iter().map(|backend| &backend.proxy))
        .map(|proxy| proxy.name.clone())
        .collect();
    until("all proxies registered again", || {
        endpoints.look(&shop);
        let table = shop.mesh.kumactl(&["inspect", "dataplanes"]);
        names.iter().all(|name| table.lines().any(|line| line.contains(name.as_str()) && line.contains("Online")))
    });
    println!("  all proxies registered again {:.2?} after the new control plane was up", back.elapsed());
    while back.elapsed() < Duration::from_secs(8) {
        endpoints.look(&shop);
        thread::sleep(Duration::from_millis(50));
    }
    let outcome = load.finish();
    println!("  {}", outcome.summary());
    println!("  fewest endpoints seen at a frontend: {}", endpoints.fewest());
    outcome.assert_no_failure();
    assert_eq!(endpoints.fewest(), 2);
}

/// A backend's proxy is killed: its Envoy dies with it, and the endpoint goes.
pub(crate) fn backend_killed() {
    let mut shop = shop();
    let envoy = shop.backends[0].proxy.envoy().unwrap();
    let load = Load::start(&shop.calls, RATE);
    thread::sleep(Duration::from_secs(1));
    shop.backends[0].proxy.process.kill();
    let (killed, since) = (load.elapsed(), Instant::now());
    until("the Envoy dead", || !is_alive(envoy));
    let gone = shop.backends[0].endpoint.clone();
    until("the endpoint gone everywhere", || is_gone(&shop, &gone));
    println!("  the endpoint was gone everywhere {:.2?} after the kill", since.elapsed());
    thread::sleep(Duration::from_secs(1));
    let outcome = load.finish();
    println!("  killed at {killed:.2?}: {}", outcome.summary());
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
