//! The store for tests and demos: everything in memory, gone with the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{Change, Committed, Revision, Store, StoreError, WatchEvent, Write};
use crate::{
    meta::Version,
    resource::{AnyResource, Key},
};

/// Commits that a watcher may be behind before its watch is closed.
const WATCH_BACKLOG: usize = 1024;

/// Everything in memory. The clock is handed in, since this crate reads none.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

#[derive(Default)]
struct Inner {
    revision: u64,
    objects: BTreeMap<Key, Entry>,
    owned: BTreeMap<Key, BTreeSet<Key>>,
    watchers: Vec<mpsc::Sender<WatchEvent>>,
}

struct Entry {
    resource: AnyResource,
    owner: Option<Key>,
}

impl MemoryStore {
    /// An empty store that stamps writes with `now`.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { inner: Mutex::default(), now: Box::new(now) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A batch is checked before anything is changed, so a panic elsewhere leaves the maps whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Refuses a batch that cannot be written as a whole, looking at what earlier writes of it will have done.
    fn check(&self, batch: &[Write]) -> Result<(), StoreError> {
        let mut planned: BTreeMap<Key, bool> = BTreeMap::new();
        for write in batch {
            let key = write.key();
            let exists = planned.get(&key).copied().unwrap_or_else(|| self.objects.contains_key(&key));
            let stored = if planned.contains_key(&key) { None } else { self.objects.get(&key) };
            match write {
                Write::Create { .. } if exists => return Err(StoreError::AlreadyExists(key)),
                Write::Create { .. } => {}
                Write::Update { .. } | Write::Delete { .. } if !exists => return Err(StoreError::NotFound(key)),
                Write::Update { expected, .. } | Write::Delete { expected: Some(expected), .. } => {
                    if stored.is_none_or(|e| e.resource.meta.version != *expected) {
                        return Err(StoreError::Conflict(key));
                    }
                }
                Write::Delete { expected: None, .. } => {}
            }
            planned.insert(key, !matches!(write, Write::Delete { .. }));
        }
        Ok(())
    }

    fn remove(&mut self, key: &Key, changes: &mut BTreeMap<Key, Option<AnyResource>>) {
        let Some(entry) = self.objects.remove(key) else { return };
        if let Some(owner) = &entry.owner
            && let Some(owned) = self.owned.get_mut(owner)
        {
            owned.remove(key);
        }
        changes.insert(key.clone(), None);
        for owned in self.owned.remove(key).unwrap_or_default() {
            self.remove(&owned, changes);
        }
    }

    fn snapshot(&self) -> WatchEvent {
        WatchEvent::Reset {
            revision: Revision(self.revision),
            resources: self.objects.values().map(|e| e.resource.clone()).collect(),
        }
    }

    fn publish(&mut self, event: &WatchEvent) {
        // A watcher that is full is dropped: it drains what it has, finds the watch closed and opens a new one. Keeping
        // it would leave it without the last commits until somebody writes again.
        self.watchers.retain(|watcher| watcher.try_send(event.clone()).is_ok());
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError> {
        Ok(self.lock().objects.get(key).map(|e| e.resource.clone()))
    }

    async fn write(&self, batch: Vec<Write>) -> Result<Committed, StoreError> {
        let now = (self.now)();
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.check(&batch)?;
        inner.revision += 1;
        let version = Version(inner.revision);
        let mut changes = BTreeMap::new();
        let mut resources = Vec::with_capacity(batch.len());
        for write in batch {
            match write {
                Write::Create { mut resource, owner } => {
                    resource.meta.created = now;
                    resource.meta.modified = now;
                    resource.meta.version = version;
                    let key = resource.key();
                    if let Some(owner) = &owner {
                        inner.owned.entry(owner.clone()).or_default().insert(key.clone());
                    }
                    changes.insert(key.clone(), Some(resource.clone()));
                    resources.push(Some(resource.clone()));
                    inner.objects.insert(key, Entry { resource, owner });
                }
                Write::Update { mut resource, .. } => {
                    let key = resource.key();
                    if let Some(entry) = inner.objects.get_mut(&key) {
                        resource.meta.created = entry.resource.meta.created;
                        resource.meta.modified = now;
                        resource.meta.version = version;
                        entry.resource = resource.clone();
                        changes.insert(key, Some(resource.clone()));
                    }
                    resources.push(Some(resource));
                }
                Write::Delete { key, .. } => {
                    inner.remove(&key, &mut changes);
                    resources.push(None);
                }
            }
        }
        let revision = Revision(inner.revision);
        let changes: Arc<[Change]> = changes.into_iter().map(|(key, now)| Change { key, now }).collect();
        inner.publish(&WatchEvent::Changes { revision, changes });
        Ok(Committed { revision, resources })
    }

    async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let (events, receiver) = mpsc::channel(WATCH_BACKLOG);
        let mut inner = self.lock();
        let reset = inner.snapshot();
        // The channel is new and empty, so this cannot fail.
        let _ = events.try_send(reset);
        inner.watchers.push(events);
        Ok(receiver)
    }
}
