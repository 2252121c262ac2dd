//! Keeps derived objects up to date: follows changes with the reconciler, and writes what it says as one batch.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kuma_core::{
    reconcile::{Reconciler, Settings},
    state::MeshState,
    store::{Author, Store, StoreError},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::state::StateHandle;

/// After a write that failed, wait before the next.
const RETRY: Duration = Duration::from_secs(1);
/// After somebody else was faster, wait for his change, which comes here as well.
const OVERTAKEN: Duration = Duration::from_millis(10);

/// Runs until `stop`.
pub async fn run(store: Arc<dyn Store>, state: StateHandle, settings: Settings, stop: CancellationToken) {
    let mut reconciler = Reconciler::new(settings);
    let mut changes = state.subscribe();
    let mut seen = Arc::new(MeshState::new());
    let mut due: Option<Instant> = None;
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
            () = stop.cancelled() => return,
        };
        let changes = batch.map_or_else(Vec::new, |batch| {
            seen = batch.state;
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
            Err(error) => {
                tracing::warn!(%error, "derived resources are not written, trying again");
                RETRY
            }
        };
        due = Some(due.map_or(Instant::now() + retry, |at| at.min(Instant::now() + retry)));
    }
}
