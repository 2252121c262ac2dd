//! The store: where resources live. One trait, several backends; every backend passes one contract suite.
//!
//! Writes go in atomic batches with optimistic versions; readers follow a watch that starts with the full state and
//! then delivers each committed batch once, in order.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod history;
pub mod ledger;
mod memory;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

pub use history::Author;
pub use memory::MemoryStore;

use crate::{
    meta::Version,
    resource::{AnyResource, Key},
};

/// One write of a batch. The store sets times and version.
#[derive(Clone, Debug)]
pub enum Write {
    /// Must not exist yet. `owner`: deleted together with that object, which must exist.
    Create {
        /// What to store; times and version are ignored.
        resource: AnyResource,
        /// Object that owns it.
        owner: Option<Key>,
    },
    /// Must exist at this version. Fields that this version of the program does not know stay.
    Update {
        /// What to store; times and version are ignored.
        resource: AnyResource,
        /// Version that the writer has read.
        expected: Version,
    },
    /// Must exist at this version. Nothing of the former spec stays, what is unknown of it included.
    Replace {
        /// What to store; times and version are ignored.
        resource: AnyResource,
        /// Version that the writer has read.
        expected: Version,
    },
    /// Must exist, at this version if one is given. Owned objects go with it.
    Delete {
        /// Which.
        key: Key,
        /// Version that the writer has read; `None` deletes whatever is there.
        expected: Option<Version>,
    },
}

impl Write {
    /// Key of the object that is written.
    pub fn key(&self) -> Key {
        match self {
            Self::Create { resource, .. } | Self::Update { resource, .. } | Self::Replace { resource, .. } => {
                resource.key()
            }
            Self::Delete { key, .. } => key.clone(),
        }
    }
}

/// Why a batch was not written; nothing of it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Update or delete of an object that is not there, or creation for an owner that is not there (then its key).
    #[error("resource not found: type={:?} name={:?} mesh={:?}", .0.kind.name(), .0.name, .0.mesh)]
    NotFound(Key),
    /// Create of an object that is there.
    #[error("resource already exists: type={:?} name={:?} mesh={:?}", .0.kind.name(), .0.name, .0.mesh)]
    AlreadyExists(Key),
    /// Somebody else wrote first.
    #[error("resource conflict: type={:?} name={:?} mesh={:?}", .0.kind.name(), .0.name, .0.mesh)]
    Conflict(Key),
    /// The backend cannot be reached or is shutting down; try again later.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// What is stored of the object cannot be read by this version, so nothing can be put in its place without losing it.
    #[error(
        "what is stored of the object cannot be read: type={:?} name={:?} mesh={:?}; mend or delete its row in the database",
        .0.kind.name(), .0.name, .0.mesh
    )]
    Unreadable(Key),
    /// Whoever wrote may only do so while it leads, and does not lead any more.
    #[error("another control plane leads now")]
    Fenced,
}

/// Position in the store's history; grows with every committed batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// What a committed batch did to one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which object.
    pub key: Key,
    /// What it is now; `None` if it was deleted.
    pub now: Option<AnyResource>,
}

/// What a watcher sees.
#[derive(Clone, Debug)]
pub enum WatchEvent {
    /// Everything, at a revision. First on every watch, and again when the backend may have missed something.
    Reset {
        /// State that follows is of this revision.
        revision: Revision,
        /// Every object.
        resources: Arc<[AnyResource]>,
    },
    /// One committed batch.
    Changes {
        /// Revision after it.
        revision: Revision,
        /// Objects that it changed, each once, cascades included.
        changes: Arc<[Change]>,
    },
}

/// What was committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Revision of the commit; a reader that has seen it sees these writes.
    pub revision: Revision,
    /// The objects as stored, in the order of the batch; `None` for deletions.
    pub resources: Vec<Option<AnyResource>>,
}

/// Where resources live.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one object from the store itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] only; a missing object is `None`.
    async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError>;

    /// Writes a batch: all of it or nothing. In the same transaction it leaves a revision by this author of each object
    /// that it changes; see [`history`].
    ///
    /// # Errors
    /// The first write that cannot be done, by its reason.
    async fn write_as(&self, author: Author, batch: Vec<Write>) -> Result<Committed, StoreError>;

    /// Writes a batch for the control plane itself.
    ///
    /// # Errors
    /// As [`Store::write_as`].
    async fn write(&self, batch: Vec<Write>) -> Result<Committed, StoreError> {
        self.write_as(Author::default(), batch).await
    }

    /// The revisions of an object that are kept, oldest first; also of one that was deleted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] only.
    async fn history(&self, key: &Key) -> Result<Vec<history::Past>, StoreError>;

    /// Follows the store: a [`WatchEvent::Reset`] at once, then every commit. The channel closes when the store does and
    /// when its receiver falls too far behind; a reader that finds it closed opens another, whose `Reset` tells it
    /// everything again.
    async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError>;
}
