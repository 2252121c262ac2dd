//! Keeps DataplaneInsights: events of streams come in, batched writes go to the store.
//!
//! A connect and a disconnect are written at once (all that are waiting in one batch), counters every flush interval
//! if they moved. Insights of all proxies travel in one transaction, never one each.

mod subscriptions;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{DataplaneInsight, Subscription, SubscriptionStatus},
    store::{Store, StoreError, Write},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use subscriptions::merge;

/// Insights written in one batch.
const BATCH: usize = 500;
/// Tries per batch when somebody else wrote in between.
const TRIES: usize = 5;
/// How long streams may take to end after `stop`.
const FAREWELL: Duration = Duration::from_secs(3);

/// What happened to a stream.
#[derive(Debug)]
pub enum InsightEvent {
    /// A stream was accepted.
    Connected {
        /// Mesh and name of the Dataplane.
        proxy: (Arc<str>, Arc<str>),
        /// UUID of the subscription.
        id: Arc<str>,
        /// Versions of kuma-dp and Envoy, as JSON of the insight.
        version: Option<Value>,
        /// Node metadata as the proxy sent it.
        metadata: Option<Value>,
        /// Cancelled if its Dataplane turns out not to be there.
        missing: CancellationToken,
    },
    /// Counters moved, or something was refused.
    Counted {
        /// Mesh and name of the Dataplane.
        proxy: (Arc<str>, Arc<str>),
        /// UUID of the subscription.
        id: Arc<str>,
        /// All counters of the stream.
        status: Box<SubscriptionStatus>,
    },
    /// The stream ended.
    Disconnected {
        /// Mesh and name of the Dataplane.
        proxy: (Arc<str>, Arc<str>),
        /// UUID of the subscription.
        id: Arc<str>,
        /// Last counters.
        status: Box<SubscriptionStatus>,
    },
}

/// Settings of the sink.
#[derive(Clone, Debug)]
pub struct InsightSettings {
    /// Id of this control plane instance.
    pub instance: Arc<str>,
    /// Between writes of counters.
    pub flush_interval: Duration,
    /// Subscriptions kept per proxy.
    pub keep: usize,
}

type Proxy = (Arc<str>, Arc<str>);

/// The changes of one proxy that are not written yet.
#[derive(Default)]
struct Pending {
    subscriptions: BTreeMap<Arc<str>, Subscription>,
    order: Vec<Arc<str>>,
    metadata: Option<Value>,
    missing: Option<CancellationToken>,
}

/// Runs until `stop` and the end of all streams; then writes what is left. Events that arrive while the store is away wait in memory, latest
/// counters only.
pub async fn run(
    store: Arc<dyn Store>,
    settings: InsightSettings,
    mut events: mpsc::Receiver<InsightEvent>,
    stop: CancellationToken,
) {
    let mut live: BTreeMap<Arc<str>, Subscription> = BTreeMap::new();
    let mut pending: BTreeMap<Proxy, Pending> = BTreeMap::new();
    let mut next_flush: Option<Instant> = None;
    loop {
        let flush = async {
            match next_flush {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let mut urgent = false;
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { break };
                urgent |= note(event, &settings, &mut live, &mut pending);
                while let Ok(event) = events.try_recv() {
                    urgent |= note(event, &settings, &mut live, &mut pending);
                }
            }
            () = flush => urgent = true,
            () = stop.cancelled() => {
                // Streams end now as well, and tell of it.
                let farewells = async {
                    while let Some(event) = events.recv().await {
                        note(event, &settings, &mut live, &mut pending);
                    }
                };
                let _ = tokio::time::timeout(FAREWELL, farewells).await;
                break;
            }
        }
        if urgent {
            next_flush = None;
            if let Err(error) = write(&*store, &settings, &mut pending).await {
                tracing::warn!(%error, "dataplane insights are not written, they stay in memory until the store is back");
            }
        }
        if !pending.is_empty() && next_flush.is_none() {
            next_flush = Some(Instant::now() + settings.flush_interval);
        }
    }
    if let Err(error) = write(&*store, &settings, &mut pending).await {
        tracing::warn!(%error, "the last dataplane insights are not written");
    }
}

