//! Keeps DataplaneInsights: events of streams come in, batched writes go to the store.
//!
//! A connect and a disconnect are written at once (all that are waiting in one batch), counters every flush interval
//! if they moved. Insights of all proxies travel in one transaction, never one each.

mod pending;
mod subscriptions;
mod write;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::{Fuse, FusedFuture, FutureExt};
use jiff::Timestamp;
use kuma_core::{
    resources::{Subscription, SubscriptionStatus},
    store::{Store, StoreError},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use pending::Unwritten;
use write::write;

/// After a write that failed, before the next one.
const PAUSE: Duration = Duration::from_secs(1);
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

/// Runs until `stop` and the end of all streams; then writes what is left.
///
/// Events are taken in at any time, also while the store is slow: a stream never waits for it. Those that arrive while it
/// is away wait in memory, latest counters only.
pub async fn run(
    store: Arc<dyn Store>,
    settings: InsightSettings,
    mut events: mpsc::Receiver<InsightEvent>,
    stop: CancellationToken,
) {
    let mut live: BTreeMap<Arc<str>, Subscription> = BTreeMap::new();
    let mut pending = Unwritten::new();
    let mut next_flush: Option<Instant> = None;
    let mut urgent = false;
    // A store that is away is not asked for every stream that begins or ends.
    let mut not_before = Instant::now();
    let writing = Fuse::terminated();
    tokio::pin!(writing);
    loop {
        if urgent && writing.is_terminated() && Instant::now() >= not_before {
            (urgent, next_flush) = (false, None);
            writing.set(write(store.clone(), settings.clone(), std::mem::take(&mut pending)).fuse());
        }
        let flush = async {
            match next_flush {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.recv() => {
                let Some(event) = event else { break };
                urgent |= note(event, &settings, &mut live, &mut pending);
                while let Ok(event) = events.try_recv() {
                    urgent |= note(event, &settings, &mut live, &mut pending);
                }
            }
            (left, error) = &mut writing, if !writing.is_terminated() => {
                if !left.is_empty() {
                    not_before = Instant::now() + PAUSE;
                    next_flush = Some(not_before);
                }
                pending = not_written((left, error), pending);
            }
            () = flush => (urgent, next_flush) = (true, None),
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
        if !pending.is_empty() && next_flush.is_none() {
            next_flush = Some(Instant::now() + settings.flush_interval);
        }
    }
    if !writing.is_terminated() {
        pending = not_written(writing.await, pending);
    }
    if let (_, Some(error)) = write(store, settings, pending).await {
        tracing::warn!(%error, "the last dataplane insights are not written");
    }
}

/// Puts what could not be written back below what has happened since, and says why.
fn not_written((left, error): (Unwritten, Option<StoreError>), pending: Unwritten) -> Unwritten {
    if let Some(error) = error {
        tracing::warn!(%error, proxies = left.len(), "dataplane insights are not written yet, they stay in memory until they can be");
    }
    pending::stack(left, pending)
}

/// Takes an event in; true if it is to be written at once.
fn note(
    event: InsightEvent,
    settings: &InsightSettings,
    live: &mut BTreeMap<Arc<str>, Subscription>,
    pending: &mut Unwritten,
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
    pending.entry(proxy).or_default().put(subscription, metadata, connected);
    urgent
}

#[cfg(test)]
mod tests;
