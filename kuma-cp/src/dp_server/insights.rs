//! Keeps DataplaneInsights: events of streams come in, batched writes go to the store.
//!
//! A connect and a disconnect are written at once (all that are waiting in one batch), counters every flush interval
//! if they moved. Insights of all proxies travel in one transaction, never one each.

mod live;
mod pending;
mod subscriptions;
mod write;

use std::{sync::Arc, time::Duration};

use futures::future::{Fuse, FusedFuture, FutureExt};
use kuma_core::{
    resources::SubscriptionStatus,
    store::{Store, StoreError},
};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::state::StateHandle;
use live::Live;
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
/// is away wait in memory, latest counters only. What the store loses of a stream that stands, by a deletion or because it
/// was restored from a copy, is written again.
pub async fn run(
    store: Arc<dyn Store>,
    state: StateHandle,
    settings: InsightSettings,
    mut events: mpsc::Receiver<InsightEvent>,
    stop: CancellationToken,
) {
    let mut live = Live::new(&settings);
    let mut changes = state.subscribe();
    let mut pending = Unwritten::new();
    let mut next_flush: Option<Instant> = None;
    let mut urgent = false;
    // A store that is away is not asked for every stream that begins or ends.
    let mut not_before = Instant::now();
    let mut failing = false;
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
                urgent |= live.note(event, &mut pending);
                while let Ok(event) = events.try_recv() {
                    urgent |= live.note(event, &mut pending);
                }
            }
            // The state ends after the streams.
            Some(batch) = changes.next() => urgent |= live.look(&batch, &mut pending),
            (left, error) = &mut writing, if !writing.is_terminated() => {
                if !left.is_empty() {
                    not_before = Instant::now() + PAUSE;
                    next_flush = Some(not_before);
                }
                tell(&mut failing, left.len(), error.as_ref());
                pending = pending::stack(left, pending, settings.keep);
            }
            () = flush => (urgent, next_flush) = (true, None),
            () = stop.cancelled() => {
                // Streams end now as well, and tell of it.
                let farewells = async {
                    while let Some(event) = events.recv().await {
                        live.note(event, &mut pending);
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
        pending = pending::stack(writing.await.0, pending, settings.keep);
    }
    if let (_, Some(error)) = write(store, settings, pending).await {
        tracing::warn!(%error, "the last dataplane insights are not written");
    }
}

/// Says that writing fails, and that it does not any more, once each.
fn tell(failing: &mut bool, left: usize, error: Option<&StoreError>) {
    match error {
        Some(error) if !*failing => {
            tracing::warn!(%error, proxies = left, "dataplane insights are not written yet, they stay in memory until they can be");
        }
        None if *failing => tracing::info!("dataplane insights are written again"),
        _ => {}
    }
    *failing = error.is_some();
}

#[cfg(test)]
mod tests;
