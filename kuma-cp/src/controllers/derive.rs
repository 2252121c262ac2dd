//! Keeps derived objects up to date: follows changes with the reconciler, and writes what it says as one batch.

mod ahead;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kuma_core::{
    reconcile::{Reconciler, Settings},
    state::MeshState,
    store::{Author, Store, StoreError, Write},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::state::StateHandle;
use ahead::Ask;
pub use ahead::{Asks, DerivedAhead};

/// After a write that failed, wait before the next.
const RETRY: Duration = Duration::from_secs(1);
/// After somebody else was faster, wait for his change, which comes here as well.
const OVERTAKEN: Duration = Duration::from_millis(10);
/// After something that cannot be written until somebody mends it.
const UNREADABLE: Duration = Duration::from_mins(1);

/// Runs until `stop`. Writes that `asks` brings are answered with what is derived of them.
pub async fn run(store: Arc<dyn Store>, state: StateHandle, settings: Settings, asks: Asks, stop: CancellationToken) {
    let mut asks = asks.0.lock().await;
    let mut reconciler = Reconciler::new(settings);
    let mut changes = state.subscribe();
    let mut seen = Arc::new(MeshState::new());
    let mut due: Option<Instant> = None;
    let mut knows_all = false;
    let mut told = None;
    loop {
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let batch = tokio::select! {
            batch = changes.next() => match batch {
                Some(batch) => Some(batch),
                None => return,
            },
            () = timer => changes.take(),
            // Whoever does not know every address cannot give one away.
            Some(Ask { mut batch, answer }) = asks.recv(), if knows_all => {
                if !answer.is_closed() {
                    reconciler.complete(&seen, &mut batch, Timestamp::now());
                    // Nobody waits for it any more: it is derived when it has been written.
                    drop(answer.send(batch));
                }
                continue;
            }
            () = stop.cancelled() => return,
        };
        let changes = batch.map_or_else(Vec::new, |batch| {
            seen = batch.state;
            knows_all = true;
            batch.changes
        });
        let now = Timestamp::now();
        let outcome = reconciler.step(&seen, &changes, now);
        due = outcome.due.map(|at| {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            Instant::now() + wait.max(Duration::from_millis(1))
        });
        if outcome.writes.is_empty() {
            continue;
        }
        let retry = match store.write_as(Author::part("reconciler"), outcome.writes).await {
            Ok(committed) => {
                state.at_least(committed.revision).await;
                continue;
            }
            // Somebody wrote in between.
            Err(StoreError::Conflict(_) | StoreError::NotFound(_) | StoreError::AlreadyExists(_)) => OVERTAKEN,
            Err(StoreError::Unreadable(key)) => {
                // Once: it comes again with every change until its row is mended.
                if told.as_ref() != Some(&key) {
                    tracing::warn!(error = %StoreError::Unreadable(key.clone()), "a derived resource is not written");
                    told = Some(key);
                }
                write_others(&*store, &state, reconciler.step(&seen, &[], now).writes).await;
                UNREADABLE
            }
            Err(error) => {
                tracing::warn!(%error, "derived resources are not written, trying again");
                RETRY
            }
        };
        due = Some(due.map_or(Instant::now() + retry, |at| at.min(Instant::now() + retry)));
    }
}

/// Writes each by itself, so that one that cannot be written holds up no other one. What is not written now is derived
/// again.
async fn write_others(store: &dyn Store, state: &StateHandle, writes: Vec<Write>) {
    let mut last = None;
    for write in writes {
        if let Ok(committed) = store.write_as(Author::part("reconciler"), vec![write]).await {
            last = Some(committed.revision);
        }
    }
    if let Some(last) = last {
        state.at_least(last).await;
    }
}
