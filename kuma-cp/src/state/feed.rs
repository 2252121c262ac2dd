//! The task that follows the store.

use std::{sync::Arc, time::Duration};

use kuma_core::store::Store;
use tokio_util::sync::CancellationToken;

use super::StateHandle;

/// Pause before a watch that could not be opened is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Follows a store for a [`StateHandle`].
pub struct Feed {
    store: Arc<dyn Store>,
    handle: StateHandle,
}

impl Feed {
    /// A feed and the handle that it publishes to; nothing happens before [`Self::run`].
    pub fn new(store: Arc<dyn Store>) -> (Self, StateHandle) {
        let handle = StateHandle::empty();
        (Self { store, handle: handle.clone() }, handle)
    }

    /// Follows the store until `stop`. A watch that breaks is opened again; the state stays readable meanwhile, and
    /// followers see only the difference afterwards.
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
        self.handle.close();
    }

    async fn follow(&self) {
        loop {
            match self.store.watch().await {
                Ok(mut events) => {
                    let mut heard = false;
                    while let Some(event) = events.recv().await {
                        heard = true;
                        self.handle.apply(&event);
                    }
                    tracing::debug!("the store closed the watch, opening it again");
                    if heard {
                        continue;
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot follow the store, trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
