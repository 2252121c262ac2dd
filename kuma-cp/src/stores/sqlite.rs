//! The durable store of a single control plane: a SQLite file in the work directory.
//!
//! Everything that is stored is in memory as well; the file is read at start and written with every commit. One thread
//! writes: batches that wait for it share one transaction and one sync of the disk, and nobody is answered, nor are
//! watchers told, before that sync. So what was acknowledged is there after a crash or a loss of power, and what cannot
//! be written never was.

mod backup;
mod file;
mod revisions;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use async_trait::async_trait;
use jiff::Timestamp;
use kuma_core::{
    resource::{AnyResource, Key},
    store::{
        Author, Committed, Store, StoreError, WatchEvent, Write,
        history::Past,
        ledger::{Ledger, Watchers},
    },
};
use tokio::sync::{mpsc, oneshot};

pub use backup::{BackupError, backup, restore};
use file::File;
pub use file::{FILE, OpenError};
use writer::{Batch, Request, Writer};

/// Requests that wait for the writer; more wait for these.
const MAILBOX: usize = 1024;

/// A store in a file.
pub struct SqliteStore {
    shared: Shared,
    /// Both are there until the store is dropped.
    writer: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for SqliteStore {
    /// Waits for the writes that were begun, so that the file can be opened again at once.
    fn drop(&mut self) {
        self.writer = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was printed; the file is whole in any case.
            let _ = thread.join();
        }
    }
}

/// What is stored as far as it is on disk, and who follows it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<(Ledger, Watchers)>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Ledger, Watchers)> {
        // Only whole ledgers are put here, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// It was not there before.
    pub new: bool,
    /// Objects in it.
    pub objects: usize,
    /// Objects that this version cannot read: they were put aside, each with the reason.
    pub put_aside: Vec<String>,
    /// How many objects there are of kinds that this version does not have, by kind: they are left alone.
    pub unknown: BTreeMap<String, usize>,
}

impl SqliteStore {
    /// Opens the file in this folder, or makes it. `now` stamps writes.
    ///
    /// # Errors
    /// Somebody else has it open, it was written by a newer version, it is no such file, or the disk refuses.
    pub fn open(folder: &Path, now: impl Fn() -> Timestamp + Send + 'static) -> Result<(Self, Found), OpenError> {
        let path = folder.join(FILE);
        let new = !path.exists();
        let mut file = File::open(&path)?;
        let rows::Loaded { ledger, put_aside, unknown } = file.load()?;
        let found = Found { path, new, objects: ledger.len(), put_aside, unknown };
        let shared = Shared::default();
        shared.lock().0 = ledger.clone();
        let (writer, requests) = mpsc::channel(MAILBOX);
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(OpenError::Thread)?;
        let task = Writer {
            file,
            ledger,
            shared: shared.clone(),
            now: Box::new(now),
            failing: false,
            untidy: 0,
            stuck: false,
            timer,
        };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || task.run(requests));
        let thread = Some(thread.map_err(OpenError::Thread)?);
        Ok((Self { shared, writer: Some(writer), thread }, found))
    }

    async fn ask(&self, request: Request) -> Result<(), StoreError> {
        let writer = self.writer.as_ref().ok_or_else(|| stopped(()))?;
        writer.send(request).await.map_err(stopped)
    }
}

fn stopped<E>(_: E) -> StoreError {
    StoreError::Unavailable("it is shutting down".into())
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError> {
        Ok(self.shared.lock().0.get(key).map(|entry| entry.resource.clone()))
    }

    async fn write_as(&self, author: Author, batch: Vec<Write>) -> Result<Committed, StoreError> {
        let (answer, committed) = oneshot::channel();
        self.ask(Request::Write(Batch { author, writes: batch, answer })).await?;
        committed.await.map_err(stopped)?
    }

    async fn history(&self, key: &Key) -> Result<Vec<Past>, StoreError> {
        let (answer, history) = oneshot::channel();
        self.ask(Request::History(key.clone(), answer)).await?;
        history.await.map_err(stopped)?
    }

    async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let mut guard = self.shared.lock();
        let (ledger, watchers) = &mut *guard;
        Ok(watchers.add(ledger.reset()))
    }
}
