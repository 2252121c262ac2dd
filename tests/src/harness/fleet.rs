//! Many simulated proxies: towards control planes each does what a kuma-dp and its Envoy do, and there is neither. They
//! register by their bootstrap and their first stream, prove who they are with a token, keep what they are sent, and say
//! what they have when they come back, to the next door, after a stream has ended.

mod connection;
mod discovery;
mod proxy;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use envoy_api::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use kuma_dp::bootstrap::tls::{Trust, client_config};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};
use tokio_rustls::TlsConnector;

pub use discovery::Received;
use proxy::SimulatedProxy;
pub use proxy::{End, Seen};

use super::{PATIENCE, mesh::Mesh};

/// Port of every inbound, and of the services.
const PORT: u16 = 8080;
/// The first port of an outbound.
const OUTBOUND: u16 = 10_000;
/// Outbounds of each proxy.
const OUTBOUNDS: usize = 3;
/// When nothing was sent for so long, nothing more will come of what has happened.
const QUIET: Duration = Duration::from_millis(1_500);
/// More of them would only compete with the control planes for the cores of a small machine.
const THREADS: usize = 2;
/// Files that are open beside the connections.
const OTHER_FILES: u64 = 512;

/// Who a proxy is.
#[derive(Clone, Debug)]
pub struct Member {
    /// Name of its Dataplane.
    pub name: String,
    /// The Dataplane that it brings.
    pub dataplane: Value,
    /// What proves that it may.
    pub token: String,
    /// The door that it goes to first.
    pub door: usize,
}

/// So many proxies of so many services, each with outbounds to a few; the first service is one of these for all. They
/// have a token of this control plane for proxies of any name, and go to the first door first.
pub fn members(mesh: &Mesh, count: usize, services: usize) -> Vec<Member> {
    let token = mesh.kumactl(&["generate", "dataplane-token", "--mesh", "default", "--valid-for", "24h"]);
    let member = |nth: usize| {
        let name = format!("proxy-{nth}");
        let dataplane = dataplane(&name, nth, services);
        Member { dataplane, name, token: token.trim().to_owned(), door: 0 }
    };
    (0..count).map(member).collect()
}

/// A Dataplane of the service `nth % services`.
pub fn dataplane(name: &str, nth: usize, services: usize) -> Value {
    let others = (1..OUTBOUNDS).map(|step| (nth + step) % services);
    let outbound = |(port, service): (u16, usize)| {
        let to = json!({"kind": "MeshService", "name": format!("service-{service}"), "port": PORT});
        json!({"port": OUTBOUND + port, "backendRef": to})
    };
    json!({
        "type": "Dataplane", "mesh": "default", "name": name,
        "labels": {"kuma.io/workload": format!("service-{}", nth % services)},
        "networking": {
            "address": format!("10.1.{}.{}", nth >> 8 & 255, nth & 255),
            "inbound": [{"name": "http", "port": PORT, "protocol": "http"}],
            "outbound": (0..).zip([0].into_iter().chain(others)).map(outbound).collect::<Vec<_>>(),
        },
    })
}

/// Where proxies connect, and what they look for in what they are sent.
struct Doors {
    addresses: Vec<SocketAddr>,
    /// PEM of the CA of all doors.
    ca: String,
    tls: TlsConnector,
    /// Slots of proxies that start.
    starts: Semaphore,
    wanted: Mutex<Option<String>>,
}

impl Doors {
    /// Whether a response holds the text that is looked for.
    fn looks_for(&self, response: &DeltaDiscoveryResponse) -> bool {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wanted) = wanted.as_ref().map(String::as_bytes) else { return false };
        let values = response.resources.iter().filter_map(|resource| resource.resource.as_ref());
        values.into_iter().any(|any| any.value.windows(wanted.len()).any(|window| window == wanted))
    }
}

/// Running proxies; all are gone when it is dropped.
pub struct Fleet {
    proxies: Vec<Arc<SimulatedProxy>>,
    doors: Arc<Doors>,
    runtime: Option<Runtime>,
}

impl Fleet {
    /// Starts proxies, of which at most so many are about to start at a time. The certificates of all doors come from the
    /// CA in `ca`, PEM.
    pub fn start(members: Vec<Member>, at_once: usize, doors: &[SocketAddr], ca: &str) -> Self {
        raise_file_limit(members.len());
        let mut config = client_config(&Trust::Ca(ca.to_owned())).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        let starts = Semaphore::new(at_once);
        let doors = Doors { addresses: doors.to_vec(), ca: ca.to_owned(), tls, starts, wanted: Mutex::default() };
        let doors = Arc::new(doors);
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
        let start = |member| {
            let proxy = Arc::new(SimulatedProxy { member, doors: doors.clone(), seen: Mutex::default() });
            runtime.spawn(proxy.clone().live());
            proxy
        };
        let proxies = members.into_iter().map(start).collect();
        Self { proxies, doors, runtime: Some(runtime) }
    }

    /// What became of each proxy so far, in the order of the members.
    pub fn seen(&self) -> Vec<Seen> {
        self.proxies.iter().map(|proxy| proxy.seen().clone()).collect()
    }

    /// For how many of them this holds.
    pub fn count(&self, holds: impl Fn(&Seen) -> bool) -> usize {
        self.proxies.iter().filter(|proxy| holds(&proxy.seen())).count()
    }

    /// Waits until this holds for all; how long that took.
    pub fn until(&self, what: &str, holds: impl Fn(&Seen) -> bool) -> Duration {
        let begin = Instant::now();
        let (mut left, mut since) = (usize::MAX, begin);
        loop {
            let late: Vec<_> = self.proxies.iter().filter(|proxy| !holds(&proxy.seen())).collect();
            let Some(first) = late.first() else { return begin.elapsed() };
            // As long as some come, it goes on.
            if late.len() < left {
                (left, since) = (late.len(), Instant::now());
            }
            let name = &first.member.name;
            assert!(since.elapsed() < PATIENCE, "{what}: still not for {left}, {name}: {:#?}", first.seen());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until all have everything that they need to serve, and a stream that stands.
    pub fn until_complete(&self) -> Duration {
        self.until("all proxies configured", |seen| seen.at.is_some() && seen.is_complete)
    }

    /// Waits until nothing was sent to any of them for a while.
    pub fn settle(&self) {
        let count = || self.proxies.iter().map(|proxy| proxy.seen().received.len()).sum::<usize>();
        let (mut known, mut since, begin) = (count(), Instant::now(), Instant::now());
        while since.elapsed() < QUIET {
            assert!(begin.elapsed() < PATIENCE, "after {PATIENCE:?} there is still something to be sent");
            thread::sleep(Duration::from_millis(50));
            if std::mem::replace(&mut known, count()) != known {
                since = Instant::now();
            }
        }
    }

    /// From now on proxies note when a resource comes that holds this text.
    pub fn look_for(&self, text: &str) {
        *self.doors.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        for proxy in &self.proxies {
            proxy.seen().found = None;
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Every proxy is a connection, which is a file.
fn raise_file_limit(proxies: usize) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let needed = proxies as u64 + OTHER_FILES;
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed))
            .unwrap_or_else(|error| panic!("{proxies} proxies need {needed} open files, there may be {hard}: {error}"));
    }
}
