//! A proxy is killed together with its control plane: the leader shows it offline, or removes what it had brought.

use std::{sync::Arc, time::Duration};

use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Dataplane, DataplaneInsight},
    store::Store,
};
use kuma_cp::{
    dp_server::{
        insights::{self, InsightEvent, InsightSettings},
        leases::Leases,
        returning::{self, Gone},
    },
    state::{Feed, StateHandle},
    stores::postgres::{Fence, PostgresStore, lock::LEADER},
};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    leader::Instance,
    scene::{create, database, mesh, open, stored},
};

/// Longer than a takeover and the leader's next look together.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn who_died_with_its_control_plane_is_shown_offline_or_removed() {
    let database = database();
    let (dead, alive) = (open(&database).await, open(&database).await);
    stored(&alive, create(&mesh("m"))).await;
    for name in ["brought", "applied", "moved"] {
        let dataplane = Dataplane::default();
        stored(&alive, create(&AnyResource::new(Meta::new("m", name, Labels::new()), dataplane, NoStatus {}))).await;
    }
    let contender = Instance::start(&database, "dead");
    contender.becomes(true).await;
    let killed = connect(&dead, "dead", &["brought", "applied", "moved"]).await;
    for name in ["brought", "applied", "moved"] {
        until(&alive, name, |insight| insight.is_some_and(|insight| insight.online())).await;
    }
    let lives = connect(&alive, "alive", &["moved"]).await;
    until(&alive, "moved", |insight| insight.is_some_and(|insight| insight.subscriptions.len() == 2)).await;
    killed.abort();
    contender.die();

    let leader = Instance::start(&database, "alive");
    leader.becomes(true).await;
    let store: Arc<dyn Store> = Arc::new(alive.fenced(Fence { lock: LEADER.into(), instance: "alive".into() }));
    let stop = CancellationToken::new();
    let (feed, state) = Feed::new(store.clone());
    let feeding = tokio::spawn(feed.run(stop.clone()));
    let gone = Gone::Told(leader.gone.clone());
    let grace = Duration::from_millis(100);
    let looking = tokio::spawn(returning::run(store, state, Arc::new(Leases::default()), gone, grace, stop.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for name in ["brought", "applied", "moved"] {
        assert!(insight(&alive, name).await.is_some_and(|insight| insight.online()), "{name} has time to come back");
    }
    // As if it had not been seen for longer than it may be away.
    database.sql("UPDATE kuma_instances SET seen = now() - interval '2 minutes' WHERE id = 'dead'");
    until(&alive, "applied", |insight| insight.is_some_and(|insight| !insight.online())).await;
    until(&alive, "brought", |insight| insight.is_none()).await;
    assert!(dataplane(&alive, "brought").await.is_none() && dataplane(&alive, "applied").await.is_some());
    assert!(insight(&alive, "moved").await.is_some_and(|insight| insight.online()), "it is at another one");
    stop.cancel();
    lives.abort();
    looking.await.unwrap();
    feeding.await.unwrap();
}

/// Streams of these proxies at this instance, until its task is aborted.
async fn connect(store: &PostgresStore, instance: &str, proxies: &[&str]) -> JoinHandle<()> {
    let settings = InsightSettings { instance: instance.into(), flush_interval: Duration::from_secs(1), keep: 10 };
    let (events, receiver) = mpsc::channel(8);
    for name in proxies {
        let metadata = (*name == "brought").then(|| json!({"dataplane.registered": true}));
        let (proxy, id) = (("m".into(), (*name).into()), format!("{instance}-{name}").into());
        events
            .send(InsightEvent::Connected { proxy, id, version: None, metadata, missing: CancellationToken::new() })
            .await
            .unwrap();
    }
    let store: Arc<dyn Store> = Arc::new(store.clone());
    tokio::spawn(async move {
        // Held as long as the streams stand.
        let _events = events;
        insights::run(store, StateHandle::of([]), settings, receiver, CancellationToken::new()).await;
    })
}

async fn insight(store: &PostgresStore, name: &str) -> Option<DataplaneInsight> {
    let stored = store.get(&Key::new(Kind::DataplaneInsight, "m", name)).await.unwrap();
    stored.and_then(|insight| insight.spec::<DataplaneInsight>().cloned())
}

async fn dataplane(store: &PostgresStore, name: &str) -> Option<AnyResource> {
    store.get(&Key::new(Kind::Dataplane, "m", name)).await.unwrap()
}

/// Waits until what is known of a proxy is like that.
async fn until(store: &PostgresStore, name: &str, holds: impl Fn(Option<DataplaneInsight>) -> bool) {
    let mut events = store.watch().await.unwrap();
    let seen = async {
        while !holds(insight(store, name).await) {
            assert!(events.recv().await.is_some());
        }
    };
    assert!(tokio::time::timeout(LONG, seen).await.is_ok(), "{name}: {:?}", insight(store, name).await);
}
