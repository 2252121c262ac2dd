//! The store for tests and demos: everything in memory, gone with the process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc;

use super::{
    Author, Committed, Store, StoreError, WatchEvent, Write,
    history::{self, Histories, Past},
    ledger::{Ledger, Watchers},
};
use crate::resource::{AnyResource, Key};

/// Everything in memory. The clock is handed in, since this crate reads none.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

#[derive(Default)]
struct Inner {
    ledger: Ledger,
    watchers: Watchers,
    histories: Histories,
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

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError> {
        Ok(self.lock().ledger.get(key).map(|e| e.resource.clone()))
    }

    async fn write_as(&self, author: Author, batch: Vec<Write>) -> Result<Committed, StoreError> {
        let now = (self.now)();
        let mut guard = self.lock();
        let Inner { ledger, watchers, histories } = &mut *guard;
        let before = ledger.clone();
        let done = ledger.write(batch, now)?;
        for record in history::records(&before, &done.entries, &author, now) {
            histories.add(&record);
        }
        watchers.tell(&done.event);
        Ok(done.committed)
    }

    async fn history(&self, key: &Key) -> Result<Vec<Past>, StoreError> {
        Ok(self.lock().histories.of(key))
    }

    async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let mut guard = self.lock();
        let Inner { ledger, watchers, .. } = &mut *guard;
        Ok(watchers.add(ledger.reset()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

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
