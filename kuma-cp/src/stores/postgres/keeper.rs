//! The task that has the session.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{Timestamp, Unit};
use kuma_core::{
    resource::Key,
    store::{
        Author, Committed, StoreError, Write,
        history::Past,
        ledger::{Entry, Ledger},
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_postgres::error::SqlState;

use super::{
    Fence, Shared,
    connect::Target,
    group::{Group, Planned, Verdict, named},
    link::{Link, Unreadable},
    revisions::{self, Seen},
    rows, said,
};

/// Most batches that share a transaction.
const GROUP: usize = 256;
/// Most objects in a group: bounds how long the first of its batches waits.
const GROUP_OBJECTS: usize = 2_000;
/// Tries of a group when others write the same objects, or the database asks to try again.
const TRIES: usize = 5;
/// Between tries to connect: the first, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A batch to be written.
pub(super) struct Request {
    pub(super) author: Author,
    pub(super) batch: Vec<Write>,
    pub(super) fence: Option<Fence>,
    pub(super) answer: oneshot::Sender<Result<Committed, StoreError>>,
}

impl Request {
    fn answer(self, outcome: Result<Committed, StoreError>) {
        // Whoever asked may have gone; what is written is written.
        let _ = self.answer.send(outcome);
    }
}

/// The history of an object is asked for.
pub(super) type Question = (Key, oneshot::Sender<Result<Vec<Past>, StoreError>>);

/// What the task has.
pub(super) struct Keeper {
    target: Target,
    shared: Shared,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    session: Session,
    /// What is stored of these cannot be read: what was known of them goes on to count, and nobody writes over it.
    unreadable: Unreadable,
    available: watch::Sender<bool>,
}

enum Session {
    Up(Box<Link>),
    Down {
        /// What writers are told.
        why: Arc<str>,
        since: Instant,
        coming: JoinHandle<(Link, Vec<Entry>, Unreadable)>,
    },
}

/// Why a group was not written.
enum Fault {
    /// The session is of no use any more; whether a transaction was done is unknown.
    Lost(Arc<str>),
    /// Others have written the same objects, or the database asks to try again.
    Again,
    /// An instance that does not lead any more.
    Fenced,
    /// The database refuses this.
    Refused(Arc<str>),
}

impl Keeper {
    pub(super) fn new(
        target: Target,
        shared: Shared,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
        (link, unreadable): (Link, Unreadable),
        available: watch::Sender<bool>,
    ) -> Self {
        Self { target, shared, now: Box::new(now), session: Session::Up(Box::new(link)), unreadable, available }
    }

    /// Works until the store is dropped.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>, mut questions: mpsc::Receiver<Question>) {
        let mut waiting = VecDeque::new();
        loop {
            match &mut self.session {
                Session::Up(link) => {
                    tokio::select! {
                        changed = link.inbox.next(), if waiting.is_empty() => match changed {
                            Ok(keys) => self.refresh(&keys).await,
                            Err(why) => self.lose(&why),
                        },
                        request = requests.recv(), if waiting.is_empty() => match request {
                            Some(request) => waiting.push_back(request),
                            None => return,
                        },
                        Some((key, answer)) = questions.recv(), if waiting.is_empty() => {
                            // Whoever asked may have gone.
                            let _ = answer.send(self.history(&key).await);
                        }
                        () = std::future::ready(()), if !waiting.is_empty() => {
                            while waiting.len() < GROUP && let Ok(request) = requests.try_recv() {
                                waiting.push_back(request);
                            }
                            self.write(&mut waiting).await;
                        }
                    }
                }
                Session::Down { why, since, coming } => {
                    let refuse = |request: Request| request.answer(Err(StoreError::Unavailable(why.clone())));
                    waiting.drain(..).for_each(refuse);
                    tokio::select! {
                        opened = &mut *coming => {
                            let away = since.elapsed();
                            match opened {
                                Ok((link, entries, unreadable)) => self.found(link, entries, unreadable, away).await,
                                // It panicked, which was printed.
                                Err(_) => self.lose("connecting failed"),
                            }
                        }
                        request = requests.recv() => match request {
                            Some(request) => refuse(request),
                            None => {
                                coming.abort();
                                return;
                            }
                        },
                        Some((_, answer)) = questions.recv() => {
                            let _ = answer.send(Err(StoreError::Unavailable(why.clone())));
                        }
                    }
                }
            }
        }
    }

    /// The session is gone: from now on another one is tried for, and meanwhile nothing is written.
    fn lose(&mut self, why: &str) {
        let why: Arc<str> = format!("the database at {} is away: {why}", self.target.address()).into();
        tracing::error!(
            target: "kuma-cp.store",
            "{why}. Proxies and reads go on with what is known; changes are refused until it is back"
        );
        let coming = tokio::spawn(connect(self.target.clone()));
        self.available.send_replace(false);
        self.session = Session::Down { why, since: Instant::now(), coming };
    }

    async fn found(&mut self, link: Link, entries: Vec<Entry>, unreadable: Unreadable, away: Duration) {
        tracing::info!(
            target: "kuma-cp.store", objects = entries.len(), seconds = away.as_secs_f32(), "the database is back"
        );
        for text in unreadable.values() {
            tracing::warn!(target: "kuma-cp.store", "{text}");
        }
        let before = self.shared.ledger();
        self.shared.replace(entries, &unreadable);
        self.unreadable = unreadable;
        self.session = Session::Up(Box::new(link));
        self.available.send_replace(true);
        let after = self.shared.ledger();
        let keys: BTreeSet<&Key> = before.keys().chain(after.keys()).collect();
        tell_regressions(&before, &after, keys.iter().copied());
        self.note(revisions::seen(&before, &after, keys, (self.now)())).await;
    }

    /// Reads objects again that may have changed.
    async fn refresh(&mut self, keys: &BTreeSet<Key>) {
        let Session::Up(link) = &self.session else { return };
        match tokio::time::timeout(self.target.patience(), link.read(keys)).await {
            Ok(Ok((entries, unreadable))) => {
                let before = self.shared.ledger();
                self.unreadable.retain(|key, _| !keys.contains(key) || unreadable.contains_key(key));
                for (key, text) in unreadable {
                    if self.unreadable.get(&key) != Some(&text) {
                        tracing::warn!(target: "kuma-cp.store", "{text}");
                        self.unreadable.insert(key, text);
                    }
                }
                self.shared.take_over(entries);
                tell_regressions(&before, &self.shared.ledger(), keys);
                self.note(revisions::seen(&before, &self.shared.ledger(), keys, (self.now)())).await;
            }
            Ok(Err(error)) => self.lose(&said(&error)),
            Err(_) => self.lose("it did not answer in time"),
        }
    }

    /// Records what others have changed. What is not recorded now is when it is changed again.
    async fn note(&mut self, seen: Vec<Seen>) {
        let Session::Up(link) = &self.session else { return };
        match tokio::time::timeout(self.target.patience(), link.revisions.note(&link.client, &seen)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let why = said(&error);
                tracing::debug!(target: "kuma-cp.store", "a change by another program is not recorded: {why}");
            }
            Err(_) => self.lose("it did not answer in time"),
        }
    }

    async fn history(&mut self, key: &Key) -> Result<Vec<Past>, StoreError> {
        let Session::Up(link) = &self.session else {
            return Err(StoreError::Unavailable("there is no session".into()));
        };
        let why = match tokio::time::timeout(self.target.patience(), link.revisions.load(&link.client, key)).await {
            Ok(Ok(history)) => return Ok(history),
            Ok(Err(error)) => said(&error),
            Err(_) => "it did not answer in time".to_owned(),
        };
        self.lose(&why);
        Err(StoreError::Unavailable(why.into()))
    }

    /// Writes as many of these as fit in one transaction, and answers them.
    async fn write(&mut self, waiting: &mut VecDeque<Request>) {
        // What every program on this database can tell apart.
        let now = (self.now)();
        let now = now.round(Unit::Microsecond).unwrap_or(now);
        let mut looked_up = BTreeSet::new();
        for attempt in 1.. {
            let ledger = self.shared.ledger();
            let mut group = Group::default();
            let mut refused = Vec::new();
            for (index, request) in waiting.iter().enumerate() {
                if group.touched().len() >= GROUP_OBJECTS {
                    break;
                }
                let verdict = match self.covers(&request.batch, &ledger) {
                    Some(error) => Verdict::Refused(error),
                    None => group.plan(index, (&request.author, &request.batch), &ledger, now),
                };
                if let Verdict::Refused(error) = verdict {
                    refused.push((index, error));
                }
            }
            // Somebody else may have written what makes these possible, and we not have heard of it yet.
            let unsure: BTreeSet<Key> = refused.iter().flat_map(|(index, _)| named(&waiting[*index].batch)).collect();
            if !unsure.is_subset(&looked_up) {
                self.refresh(&unsure).await;
                looked_up.extend(unsure);
                if matches!(self.session, Session::Down { .. }) {
                    return;
                }
                continue;
            }
            let done = if group.planned.is_empty() { Ok(None) } else { self.commit(&group, waiting).await };
            match done {
                Ok(transaction) => {
                    self.answer(group, transaction.unwrap_or_default(), refused, waiting);
                    return;
                }
                Err(Fault::Lost(why)) => {
                    // What is still waiting is told the same when the loop sees that the session is gone.
                    self.lose(&why);
                    return;
                }
                Err(Fault::Again) if attempt < TRIES => {
                    // Owners are not touched, and have to be there.
                    let of = |planned: &Planned| named(&waiting[planned.request].batch);
                    let looked_at = group.planned.iter().flat_map(of).chain(group.touched().iter().cloned()).collect();
                    self.refresh(&looked_at).await;
                    if matches!(self.session, Session::Down { .. }) {
                        return;
                    }
                }
                // One of several stands in the way of the others: each for itself.
                Err(_) if group.planned.len() > 1 => {
                    let mut alone = VecDeque::new();
                    for _ in 0..waiting.len() {
                        alone.extend(waiting.pop_front());
                        Box::pin(self.write(&mut alone)).await;
                        if matches!(self.session, Session::Down { .. }) {
                            waiting.extend(alone);
                            return;
                        }
                    }
                    return;
                }
                Err(fault) => {
                    let error = match fault {
                        Fault::Fenced => StoreError::Fenced,
                        Fault::Again => {
                            StoreError::Unavailable("too many others write the same objects; try again".into())
                        }
                        Fault::Lost(why) | Fault::Refused(why) => StoreError::Unavailable(why),
                    };
                    if let Some(request) = group.planned.first().and_then(|only| waiting.remove(only.request)) {
                        request.answer(Err(error));
                    }
                    return;
                }
            }
        }
    }

    /// Why a batch is refused that would cover up what cannot be read. What is known may be deleted.
    fn covers(&self, batch: &[Write], ledger: &Ledger) -> Option<StoreError> {
        let covers = |write: &&Write| {
            let key = write.key();
            let deletes = matches!(write, Write::Delete { .. }) && ledger.get(&key).is_some();
            self.unreadable.contains_key(&key) && !deletes
        };
        batch.iter().find(covers).map(|write| StoreError::Unreadable(write.key()))
    }

    /// Does a group in one transaction; its number, unless nothing was written but deletions.
    async fn commit(&self, group: &Group, requests: &VecDeque<Request>) -> Result<Option<i64>, Fault> {
        let Session::Up(link) = &self.session else { return Err(Fault::Lost("there is no session".into())) };
        let fences: BTreeSet<&Fence> =
            group.planned.iter().filter_map(|p| requests[p.request].fence.as_ref()).collect();
        let committing = AtomicBool::new(false);
        let transaction = async {
            let outcome = link.begin(&group.deletes, &group.updates, &group.inserts, &group.records).await?;
            if !group.matches(&outcome) {
                link.roll_back().await?;
                return Ok(Err(Fault::Again));
            }
            for Fence { lock, instance } in fences {
                if !link.leads(lock, instance).await? {
                    link.roll_back().await?;
                    return Ok(Err(Fault::Fenced));
                }
            }
            committing.store(true, Ordering::Relaxed);
            link.commit().await?;
            Ok::<_, tokio_postgres::Error>(Ok(outcome.transaction))
        };
        let error = match tokio::time::timeout(self.target.patience(), transaction).await {
            Ok(Ok(outcome)) => return outcome,
            Ok(Err(error)) => error,
            Err(_) if committing.load(Ordering::Relaxed) => {
                return Err(Fault::Lost("it did not say in time whether the last change was kept: look again".into()));
            }
            Err(_) => return Err(Fault::Lost("it did not answer in time".into())),
        };
        let Some(code) = error.code().filter(|_| !link.client.is_closed()) else {
            return Err(Fault::Lost(said(&error).into()));
        };
        // The session is alive and in a transaction that failed.
        match tokio::time::timeout(self.target.patience(), link.roll_back()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(Fault::Lost(said(&error).into())),
        }
        Err(match *code {
            SqlState::T_R_SERIALIZATION_FAILURE
            | SqlState::T_R_DEADLOCK_DETECTED
            | SqlState::LOCK_NOT_AVAILABLE
            | SqlState::FOREIGN_KEY_VIOLATION
            | SqlState::UNIQUE_VIOLATION => Fault::Again,
            // It was the writer once, and is not any more.
            SqlState::READ_ONLY_SQL_TRANSACTION => Fault::Lost(said(&error).into()),
            _ => Fault::Refused(said(&error).into()),
        })
    }

    /// Publishes what was done and answers everyone who was decided.
    fn answer(
        &self,
        group: Group,
        transaction: i64,
        refused: Vec<(usize, StoreError)>,
        waiting: &mut VecDeque<Request>,
    ) {
        let mut outcomes: Vec<Option<Result<Committed, StoreError>>> = waiting.iter().map(|_| None).collect();
        let (planned, before) = group.into_parts();
        for one in planned {
            let request = one.request;
            let (entries, mut committed) = one.settle(&before, transaction);
            committed.revision = self.shared.record(entries);
            outcomes[request] = Some(Ok(committed));
        }
        for (request, error) in refused {
            outcomes[request] = Some(Err(error));
        }
        let mut undecided = VecDeque::new();
        for (request, outcome) in waiting.drain(..).zip(outcomes) {
            match outcome {
                Some(outcome) => request.answer(outcome),
                None => undecided.push_back(request),
            }
        }
        *waiting = undecided;
    }
}

