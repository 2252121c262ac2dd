//! Batches that are written together, as rows: pure, so the database is told only what follows from what we know.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kuma_core::{
    meta::Version,
    resource::Key,
    store::{
        Author, Committed, Revision, StoreError, Write,
        history::{self, Record},
        ledger::{Done, Entry, Ledger},
    },
};

use super::{
    link::Outcome,
    rows::{self, Columns},
};

/// One batch that can be done, as far as we know.
pub(super) struct Planned {
    /// Which of the requests.
    pub(super) request: usize,
    done: Done,
}

/// Batches that touch different objects, and what they come to.
#[derive(Default)]
pub(super) struct Group {
    pub(super) planned: Vec<Planned>,
    pub(super) deletes: Columns,
    pub(super) updates: Columns,
    pub(super) inserts: Columns,
    /// What the batches leave in histories.
    pub(super) records: Vec<Record>,
    /// Deleted because a batch says so, rather than along with their owner.
    must_delete: BTreeSet<Key>,
    /// What the rows of objects that stay were before.
    before: BTreeMap<Key, Version>,
    touched: BTreeSet<Key>,
}

/// What became of a request while it was planned.
pub(super) enum Verdict {
    /// It is in the group.
    Planned,
    /// It touches what another one of the group does: its turn is the next group.
    Later,
    /// It cannot be done, as far as we know.
    Refused(StoreError),
}

/// Objects that a batch names, their owners included: what has to be looked up again before it is refused for good.
pub(super) fn named(batch: &[Write]) -> BTreeSet<Key> {
    let mut keys = BTreeSet::new();
    for write in batch {
        keys.insert(write.key());
        if let Write::Create { owner: Some(owner), .. } = write {
            keys.insert(owner.clone());
        }
    }
    keys
}

impl Group {
    /// Takes a batch in, if it fits. `ledger` is what is stored, without the group.
    pub(super) fn plan(
        &mut self,
        request: usize,
        (author, batch): (&Author, &[Write]),
        ledger: &Ledger,
        now: Timestamp,
    ) -> Verdict {
        if named(batch).iter().any(|key| self.touched.contains(key)) {
            return Verdict::Later;
        }
        let done = match ledger.clone().write(batch.to_vec(), now) {
            Ok(done) => done,
            Err(error) => return Verdict::Refused(error),
        };
        if done.entries.keys().any(|key| self.touched.contains(key)) {
            return Verdict::Later;
        }
        // The first deletion counts: it names what the writer has read.
        let mut expected: BTreeMap<&Key, Option<Version>> = BTreeMap::new();
        for write in batch {
            if let Write::Delete { key, expected: version } = write {
                expected.entry(key).or_insert(*version);
            }
        }
        for (key, entry) in &done.entries {
            self.touched.insert(key.clone());
            let before = ledger.get(key).map(|entry| &entry.resource.meta);
            match (before, entry) {
                (None, None) => {}
                (None, Some(entry)) => self.inserts.put(key, None, entry, false),
                (Some(before), Some(entry)) => {
                    let anew = expected.contains_key(key);
                    self.before.insert(key.clone(), before.version);
                    self.updates.put(key, Some(before.version), entry, anew);
                }
                (Some(_), None) => {
                    let version = expected.get(key);
                    if version.is_some() {
                        self.must_delete.insert(key.clone());
                    }
                    self.deletes.name(key, version.copied().flatten());
                }
            }
        }
        self.records.extend(history::records(ledger, &done.entries, author, now));
        self.planned.push(Planned { request, done });
        Verdict::Planned
    }

    /// Whether the database did all that was planned; if not, it holds something else than we thought.
    pub(super) fn matches(&self, outcome: &Outcome) -> bool {
        outcome.updated == self.updates.len()
            && outcome.inserted == self.inserts.len()
            && self.must_delete.is_subset(&outcome.deleted)
    }

    /// Everything that the group touches.
    pub(super) fn touched(&self) -> &BTreeSet<Key> {
        &self.touched
    }
}

impl Planned {
    /// What the batch came to, now that its transaction is known: objects for everyone, and the answer for its writer.
    pub(super) fn settle(
        self,
        group: &BTreeMap<Key, Version>,
        transaction: i64,
    ) -> (BTreeMap<Key, Option<Entry>>, Committed) {
        let version = |key: &Key| {
            let number = group.get(key).map_or(0, |before| rows::parts(*before).1 + 1);
            rows::version(transaction, number)
        };
        let Done { mut committed, mut entries, .. } = self.done;
        for (key, entry) in &mut entries {
            if let Some(entry) = entry {
                entry.resource.meta.version = version(key);
            }
        }
        for resource in committed.resources.iter_mut().flatten() {
            resource.meta.version = version(&resource.key());
        }
        committed.revision = Revision(0);
        (entries, committed)
    }
}

impl Group {
    /// The batches, and the versions of rows before.
    pub(super) fn into_parts(self) -> (Vec<Planned>, BTreeMap<Key, Version>) {
        (self.planned, self.before)
    }
}
