use std::sync::Mutex;

use async_trait::async_trait;
use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Dataplane, DataplaneInsight, Subscription},
    store::{Author, Committed, MemoryStore, WatchEvent, Write, history::Past},
};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{super::leases::Proxy, *};
use crate::state::Feed;

fn proxy() -> Proxy {
    ("default".into(), "web-1".into())
}

async fn store() -> Arc<dyn Store> {
    let store = MemoryStore::new(Timestamp::now);
    let meta = Meta::new("default", "web-1", Labels::new());
    let resource = AnyResource::new(meta, Dataplane::default(), NoStatus {});
    store.write(vec![Write::Create { resource, owner: None }]).await.expect("an empty store");
    Arc::new(store)
}

async fn insight(store: &dyn Store) -> Option<DataplaneInsight> {
    let key = Key::new(Kind::DataplaneInsight, "default", "web-1");
    store.get(&key).await.expect("readable").and_then(|r| r.spec::<DataplaneInsight>().cloned())
}

fn settings() -> InsightSettings {
    InsightSettings { instance: "cp-1".into(), flush_interval: Duration::from_hours(1), keep: 2 }
}

fn connected(id: &str) -> InsightEvent {
    InsightEvent::Connected {
        proxy: proxy(),
        id: id.into(),
        version: None,
        metadata: None,
        missing: CancellationToken::new(),
    }
}

#[tokio::test]
async fn a_connect_closes_older_subscriptions_and_only_the_newest_are_kept() {
    let store = store().await;
    let (events, receiver) = mpsc::channel(8);
    for id in ["a", "b", "c"] {
        events.send(connected(id)).await.expect("room");
    }
    drop(events);
    run(store.clone(), StateHandle::of([]), settings(), receiver, CancellationToken::new()).await;
    let spec = insight(&*store).await.expect("written");
    let ids: Vec<_> = spec.subscriptions.iter().map(|s| (s.id.as_str(), s.disconnect_time.is_some())).collect();
    assert_eq!(ids, [("b", true), ("c", false)]);
    assert!(spec.online());
}

#[tokio::test]
async fn a_disconnect_is_written_with_its_last_counters() {
    let store = store().await;
    let (events, receiver) = mpsc::channel(8);
    events.send(connected("a")).await.expect("room");
    let mut status = SubscriptionStatus::default();
    status.total.responses_sent = 7;
    events
        .send(InsightEvent::Disconnected { proxy: proxy(), id: "a".into(), status: Box::new(status) })
        .await
        .expect("room");
    drop(events);
    run(store.clone(), StateHandle::of([]), settings(), receiver, CancellationToken::new()).await;
    let spec = insight(&*store).await.expect("written");
    assert!(!spec.online());
    assert_eq!(spec.subscriptions[0].status.total.responses_sent, 7);
}

#[tokio::test]
async fn a_proxy_whose_dataplane_is_gone_gets_no_insight() {
    let store = store().await;
    let key = Key::new(Kind::Dataplane, "default", "web-1");
    store.write(vec![Write::Delete { key, expected: None }]).await.expect("it is there");
    let (events, receiver) = mpsc::channel(8);
    events.send(connected("a")).await.expect("room");
    drop(events);
    run(store.clone(), StateHandle::of([]), settings(), receiver, CancellationToken::new()).await;
    assert_eq!(insight(&*store).await, None);
}

#[tokio::test]
async fn streams_that_end_after_the_stop_are_told_of() {
    let store = store().await;
    let (events, receiver) = mpsc::channel(8);
    events.send(connected("a")).await.expect("room");
    let stop = CancellationToken::new();
    let sink = tokio::spawn(run(store.clone(), StateHandle::of([]), settings(), receiver, stop.clone()));
    stop.cancel();
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let status = Box::default();
    events.send(InsightEvent::Disconnected { proxy: proxy(), id: "a".into(), status }).await.expect("it listens");
    drop(events);
    sink.await.expect("no panic");
    assert!(!insight(&*store).await.expect("written").online());
}

/// A store that others write to as well, and that takes its time.
struct Shared {
    inner: MemoryStore,
    /// Writes that others make before the next one of ours.
    others: Mutex<Vec<Write>>,
    /// A write waits for one of these.
    turns: Semaphore,
}

#[async_trait]
impl Store for Shared {
    async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError> {
        self.inner.get(key).await
    }

    async fn write_as(&self, author: Author, batch: Vec<Write>) -> Result<Committed, StoreError> {
        self.turns.acquire().await.expect("it is never closed").forget();
        let others = std::mem::take(&mut *self.others.lock().expect("no panic"));
        if !others.is_empty() {
            self.inner.write(others).await?;
        }
        self.inner.write_as(author, batch).await
    }

    async fn history(&self, key: &Key) -> Result<Vec<Past>, StoreError> {
        self.inner.history(key).await
    }

    async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        self.inner.watch().await
    }
}

/// Dataplanes `web-0`, `web-1` and so on.
async fn shared(count: usize, turns: usize) -> Arc<Shared> {
    let inner = MemoryStore::new(Timestamp::now);
    let create = |nth| {
        let meta = Meta::new("default", format!("web-{nth}"), Labels::new());
        Write::Create { resource: AnyResource::new(meta, Dataplane::default(), NoStatus {}), owner: None }
    };
    inner.write((0..count).map(create).collect()).await.expect("an empty store");
    Arc::new(Shared { inner, others: Mutex::default(), turns: Semaphore::new(turns) })
}

