//! Keeps derived objects up to date: runs the reconciler whenever something changed, and writes what it says as one
//! batch.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kuma_core::{
    reconcile::{Settings, Vips, reconcile},
    store::{Store, StoreError},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::state::StateHandle;

/// After a write that failed, wait before the next.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until `stop`.
pub async fn run(store: Arc<dyn Store>, state: StateHandle, settings: Settings, stop: CancellationToken) {
    let mut vips = Vips::new(settings.service_range);
    let mut changes = state.subscribe();
    let mut due: Option<Instant> = None;
    loop {
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            batch = changes.next() => if batch.is_none() { return },
            () = timer => {}
            () = stop.cancelled() => return,
        }
        due = None;
        let now = Timestamp::now();
        let outcome = reconcile(&state.current(), &settings, now, &mut vips);
        if let Some(at) = outcome.due {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            due = Some(Instant::now() + wait.max(Duration::from_millis(1)));
        }
        if outcome.writes.is_empty() {
            continue;
        }
        match store.write(outcome.writes).await {
            Ok(committed) => drop(state.at_least(committed.revision).await),
            // Somebody wrote in between: that change comes here too.
            Err(StoreError::Conflict(_) | StoreError::NotFound(_) | StoreError::AlreadyExists(_)) => {
                due = Some(Instant::now() + Duration::from_millis(10));
            }
            Err(error) => {
                tracing::warn!(%error, "derived resources are not written, trying again");
                due = Some(Instant::now() + RETRY);
            }
        }
    }
}
