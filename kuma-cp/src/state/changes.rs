//! What one follower has not taken yet, merged by object.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kuma_core::{
    resource::{AnyResource, Key},
    state::MeshState,
    store::Change,
};
use tokio::sync::Notify;

/// Changes since the last batch, and the state that they led to.
pub struct Batch {
    /// The state after the changes.
    pub state: Arc<MeshState>,
    /// Each object that changed, once, as it is in `state`; sorted by key.
    pub changes: Vec<Change>,
}

/// A follower of the state's changes.
pub struct Changes(Arc<Pending>);

impl Changes {
    pub(super) fn new(pending: Arc<Pending>) -> Self {
        Self(pending)
    }

    /// Waits for changes and takes all of them; `None` when no more will come. Needs no particular runtime, and loses
    /// nothing when dropped before it is done.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            let woken = self.0.wake.notified();
            if let Some(batch) = self.0.take() {
                return Some(batch);
            }
            if self.0.lock().closed {
                return None;
            }
            woken.await;
        }
    }

    /// Takes what has changed, without waiting.
    pub fn take(&mut self) -> Option<Batch> {
        self.0.take()
    }
}

/// The follower's side that the feed writes to. It holds at most one entry per object.
pub(super) struct Pending {
    inner: Mutex<Inner>,
    wake: Notify,
}

struct Inner {
    state: Arc<MeshState>,
    changes: BTreeMap<Key, Option<AnyResource>>,
    closed: bool,
}

impl Pending {
    /// Everything in `state` counts as changed.
    pub(super) fn starting_with(state: Arc<MeshState>) -> Self {
        let changes = state.all().map(|r| (r.key(), Some(r.clone()))).collect();
        Self { inner: Mutex::new(Inner { state, changes, closed: false }), wake: Notify::new() }
    }

    pub(super) fn add(&self, state: &Arc<MeshState>, changes: &[Change]) {
        let mut inner = self.lock();
        inner.state = state.clone();
        inner.changes.extend(changes.iter().map(|c| (c.key.clone(), c.now.clone())));
        drop(inner);
        self.wake.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    fn take(&self) -> Option<Batch> {
        let mut inner = self.lock();
        if inner.changes.is_empty() {
            return None;
        }
        let changes = std::mem::take(&mut inner.changes).into_iter().map(|(key, now)| Change { key, now }).collect();
        Some(Batch { state: inner.state.clone(), changes })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change of the value is a whole one, so a panic elsewhere leaves it usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
