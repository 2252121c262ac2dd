//! The state of the control plane in memory: follows the store's watch and publishes one immutable [`MeshState`].
//!
//! [`Feed`] is the one writer; everybody else holds a [`StateHandle`]. Readers take [`StateHandle::current`] and never
//! block; a writer of the store waits with [`StateHandle::at_least`] until it reads its own write; tasks that react to
//! changes hold a [`Changes`], which merges what they have not taken yet, so a slow one costs no more memory than the
//! objects that changed and never misses one.

mod changes;
mod feed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use kuma_core::{
    resource::AnyResource,
    state::MeshState,
    store::{Revision, WatchEvent},
};
use tokio::sync::watch;

use changes::Pending;
pub use changes::{Batch, Changes};
pub use feed::Feed;

/// The published state. Cloning shares it.
#[derive(Clone)]
pub struct StateHandle(Arc<Shared>);

struct Shared {
    current: ArcSwap<MeshState>,
    /// `None` until the store has told everything once.
    revision: watch::Sender<Option<Revision>>,
    followers: Mutex<Vec<Weak<Pending>>>,
}

impl StateHandle {
    fn empty() -> Self {
        Self(Arc::new(Shared {
            current: ArcSwap::from_pointee(MeshState::new()),
            revision: watch::Sender::new(None),
            followers: Mutex::default(),
        }))
    }

    /// A state with these resources that nobody feeds, for offline use and tests.
    pub fn of(resources: impl IntoIterator<Item = AnyResource>) -> Self {
        let handle = Self::empty();
        handle.apply(&WatchEvent::Reset { revision: Revision(0), resources: resources.into_iter().collect() });
        handle
    }

    /// The state as it is now.
    pub fn current(&self) -> Arc<MeshState> {
        self.0.current.load_full()
    }

    /// Waits until the store has told everything once.
    pub async fn ready(&self) -> Arc<MeshState> {
        self.at_least(Revision(0)).await
    }

    /// Waits until the state shows `revision` or a later one. Waits for ever if the store never tells; bound it.
    pub async fn at_least(&self, revision: Revision) -> Arc<MeshState> {
        let mut seen = self.0.revision.subscribe();
        // The sender lives in `self`, so the wait cannot end by its going away.
        let _ = seen.wait_for(|seen| seen.is_some_and(|seen| seen >= revision)).await;
        self.current()
    }

    /// Revisions as they are published; `None` before the first.
    pub fn revisions(&self) -> watch::Receiver<Option<Revision>> {
        self.0.revision.subscribe()
    }

    /// Follows the changes, beginning with every object that exists now.
    pub fn subscribe(&self) -> Changes {
        let mut followers = self.followers();
        let pending = Arc::new(Pending::starting_with(self.current()));
        followers.push(Arc::downgrade(&pending));
        drop(followers);
        Changes::new(pending)
    }

    fn followers(&self) -> MutexGuard<'_, Vec<Weak<Pending>>> {
        // The list is only ever pushed to and filtered, so a panic elsewhere leaves it whole.
        self.0.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the state after `event`. Followers are locked meanwhile, so that a new one misses nothing.
    fn apply(&self, event: &WatchEvent) {
        let mut followers = self.followers();
        let mut state = MeshState::clone(&self.0.current.load());
        let changes = state.apply(event);
        let state = Arc::new(state);
        self.0.current.store(state.clone());
        self.0.revision.send_replace(Some(state.revision()));
        if changes.is_empty() {
            return;
        }
        followers.retain(|follower| match follower.upgrade() {
            Some(follower) => {
                follower.add(&state, &changes);
                true
            }
            None => false,
        });
    }

    /// Tells followers that nothing more will come.
    fn close(&self) {
        for follower in self.followers().drain(..) {
            if let Some(follower) = follower.upgrade() {
                follower.close();
            }
        }
    }
}

#[cfg(test)]
mod tests;
