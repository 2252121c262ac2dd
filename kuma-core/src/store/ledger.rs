//! What is stored, as a value: batches are checked and done here, whatever keeps the result. A clone costs O(1), so a
//! batch that could not be kept is undone by taking the clone from before it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};

use super::{Change, Committed, Revision, StoreError, WatchEvent, Write};
use crate::{
    meta::Version,
    resource::{AnyResource, Key},
};

/// An object as it is stored.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The object.
    pub resource: AnyResource,
    /// Object that it goes with.
    pub owner: Option<Key>,
}

/// Everything that is stored, and the revision that this is.
#[derive(Clone, Default)]
pub struct Ledger {
    revision: Revision,
    objects: RedBlackTreeMapSync<Key, Entry>,
    owned: RedBlackTreeMapSync<Key, RedBlackTreeSetSync<Key>>,
}

/// A batch that was done.
#[derive(Clone, Debug)]
pub struct Done {
    /// For the writer.
    pub committed: Committed,
    /// For watchers.
    pub event: WatchEvent,
    /// What became of each object that was touched: for whoever keeps it.
    pub entries: BTreeMap<Key, Option<Entry>>,
}

impl Ledger {
    /// What was kept before. An owner that is not there owns nothing.
    pub fn load(revision: Revision, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut ledger = Self { revision, ..Self::default() };
        for entry in entries {
            ledger.insert(entry);
        }
        ledger
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.objects.get(key)
    }

