//! One `Arc` per distinct value, so that equality downstream is a pointer test.

use std::{collections::HashMap, hash::Hash, sync::Arc};

/// Fewest entries before a sweep is worth it.
const FLOOR: usize = 64;

/// Holds one strong `Arc` per distinct key. Entries that nobody else holds are swept when the table has doubled since
/// the last sweep, and on request. A key holds what it names, so a freed address cannot come back with another meaning.
#[derive(Debug)]
pub struct Interner<K, V> {
    entries: HashMap<K, Arc<V>>,
    sweep_at: usize,
}

impl<K, V> Default for Interner<K, V> {
    fn default() -> Self {
        Self { entries: HashMap::new(), sweep_at: FLOOR }
    }
}

impl<K: Hash + Eq, V> Interner<K, V> {
    /// The value of `key`, made by `make` if it is not there yet; true if it was made now.
    pub fn get_or(&mut self, key: K, make: impl FnOnce(&K) -> V) -> (Arc<V>, bool) {
        if let Some(found) = self.entries.get(&key) {
            return (found.clone(), false);
        }
        if self.entries.len() >= self.sweep_at {
            self.sweep();
        }
        let value = Arc::new(make(&key));
        self.entries.insert(key, value.clone());
        (value, true)
    }

    /// Drops entries that nobody else holds.
    pub fn sweep(&mut self) {
        self.entries.retain(|_, value| Arc::strong_count(value) > 1);
        self.sweep_at = (self.entries.len() * 2).max(FLOOR);
    }

    /// Entries that are held, used or not.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_share_one_value() {
        let mut interner = Interner::default();
        let (first, made) = interner.get_or("a", |k| k.len());
        let (second, made_again) = interner.get_or("a", |_| unreachable!("it is there"));
        assert!(made && !made_again && Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_sweep_keeps_what_is_held() {
        let mut interner = Interner::default();
        let (held, _) = interner.get_or(1, |_| ());
        interner.get_or(2, |_| ());
        interner.sweep();
        assert_eq!(interner.len(), 1);
        drop(held);
        interner.sweep();
        assert!(interner.is_empty());
    }
}