fn connected_at(nth: usize) -> InsightEvent {
    let name: Arc<str> = format!("web-{nth}").into();
    let mut event = connected(&name);
    if let InsightEvent::Connected { proxy, .. } = &mut event {
        proxy.1 = name;
    }
    event
}

#[tokio::test]
async fn one_that_somebody_else_writes_does_not_hold_up_the_others() {
    const COUNT: usize = 20;
    let store = shared(COUNT, 1_000).await;
    let theirs = Subscription { id: "theirs".into(), ..Subscription::default() };
    let spec = DataplaneInsight { subscriptions: vec![theirs], ..DataplaneInsight::default() };
    let meta = Meta::new("default", "web-7", Labels::new());
    let resource = AnyResource::new(meta, spec, NoStatus {});
    store.others.lock().expect("no panic").push(Write::Create { resource, owner: None });
    let (events, receiver) = mpsc::channel(COUNT);
    for nth in 0..COUNT {
        events.send(connected_at(nth)).await.expect("room");
    }
    drop(events);
    run(store.clone(), StateHandle::of([]), settings(), receiver, CancellationToken::new()).await;
    for nth in 0..COUNT {
        let key = Key::new(Kind::DataplaneInsight, "default", format!("web-{nth}"));
        let insight = store.get(&key).await.expect("readable").expect("written");
        let ids: Vec<_> =
            insight.spec::<DataplaneInsight>().iter().flat_map(|i| &i.subscriptions).map(|s| &*s.id).collect();
        let own = format!("web-{nth}");
        assert_eq!(ids, if nth == 7 { vec!["theirs", "web-7"] } else { vec![&*own] });
    }
}

#[tokio::test]
async fn streams_do_not_wait_for_a_store_that_is_slow() {
    const COUNT: usize = 20;
    let store = shared(COUNT, 0).await;
    let (events, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let sink = tokio::spawn(run(store.clone(), StateHandle::of([]), settings(), receiver, stop.clone()));
    let all = async {
        for nth in 0..COUNT {
            events.send(connected_at(nth)).await.expect("it listens");
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("all are taken in while the first one is written");
    drop(events);
    store.turns.add_permits(COUNT);
    sink.await.expect("no panic");
    for nth in 0..COUNT {
        let key = Key::new(Kind::DataplaneInsight, "default", format!("web-{nth}"));
        assert!(store.get(&key).await.expect("readable").is_some(), "{nth}");
    }
}

/// A stream of `web-1` at a sink that follows its store.
struct Standing {
    store: Arc<dyn Store>,
    state: StateHandle,
    missing: CancellationToken,
    _events: mpsc::Sender<InsightEvent>,
}

impl Standing {
    async fn new() -> Self {
        let store = store().await;
        let (feed, state) = Feed::new(store.clone());
        tokio::spawn(feed.run(CancellationToken::new()));
        state.ready().await;
        let (events, receiver) = mpsc::channel(8);
        tokio::spawn(run(store.clone(), state.clone(), settings(), receiver, CancellationToken::new()));
        let missing = CancellationToken::new();
        let (id, metadata) = ("a".into(), Some(json!({"dataplane.admin.port": "9901"})));
        let event = InsightEvent::Connected { proxy: proxy(), id, version: None, metadata, missing: missing.clone() };
        events.send(event).await.expect("room");
        let this = Self { store, state, missing, _events: events };
        this.is_written().await;
        this
    }

    async fn delete(&self, kind: Kind) {
        let key = Key::new(kind, "default", "web-1");
        let committed = self.store.write(vec![Write::Delete { key, expected: None }]).await.expect("it is there");
        self.state.at_least(committed.revision).await;
    }

    /// Waits until the insight is there, as the stream told it.
    async fn is_written(&self) {
        let written = async {
            loop {
                if let Some(insight) = insight(&*self.store).await {
                    return insight;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let insight = tokio::time::timeout(Duration::from_secs(10), written).await.expect("it is written");
        assert!(insight.online());
        assert_eq!(insight.metadata.expect("it was told")["dataplane.admin.port"], "9901");
    }
}

#[tokio::test]
async fn what_the_store_loses_of_a_stream_that_stands_is_written_again() {
    let standing = Standing::new().await;
    standing.delete(Kind::DataplaneInsight).await;
    standing.is_written().await;
    assert!(!standing.missing.is_cancelled());
}

#[tokio::test]
async fn a_proxy_whose_dataplane_goes_is_told_and_shown_again_with_the_next_one() {
    let standing = Standing::new().await;
    standing.delete(Kind::Dataplane).await;
    let told = tokio::time::timeout(Duration::from_secs(10), standing.missing.cancelled()).await;
    assert!(told.is_ok(), "who brought it brings it again");
    assert_eq!(insight(&*standing.store).await, None);
    let meta = Meta::new("default", "web-1", Labels::new());
    let resource = AnyResource::new(meta, Dataplane::default(), NoStatus {});
    standing.store.write(vec![Write::Create { resource, owner: None }]).await.expect("it is gone");
    standing.is_written().await;
}
