//! What time alone will ask for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::resource::Key;

/// Objects with the time at which they have to be derived again.
#[derive(Debug, Default)]
pub(super) struct Due {
    by_key: BTreeMap<Key, Timestamp>,
    by_time: BTreeSet<(Timestamp, Key)>,
}

impl Due {
    /// Replaces the time of an object.
    pub(super) fn set(&mut self, key: &Key, at: Option<Timestamp>) {
        let old = match at {
            Some(at) => self.by_key.insert(key.clone(), at),
            None => self.by_key.remove(key),
        };
        if let Some(old) = old {
            self.by_time.remove(&(old, key.clone()));
        }
        self.by_time.extend(at.map(|at| (at, key.clone())));
    }

    /// The earliest time.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Objects whose time has come. They stay until they are set anew.
    pub(super) fn until(&self, now: Timestamp) -> Vec<Key> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| key.clone()).collect()
    }
}