    /// Where objects are, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.keys()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.size()
    }

    /// Nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The last batch.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What a watch begins with.
    pub fn reset(&self) -> WatchEvent {
        let resources = self.objects.values().map(|entry| entry.resource.clone()).collect();
        WatchEvent::Reset { revision: self.revision, resources }
    }

    /// Does a batch at this time.
    ///
    /// # Errors
    /// The first write that cannot be done; then none is.
    pub fn write(&mut self, batch: Vec<Write>, now: Timestamp) -> Result<Done, StoreError> {
        self.check(&batch)?;
        self.revision.0 += 1;
        let version = Version(self.revision.0);
        let mut entries = BTreeMap::new();
        let mut resources = Vec::with_capacity(batch.len());
        for write in batch {
            let replaces = matches!(write, Write::Replace { .. });
            let entry = match write {
                Write::Create { mut resource, owner } => {
                    resource.meta.created = now;
                    Entry { resource, owner }
                }
                Write::Update { mut resource, .. } | Write::Replace { mut resource, .. } => {
                    let stored = self.objects.get(&resource.key());
                    let owner = stored.and_then(|entry| entry.owner.clone());
                    resource.meta.created = stored.map_or(now, |entry| entry.resource.meta.created);
                    if let Some(Entry { resource: before, .. }) = stored {
                        resource = if replaces { resource.replacing(before) } else { resource.carrying(before) };
                    }
                    Entry { resource, owner }
                }
                Write::Delete { key, .. } => {
                    self.remove(&key, &mut entries);
                    resources.push(None);
                    continue;
                }
            };
            let Entry { mut resource, owner } = entry;
            resource.meta.modified = now;
            resource.meta.version = version;
            resources.push(Some(resource.clone()));
            let entry = Entry { resource, owner };
            entries.insert(entry.resource.key(), Some(entry.clone()));
            self.insert(entry);
        }
        let change = |(key, entry): (&Key, &Option<Entry>)| Change {
            key: key.clone(),
            now: entry.as_ref().map(|e| e.resource.clone()),
        };
        let event = WatchEvent::Changes { revision: self.revision, changes: entries.iter().map(change).collect() };
        Ok(Done { committed: Committed { revision: self.revision, resources }, event, entries })
    }

    /// Takes over what somebody else has done to objects, times and versions included: the new revision, or `None` if
    /// nothing differs from what is here.
    pub fn take_over(&mut self, entries: impl IntoIterator<Item = (Key, Option<Entry>)>) -> Option<WatchEvent> {
        let version = |entry: &Entry| entry.resource.meta.version;
        let new = entries.into_iter().filter(|(key, entry)| self.get(key).map(version) != entry.as_ref().map(version));
        let new: Vec<_> = new.collect();
        (!new.is_empty()).then(|| self.record(new))
    }

    /// Takes over what a batch of ours has done to objects, times and versions included.
    pub fn record(&mut self, entries: impl IntoIterator<Item = (Key, Option<Entry>)>) -> WatchEvent {
        let mut changes = Vec::new();
        for (key, entry) in entries {
            changes.push(Change { key: key.clone(), now: entry.as_ref().map(|entry| entry.resource.clone()) });
            self.forget(&key);
            if let Some(entry) = entry {
                self.insert(entry);
            }
        }
        self.revision.0 += 1;
        WatchEvent::Changes { revision: self.revision, changes: changes.into() }
    }

    fn insert(&mut self, entry: Entry) {
        let key = entry.resource.key();
        if let Some(owner) = &entry.owner {
            let mut owned = self.owned.get(owner).cloned().unwrap_or_default();
            owned.insert_mut(key.clone());
            self.owned.insert_mut(owner.clone(), owned);
        }
        self.objects.insert_mut(key, entry);
    }

    /// Removes one object; what it owns stays. Tells whether it was there.
    fn forget(&mut self, key: &Key) -> bool {
        let Some(entry) = self.objects.get(key).cloned() else { return false };
        self.objects.remove_mut(key);
        if let Some(owner) = entry.owner
            && let Some(mut owned) = self.owned.get(&owner).cloned()
        {
            owned.remove_mut(key);
            if owned.is_empty() {
                self.owned.remove_mut(&owner);
            } else {
                self.owned.insert_mut(owner, owned);
            }
        }
        true
    }

    fn remove(&mut self, key: &Key, gone: &mut BTreeMap<Key, Option<Entry>>) {
        if !self.forget(key) {
            return;
        }
        gone.insert(key.clone(), None);
        let owned: Vec<Key> = self.owned.get(key).into_iter().flatten().cloned().collect();
        for key in owned {
            self.remove(&key, gone);
        }
    }

    /// Refuses a batch that cannot be done as a whole, looking at what earlier writes of it will have done.
    fn check(&self, batch: &[Write]) -> Result<(), StoreError> {
        let mut plan = Plan { ledger: self, touched: BTreeMap::new() };
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
                Write::Update { .. } | Write::Replace { .. } | Write::Delete { .. } if !plan.exists(&key) => {
                    return Err(StoreError::NotFound(key));
                }
                Write::Update { expected, .. } | Write::Replace { expected, .. } => {
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
}

/// What is there after some writes of a batch.
struct Plan<'a> {
    ledger: &'a Ledger,
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
        self.touched.get(key).map_or_else(|| self.ledger.objects.contains_key(key), |fate| *fate != Fate::Deleted)
    }

    /// Nobody has read the version that a batch is only about to write.
    fn expect(&self, key: &Key, expected: Version) -> Result<(), StoreError> {
        let stored = self.ledger.objects.get(key).filter(|_| !self.touched.contains_key(key));
        match stored {
            Some(entry) if entry.resource.meta.version == expected => Ok(()),
            _ => Err(StoreError::Conflict(key.clone())),
        }
    }

    fn remove(&mut self, key: Key) {
        let stored = self.ledger.owned.get(&key).into_iter().flatten().filter(|k| !self.touched.contains_key(*k));
        let ours = Fate::Written { owner: Some(key.clone()) };
        let written = self.touched.iter().filter(|(_, fate)| **fate == ours).map(|(k, _)| k);
        let owned: Vec<Key> = stored.chain(written).cloned().collect();
        self.touched.insert(key, Fate::Deleted);
        for key in owned {
            self.remove(key);
        }
    }
}

/// Everyone who follows a store.
#[derive(Debug, Default)]
pub struct Watchers(Vec<tokio::sync::mpsc::Sender<WatchEvent>>);

/// Commits that a watcher may be behind before its watch is closed.
const WATCH_BACKLOG: usize = 1024;

impl Watchers {
    /// A new one, who is told `first` at once.
    pub fn add(&mut self, first: WatchEvent) -> tokio::sync::mpsc::Receiver<WatchEvent> {
        let (events, receiver) = tokio::sync::mpsc::channel(WATCH_BACKLOG);
        // The channel is new and empty, so this cannot fail.
        let _ = events.try_send(first);
        self.0.push(events);
        receiver
    }

    /// Tells everyone. A watcher that is full is dropped: it drains what it has, finds the watch closed and opens a new
    /// one. Keeping it would leave it without the last commits until somebody writes again.
    pub fn tell(&mut self, event: &WatchEvent) {
        self.0.retain(|watcher| watcher.try_send(event.clone()).is_ok());
    }
}
