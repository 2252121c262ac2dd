//! What is derived of a write before it is written, so that both are one commit.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Reconciler;
use crate::{
    registry::Kind,
    resource::Key,
    state::MeshState,
    store::{Change, WatchEvent, Write},
};

impl Reconciler {
    /// Puts into writes of MeshServices what a step would derive of them: addresses, hostnames, counts. `state` is the
    /// one of the last step. Batches that hold anything else stay as they are.
    ///
    /// The writes may fail, or others come first: what was taken in here is derived again by the next step, whatever
    /// that is about, and an address that was given away stays that of the service.
    pub fn complete(&mut self, state: &MeshState, batch: &mut [Write], now: Timestamp) {
        let changes: Option<Vec<Change>> = batch.iter().map(|write| change(state, write, now)).collect();
        let Some(changes) = changes.filter(|changes| !changes.is_empty()) else { return };
        let mut ahead = state.clone();
        let changes = ahead.apply(&WatchEvent::Changes { revision: state.revision(), changes: changes.into() });
        let derived = self.step(&ahead, &changes, now).writes;
        self.unsettled.extend(changes.into_iter().map(|change| change.key));
        let mut derived: BTreeMap<Key, Write> = derived.into_iter().map(|write| (write.key(), write)).collect();
        for write in batch {
            let Some(Write::Update { resource: completed, .. }) = derived.remove(&write.key()) else { continue };
            if let Write::Create { resource, .. } | Write::Update { resource, .. } | Write::Replace { resource, .. } =
                write
            {
                *resource = completed.carrying(resource);
            }
        }
    }
}

/// The change that a write of a MeshService will be.
fn change(state: &MeshState, write: &Write, now: Timestamp) -> Option<Change> {
    let (Write::Create { resource, .. } | Write::Update { resource, .. } | Write::Replace { resource, .. }) = write
    else {
        return None;
    };
    let key = write.key();
    (key.kind == Kind::MeshService).then(|| {
        let mut meta = resource.meta.clone();
        // An age that it does not have yet would win it the hostnames of others.
        meta.created = state.get(&key).map_or(now, |stored| stored.meta.created);
        Change { key, now: Some(resource.with_meta(meta)) }
    })
}