/// Takes an event in; true if it is to be written at once.
fn note(
    event: InsightEvent,
    settings: &InsightSettings,
    live: &mut BTreeMap<Arc<str>, Subscription>,
    pending: &mut BTreeMap<Proxy, Pending>,
) -> bool {
    let now = Timestamp::now().to_string();
    let mut connected = None;
    let (proxy, subscription, metadata, urgent) = match event {
        InsightEvent::Connected { proxy, id, version, metadata, missing } => {
            connected = Some(missing);
            let subscription = Subscription {
                id: id.to_string(),
                control_plane_instance_id: settings.instance.to_string(),
                connect_time: Some(now.clone()),
                version,
                status: SubscriptionStatus { last_update_time: Some(now), ..SubscriptionStatus::default() },
                ..Subscription::default()
            };
            live.insert(id, subscription.clone());
            (proxy, subscription, metadata, true)
        }
        InsightEvent::Counted { proxy, id, status } => {
            let Some(subscription) = live.get_mut(&id) else { return false };
            // A refusal is what the user is looking for: it does not wait for the next flush.
            let urgent = status.rejections != subscription.status.rejections;
            subscription.status = SubscriptionStatus { last_update_time: Some(now), ..*status };
            (proxy, subscription.clone(), None, urgent)
        }
        InsightEvent::Disconnected { proxy, id, status } => {
            let Some(mut subscription) = live.remove(&id) else { return false };
            subscription.status = SubscriptionStatus { last_update_time: Some(now.clone()), ..*status };
            subscription.disconnect_time = Some(now);
            (proxy, subscription, None, true)
        }
    };
    let entry = pending.entry(proxy).or_default();
    let id: Arc<str> = subscription.id.as_str().into();
    if entry.subscriptions.insert(id.clone(), subscription).is_none() {
        entry.order.push(id);
    }
    if metadata.is_some() {
        entry.metadata = metadata;
    }
    if connected.is_some() {
        entry.missing = connected;
    }
    urgent
}

/// Writes all that is pending, in batches. What could be written leaves `pending`.
async fn write(
    store: &dyn Store,
    settings: &InsightSettings,
    pending: &mut BTreeMap<Proxy, Pending>,
) -> Result<(), StoreError> {
    let keys: Vec<Proxy> = pending.keys().cloned().collect();
    for chunk in keys.chunks(BATCH) {
        let mut gone: BTreeSet<Proxy> = BTreeSet::new();
        for attempt in 1.. {
            let mut batch = Vec::with_capacity(chunk.len());
            for proxy in chunk {
                let Some(changes) = pending.get(proxy).filter(|_| !gone.contains(proxy)) else { continue };
                match prepare(store, settings, proxy, changes).await? {
                    Some(write) => batch.push(write),
                    None => {
                        gone.insert(proxy.clone());
                    }
                }
            }
            if batch.is_empty() {
                break;
            }
            match store.write(batch).await {
                Ok(_) => break,
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) if attempt >= TRIES => return Err(error),
                // Somebody wrote or deleted one of them in between: read again.
                Err(_) => {}
            }
        }
        for proxy in chunk {
            let missing = pending.remove(proxy).and_then(|changes| changes.missing);
            if let Some(missing) = missing.filter(|_| gone.contains(proxy)) {
                missing.cancel();
            }
        }
    }
    Ok(())
}

/// The write for one proxy; `None` if its Dataplane is gone.
async fn prepare(
    store: &dyn Store,
    settings: &InsightSettings,
    proxy: &Proxy,
    changes: &Pending,
) -> Result<Option<Write>, StoreError> {
    let (mesh, name) = proxy;
    let owner = Key::new(Kind::Dataplane, mesh.clone(), name.clone());
    if store.get(&owner).await?.is_none() {
        return Ok(None);
    }
    let key = Key::new(Kind::DataplaneInsight, mesh.clone(), name.clone());
    let stored = store.get(&key).await?;
    let mut spec = stored.as_ref().and_then(|r| r.spec::<DataplaneInsight>()).cloned().unwrap_or_default();
    merge(&mut spec, changes, settings.keep);
    Ok(Some(match stored {
        Some(stored) => {
            let expected = stored.meta.version;
            Write::Update { resource: AnyResource::new(stored.meta, spec, NoStatus {}), expected }
        }
        None => {
            let meta = Meta::new(mesh.clone(), name.clone(), Labels::new());
            Write::Create { resource: AnyResource::new(meta, spec, NoStatus {}), owner: Some(owner) }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kuma_core::{resources::Dataplane, store::MemoryStore};

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
        run(store.clone(), settings(), receiver, CancellationToken::new()).await;
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
        run(store.clone(), settings(), receiver, CancellationToken::new()).await;
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
        run(store.clone(), settings(), receiver, CancellationToken::new()).await;
        assert_eq!(insight(&*store).await, None);
    }

    #[tokio::test]
    async fn streams_that_end_after_the_stop_are_told_of() {
        let store = store().await;
        let (events, receiver) = mpsc::channel(8);
        events.send(connected("a")).await.expect("room");
        let stop = CancellationToken::new();
        let sink = tokio::spawn(run(store.clone(), settings(), receiver, stop.clone()));
        stop.cancel();
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let status = Box::default();
        events.send(InsightEvent::Disconnected { proxy: proxy(), id: "a".into(), status }).await.expect("it listens");
        drop(events);
        sink.await.expect("no panic");
        assert!(!insight(&*store).await.expect("written").online());
    }
}
