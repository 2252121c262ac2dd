//! The thread that writes the file.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use kuma_core::{
    resource::Key,
    store::{
        Author, Committed, StoreError, WatchEvent, Write,
        history::{self, Past},
        ledger::Ledger,
    },
};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};

use super::{Shared, file::File};

/// Most batches that share a transaction: bounds how long the first of them waits.
const GROUP: usize = 256;

/// Rows after which the write-ahead log is moved to the main file in the next pause: some 2 MB of it.
const TIDY_AFTER: usize = 256;
/// Nobody wrote for so long: a burst is over.
const PAUSE: Duration = Duration::from_millis(50);

/// Something for the thread to do.
pub(super) enum Request {
    /// A batch to be written.
    Write(Batch),
    /// The history of an object is asked for.
    History(Key, oneshot::Sender<Result<Vec<Past>, StoreError>>),
}

/// A batch to be written.
pub(super) struct Batch {
    pub(super) author: Author,
    pub(super) writes: Vec<Write>,
    pub(super) answer: oneshot::Sender<Result<Committed, StoreError>>,
}

/// What the thread has.
pub(super) struct Writer {
    pub(super) file: File,
    /// What is on disk.
    pub(super) ledger: Ledger,
    pub(super) shared: Shared,
    pub(super) now: Box<dyn Fn() -> Timestamp + Send>,
    /// The last transaction failed.
    pub(super) failing: bool,
    /// Rows that were written since the log was moved to the main file.
    pub(super) untidy: usize,
    /// The log could not be moved the last time.
    pub(super) stuck: bool,
    /// Tells pauses from bursts.
    pub(super) timer: Runtime,
}

type Answer = (oneshot::Sender<Result<Committed, StoreError>>, Result<Committed, StoreError>);

impl Writer {
    /// Writes until the store is dropped.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = self.next(&mut requests) {
            let mut group = Vec::new();
            let mut questions = Vec::new();
            let mut next = Some(first);
            while let Some(request) = next {
                match request {
                    Request::Write(batch) => group.push(batch),
                    Request::History(key, answer) => questions.push((key, answer)),
                }
                next = if group.len() + questions.len() < GROUP { requests.try_recv().ok() } else { None };
            }
            if !group.is_empty() {
                self.write(group);
            }
            for (key, answer) in questions {
                let text = |error| StoreError::Unavailable(format!("{}: {error}", self.file.path().display()).into());
                // Whoever asked may have gone.
                let _ = answer.send(self.file.history(&key).map_err(text));
            }
        }
        self.file.close();
    }

    /// The next request. A pause before it is used for what would keep somebody waiting.
    fn next(&mut self, requests: &mut mpsc::Receiver<Request>) -> Option<Request> {
        if self.untidy >= TIDY_AFTER {
            let soon = async { tokio::time::timeout(PAUSE, requests.recv()).await };
            match self.timer.block_on(soon) {
                Ok(request) => return request,
                Err(_) => self.tidy(),
            }
        }
        requests.blocking_recv()
    }

    fn tidy(&mut self) {
        self.untidy = 0;
        let path = self.file.path().display();
        match self.file.tidy() {
            Ok(()) if std::mem::take(&mut self.stuck) => {
                tracing::info!(%path, "the log of the store can be moved to its file again");
            }
            Ok(()) => {}
            Err(error) if !self.stuck => {
                self.stuck = true;
                tracing::warn!(%path, %error, "the log of the store grows: it cannot be moved to its file; nothing is lost");
            }
            Err(_) => {}
        }
    }

    fn write(&mut self, group: Vec<Batch>) {
        let now = (self.now)();
        let mut ledger = self.ledger.clone();
        let mut events: Vec<WatchEvent> = Vec::new();
        let mut entries = BTreeMap::new();
        let mut records = Vec::new();
        let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
        for Batch { author, writes, answer } in group {
            let before = ledger.clone();
            let outcome = ledger.write(writes, now).map(|done| {
                records.extend(history::records(&before, &done.entries, &author, now));
                events.push(done.event);
                entries.extend(done.entries);
                done.committed
            });
            answers.push((answer, outcome));
        }
        if !events.is_empty() {
            match self.file.save(ledger.revision(), &entries, &records) {
                Ok(()) => {
                    self.untidy += entries.len() + records.len();
                    if std::mem::take(&mut self.failing) {
                        tracing::info!(path = %self.file.path().display(), "the store can be written again");
                    }
                    self.ledger = ledger.clone();
                    let mut guard = self.shared.lock();
                    let (published, watchers) = &mut *guard;
                    *published = ledger;
                    for event in &events {
                        watchers.tell(event);
                    }
                }
                Err(error) => {
                    let text = format!("{}: {error}", self.file.path().display());
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!("the store cannot be written, changes are refused until it can: {text}");
                    }
                    for (_, outcome) in answers.iter_mut().filter(|(_, outcome)| outcome.is_ok()) {
                        *outcome = Err(StoreError::Unavailable(text.as_str().into()));
                    }
                }
            }
        }
        for (answer, outcome) in answers {
            // Whoever asked may have gone; what is written is written.
            let _ = answer.send(outcome);
        }
    }
}
