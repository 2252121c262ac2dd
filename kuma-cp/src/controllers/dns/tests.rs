//! Names of Dataplanes over a store in memory, with answers that the test gives.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta},
    resource::{AnyResource, Key, NoStatus},
    resources::{Networking, ZoneListener},
    store::{MemoryStore, Store, Write},
};

use super::*;
use crate::state::Feed;

/// Answers by name; a name without one is not found. Counts the questions.
#[derive(Default)]
struct Told {
    answers: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    asked: Mutex<BTreeMap<String, usize>>,
}

impl Told {
    fn tell(&self, host: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).insert(host.into(), addresses);
    }

    fn asked(&self, host: &str) -> usize {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(host).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Resolver for Told {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(host.into()).or_default() += 1;
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(host).cloned().ok_or_else(|| io::Error::other("no such host"))
    }
}

/// Short, since the clock is the real one.
const REFRESH: Duration = Duration::from_millis(20);
/// Longest wait for something that has to come.
const SOON: Duration = Duration::from_secs(20);

struct Rig {
    store: Arc<MemoryStore>,
    told: Arc<Told>,
    names: watch::Receiver<Arc<Names>>,
    stop: CancellationToken,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Rig {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new(|| Timestamp::UNIX_EPOCH));
        let (feed, state) = Feed::new(store.clone());
        let (told, stop) = (Arc::new(Told::default()), CancellationToken::new());
        let (sender, names) = watch::channel(Arc::default());
        tokio::spawn(feed.run(stop.clone()));
        tokio::spawn(run(told.clone(), state, REFRESH, sender, stop.clone()));
        Self { store, told, names, stop }
    }

    async fn put(&self, name: &str, address: &str) {
        self.put_with(name, address, &[]).await;
    }

    async fn put_with(&self, name: &str, address: &str, listeners: &[&str]) {
        let listener = |address: &&str| ZoneListener { address: (*address).into(), ..ZoneListener::default() };
        let listeners = listeners.iter().map(listener).collect();
        let networking = Networking { address: address.into(), listeners, ..Networking::default() };
        let spec = Dataplane { networking: Some(networking) };
        let resource = AnyResource::new(Meta::new("m", name, Labels::new()), spec, NoStatus {});
        let write = match self.store.get(&resource.key()).await.unwrap() {
            Some(old) => Write::Update { resource, expected: old.meta.version },
            None => Write::Create { resource, owner: None },
        };
        self.store.write(vec![write]).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        let key = Key::new(Kind::Dataplane, "m", name);
        self.store.write(vec![Write::Delete { key, expected: None }]).await.unwrap();
    }

    /// Waits until this map is published.
    async fn until(&mut self, expected: &[(&str, &str)]) {
        let equal = |names: &Arc<Names>| names.0.iter().map(|(h, a)| (&**h, &**a)).eq(expected.iter().copied());
        let found = timeout(SOON, self.names.wait_for(equal)).await.map(|found| found.is_ok());
        assert!(matches!(found, Ok(true)), "{expected:?} is not published, but {:?}", self.names.borrow());
    }
}

#[tokio::test]
async fn a_name_is_resolved_and_followed_as_long_as_somebody_carries_it() {
    let mut rig = Rig::new();
    rig.told.tell("a.example", &["10.0.0.9", "10.0.0.1"]);
    rig.put("d-1", "a.example").await;
    // The smallest of several.
    rig.until(&[("a.example", "10.0.0.1")]).await;
    rig.told.tell("a.example", &["10.0.0.2"]);
    rig.until(&[("a.example", "10.0.0.2")]).await;
    rig.delete("d-1").await;
    rig.until(&[]).await;
}

#[tokio::test]
async fn a_name_without_addresses_keeps_its_last_one() {
    let mut rig = Rig::new();
    rig.told.tell("a.example", &["10.0.0.1"]);
    rig.put("d-1", "a.example").await;
    rig.until(&[("a.example", "10.0.0.1")]).await;
    rig.told.tell("a.example", &[]);
    let asked = rig.told.asked("a.example");
    rig.told.tell("b.example", &["10.0.0.2"]);
    rig.put("d-2", "b.example").await;
    while rig.told.asked("a.example") < asked + 2 {
        tokio::time::sleep(REFRESH).await;
    }
    rig.until(&[("a.example", "10.0.0.1"), ("b.example", "10.0.0.2")]).await;
}

#[tokio::test]
async fn an_unknown_name_does_not_hold_up_the_others() {
    let mut rig = Rig::new();
    rig.told.tell("b.example", &["fd00::1"]);
    rig.put("d-1", "a.example").await;
    rig.put("d-2", "b.example").await;
    rig.until(&[("b.example", "fd00::1")]).await;
    rig.told.tell("a.example", &["10.0.0.1"]);
    rig.until(&[("a.example", "10.0.0.1"), ("b.example", "fd00::1")]).await;
}

#[tokio::test]
async fn ip_addresses_are_not_asked_for_and_names_of_listeners_are() {
    let mut rig = Rig::new();
    rig.told.tell("zone.example", &["10.0.0.7"]);
    rig.put("d-1", "10.0.0.1").await;
    rig.put("d-2", "fd00::1").await;
    rig.put_with("d-3", "10.0.0.3", &["zone.example", "10.0.0.4", ""]).await;
    rig.until(&[("zone.example", "10.0.0.7")]).await;
    let asked = rig.told.asked.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect::<Vec<_>>();
    assert_eq!(asked, ["zone.example"]);
}

#[tokio::test]
async fn localhost_is_known_to_this_machine() {
    let found = SystemResolver.lookup("localhost").await.expect("every machine knows itself");
    assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
}