/// Names objects that are older than they were. What the database holds counts all the same.
fn tell_regressions<'a>(before: &Ledger, after: &Ledger, keys: impl IntoIterator<Item = &'a Key>) {
    let meta = |ledger: &Ledger, key: &Key| ledger.get(key).map(|entry| entry.resource.meta.clone());
    let is_back = |key: &&Key| {
        meta(before, key).zip(meta(after, key)).is_some_and(|(before, now)| rows::went_back(&before, &now))
    };
    let back: Vec<&Key> = keys.into_iter().filter(is_back).collect();
    if let Some(Key { kind, mesh, name }) = back.first() {
        tracing::warn!(
            target: "kuma-cp.store", objects = back.len(),
            "versions went back, first that of {kind} {name:?} of mesh {mesh:?}: the database was restored from a copy, or \
             changed by hand. What it holds now counts"
        );
    }
}

/// Tries until it works, ever less often. What keeps it is said when it changes.
async fn connect(target: Target) -> (Link, Vec<Entry>, Unreadable) {
    let mut pause = PAUSE.0;
    let mut said_last = String::new();
    loop {
        let opened = async {
            let link = Link::open(&target).await?;
            let (entries, unreadable) = link.load().await?;
            anyhow::Ok((link, entries, unreadable))
        };
        match opened.await {
            Ok(opened) => return opened,
            Err(error) => {
                let text = format!("{error:#}");
                if text != said_last {
                    tracing::warn!(target: "kuma-cp.store", "the database is still away: {text}");
                    said_last = text;
                }
            }
        }
        // Instances that lost it together do not come back together.
        let jitter = Duration::from_millis(u64::from(uuid::Uuid::new_v4().as_bytes()[0]));
        tokio::time::sleep(pause + jitter.min(pause)).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}
