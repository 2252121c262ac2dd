//! The thread that writes the file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kuma_core::store::{Committed, StoreError, WatchEvent, Write, ledger::Ledger};
use tokio::sync::{mpsc, oneshot};

use super::{Shared, file::File};

/// Most batches that share a transaction: bounds how long the first of them waits.
const GROUP: usize = 256;

/// A batch to be written.
pub(super) struct Request {
    pub(super) batch: Vec<Write>,
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
}

type Answer = (oneshot::Sender<Result<Committed, StoreError>>, Result<Committed, StoreError>);

impl Writer {
    /// Writes until the store is dropped.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = requests.try_recv()
            {
                group.push(next);
            }
            self.write(group);
        }
        self.file.close();
    }

    fn write(&mut self, group: Vec<Request>) {
        let now = (self.now)();
        let mut ledger = self.ledger.clone();
        let mut events: Vec<WatchEvent> = Vec::new();
        let mut entries = BTreeMap::new();
        let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
        for Request { batch, answer } in group {
            let outcome = ledger.write(batch, now).map(|done| {
                events.push(done.event);
                entries.extend(done.entries);
                done.committed
            });
            answers.push((answer, outcome));
        }
        if !events.is_empty() {
            match self.file.save(ledger.revision(), &entries) {
                Ok(()) => {
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
