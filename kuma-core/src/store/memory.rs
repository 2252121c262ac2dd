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
        let mut plan = Plan { inner: self, touched: BTreeMap::new() };
        for write in batch {
            let key = write.key();
            match write {
                Write::Create { .. } if plan.exists(&key) => return Err(StoreError::AlreadyExists(key)),
                Write::Create { owner, .. } => {
                    if let Some(missing) = owner.as_ref().filter(|owner| !plan.exists(owner)) {
                        return Err(StoreError::NotFound(missing.clone()));
                    }
                    plan.touched.insert(key, Fate::Written { owner: owner.clone() });
                }
                Write::Update { .. } | Write::Delete { .. } if !plan.exists(&key) => {
                    return Err(StoreError::NotFound(key));
                }
                Write::Update { expected, .. } => {
                    plan.expect(&key, *expected)?;
                    let owner = self.objects.get(&key).and_then(|entry| entry.owner.clone());
                    plan.touched.insert(key, Fate::Written { owner });
                }
                Write::Delete { expected, .. } => {
                    if let Some(expected) = expected {
                        plan.expect(&key, *expected)?;
                    }
                    plan.remove(key);
                }
            }
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

/// What is there after some writes of a batch.
struct Plan<'a> {
    inner: &'a Inner,
    touched: BTreeMap<Key, Fate>,
}

/// What a batch does to an object.
#[derive(PartialEq)]
enum Fate {
    Written { owner: Option<Key> },
    Deleted,
}

impl Plan<'_> {
    fn exists(&self, key: &Key) -> bool {
        self.touched.get(key).map_or_else(|| self.inner.objects.contains_key(key), |fate| *fate != Fate::Deleted)
    }

    /// Nobody has read the version that a batch is only about to write.
    fn expect(&self, key: &Key, expected: Version) -> Result<(), StoreError> {
        let stored = self.inner.objects.get(key).filter(|_| !self.touched.contains_key(key));
        match stored {
            Some(entry) if entry.resource.meta.version == expected => Ok(()),
            _ => Err(StoreError::Conflict(key.clone())),
        }
    }

    fn remove(&mut self, key: Key) {
        let stored = self.inner.owned.get(&key).into_iter().flatten().filter(|k| !self.touched.contains_key(*k));
        let ours = Fate::Written { owner: Some(key.clone()) };
        let written = self.touched.iter().filter(|(_, fate)| **fate == ours).map(|(k, _)| k);
        let owned: Vec<Key> = stored.chain(written).cloned().collect();
        self.touched.insert(key, Fate::Deleted);
        for key in owned {
            self.remove(key);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    crate::store_contract!(tokio::test, {
        let clock = std::sync::atomic::AtomicI64::new(1);
        let tick = move || {
            let seconds = clock.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Timestamp::from_second(seconds).unwrap()
        };
        Arc::new(MemoryStore::new(tick))
    });
}
