//! The store of several control planes: a PostgreSQL database, with the schema of Kuma 3.0.
//!
//! Everything that is stored is in memory as well. One task has the only session: it writes batches, those that wait
//! share a transaction, and between them it takes over what others have written, of which the database tells it. So the
//! number of connections is fixed, reads never wait for the database, and when it is away they go on from the last state
//! while writes are refused. After every loss of the session all is read again, so nothing is missed; watchers are told
//! in one reset.

mod connect;
mod group;
mod keeper;
mod link;
pub mod lock;
mod ours;
mod revisions;
mod rows;
pub mod schema;

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Context;
use async_trait::async_trait;
use jiff::Timestamp;
use kuma_core::{
    resource::{AnyResource, Key},
    store::{
        Author, Committed, Revision, Store, StoreError, WatchEvent, Write,
        history::Past,
        ledger::{Entry, Ledger, Watchers},
    },
};
use tokio::sync::{mpsc, oneshot, watch};

pub use connect::{Inbox, Target};
use keeper::{Keeper, Question, Request};
use link::{Link, Unreadable};

/// Batches that wait to be written; more wait for these.
const MAILBOX: usize = 1024;

/// A store in a database.
#[derive(Clone)]
pub struct PostgresStore {
    shared: Shared,
    requests: mpsc::Sender<Request>,
    questions: mpsc::Sender<Question>,
    available: watch::Receiver<bool>,
    /// Every batch is written only while this instance holds this lock.
    fence: Option<Fence>,
}

/// A lock of the table `locks`, and the instance that has to hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    /// Name of the lock.
    pub lock: Arc<str>,
    /// Id of the instance.
    pub instance: Arc<str>,
}

/// What is stored as far as we know, and who follows it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<(Ledger, Watchers)>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (Ledger, Watchers)> {
        // Only whole ledgers are put here, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ledger(&self) -> Ledger {
        self.lock().0.clone()
    }

    /// Takes over what objects are now, and tells watchers if that is new.
    fn take_over(&self, entries: impl IntoIterator<Item = (Key, Option<Entry>)>) {
        let mut guard = self.lock();
        let (ledger, watchers) = &mut *guard;
        if let Some(event) = ledger.take_over(entries) {
            watchers.tell(&event);
        }
    }

    /// Takes over what a batch of ours has done, and tells watchers; the revision after it.
    fn record(&self, entries: impl IntoIterator<Item = (Key, Option<Entry>)>) -> Revision {
        let mut guard = self.lock();
        let (ledger, watchers) = &mut *guard;
        watchers.tell(&ledger.record(entries));
        ledger.revision()
    }

    /// Takes over everything, in one reset. What cannot be read goes on to count as it was.
    fn replace(&self, mut entries: Vec<Entry>, unreadable: &Unreadable) {
        let mut guard = self.lock();
        let (ledger, watchers) = &mut *guard;
        entries.extend(unreadable.keys().filter_map(|key| ledger.get(key).cloned()));
        *ledger = Ledger::load(Revision(ledger.revision().0 + 1), entries);
        watchers.tell(&ledger.reset());
    }
}

/// What was found in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Objects that can be read.
    pub objects: usize,
    /// What is wrong with the others, which are left alone.
    pub unreadable: Vec<String>,
    /// How many objects there are of kinds that this version does not have, by kind: they are left alone as well.
    pub unknown: BTreeMap<String, usize>,
}

impl PostgresStore {
    /// Connects and reads everything. `now` stamps writes.
    ///
    /// # Errors
    /// The database cannot be reached, lets nobody in, or is not migrated.
    pub async fn open(
        target: Target,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> anyhow::Result<(Self, Found)> {
        let link = Link::open(&target).await.context("could not connect to postgres")?;
        let refused = |error| anyhow::anyhow!("could not read from postgres: {}", said(&error));
        let (entries, unreadable) = link.load().await.map_err(refused)?;
        let unknown = link.unknown_kinds().await.map_err(refused)?;
        let shared = Shared::default();
        let found = Found { objects: entries.len(), unreadable: unreadable.values().cloned().collect(), unknown };
        shared.replace(entries, &unreadable);
        let (requests, mailbox) = mpsc::channel(MAILBOX);
        let (questions, asked) = mpsc::channel(MAILBOX);
        let (state, available) = watch::channel(true);
        tokio::spawn(Keeper::new(target, shared.clone(), now, (link, unreadable), state).run(mailbox, asked));
        Ok((Self { shared, requests, questions, available, fence: None }, found))
    }

    /// Whether the database is there; follows it.
    pub fn available(&self) -> watch::Receiver<bool> {
        self.available.clone()
    }

    /// The same store for what only a leader may do: once another instance leads, nothing that is written here is kept.
    pub fn fenced(&self, fence: Fence) -> Self {
        Self { fence: Some(fence), ..self.clone() }
    }
}

/// Brings the schema of the database up to date: `kuma-cp migrate up`.
///
/// # Errors
/// The database cannot be reached, or [`schema::SchemaError`].
pub async fn migrate(settings: &crate::config::Postgres) -> anyhow::Result<schema::Migrated> {
    let target = Target::new(settings);
    let (client, _) = target.connect().await.context("could not connect to postgres")?;
    Ok(schema::migrate(&client, target.tolerates_newer_schema()).await?)
}

fn stopped<E>(_: E) -> StoreError {
    StoreError::Unavailable("it is shutting down".into())
}

#[async_trait]
impl Store for PostgresStore {
    async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError> {
        Ok(self.shared.lock().0.get(key).map(|entry| entry.resource.clone()))
    }

    async fn write_as(&self, author: Author, batch: Vec<Write>) -> Result<Committed, StoreError> {
        let (answer, committed) = oneshot::channel();
        let request = Request { author, batch, fence: self.fence.clone(), answer };
        self.requests.send(request).await.map_err(stopped)?;
        committed.await.map_err(stopped)?
    }

    async fn history(&self, key: &Key) -> Result<Vec<Past>, StoreError> {
        let (answer, history) = oneshot::channel();
        self.questions.send((key.clone(), answer)).await.map_err(stopped)?;
        history.await.map_err(stopped)?
    }

    async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let mut guard = self.shared.lock();
        let (ledger, watchers) = &mut *guard;
        Ok(watchers.add(ledger.reset()))
    }
}

/// What the database, or the way to it, said: the error with its causes, once each.
fn said(error: &tokio_postgres::Error) -> String {
    if let Some(database) = error.as_db_error() {
        let mut out = format!("{} (SQLSTATE {})", database.message(), database.code().code());
        for (what, text) in [("detail", database.detail()), ("hint", database.hint())] {
            if let Some(text) = text {
                let _ = write!(out, ", {what}: {text}");
            }
        }
        return out;
    }
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !out.contains(&text) {
            let _ = write!(out, ": {text}");
        }
        cause = error.source();
    }
    out
}
