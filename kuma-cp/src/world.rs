//! The thread that steps the engine: store changes and streams come in through a mailbox, new resource sets go out to
//! the streams that they concern. No planning happens on the async workers, and no read or write waits for a plan.

mod render;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use arc_swap::ArcSwapOption;
use kuma_core::{
    engine::{Batch, Counters, EndpointTable, Engine, ProxySet, Render, StreamId, Up, Wake},
    plan::{Names, NodeFacts, PlanSettings},
    state::MeshState,
    store::Change as StoreChange,
};
use tokio::sync::{Notify, mpsc, oneshot};
use xds_gen::{
    delta::Change,
    set::{Own, Rendered, Source, TypeUrl},
};

pub use render::EnvoyRender;

use crate::{diagnostics::metrics::planning::PlanningMetrics, dp_server::leases::Proxy};

/// Messages that wait for the thread; senders wait when it is full.
const MAILBOX: usize = 4096;
/// Names of changed endpoint lists that are kept per stream before "all of them" is noted instead.
const MOST_NAMES: usize = 64;

/// What the thread is told.
enum Message {
    /// The store changed.
    Changed { state: MeshState, changes: Vec<StoreChange>, at: Instant },
    /// A stream was accepted.
    Up { up: StreamUp, answer: oneshot::Sender<View> },
    /// A stream ended.
    Down(StreamId),
    /// DNS names that Dataplanes carry have these addresses now.
    Names(Arc<Names>),
    /// Units that hold issued material are to be rendered anew.
    Rerender,
    /// Somebody wants to know what was done so far.
    Counters(oneshot::Sender<Counters>),
}

/// A stream that asks for configuration.
pub struct StreamUp {
    /// Whose.
    pub proxy: Proxy,
    /// What the proxy said of itself.
    pub node: Arc<NodeFacts>,
}

/// The way to the thread.
#[derive(Clone)]
pub struct WorldHandle {
    mailbox: mpsc::Sender<Message>,
}

/// The thread is gone: the process is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("the planning thread has ended")]
pub struct Ended;

impl WorldHandle {
    /// Announces a stream; its view has a set as soon as the proxy is planned.
    ///
    /// # Errors
    /// [`Ended`] at shutdown.
    pub async fn stream_up(&self, up: StreamUp) -> Result<View, Ended> {
        let (answer, view) = oneshot::channel();
        self.mailbox.send(Message::Up { up, answer }).await.map_err(|_| Ended)?;
        view.await.map_err(|_| Ended)
    }

    /// Hands over a change of the store.
    ///
    /// # Errors
    /// [`Ended`] at shutdown.
    pub async fn changed(&self, state: MeshState, changes: Vec<StoreChange>) -> Result<(), Ended> {
        self.mailbox.send(Message::Changed { state, changes, at: Instant::now() }).await.map_err(|_| Ended)
    }

    /// Hands over the addresses of all DNS names that Dataplanes carry.
    ///
    /// # Errors
    /// [`Ended`] at shutdown.
    pub async fn names(&self, names: Arc<Names>) -> Result<(), Ended> {
        self.mailbox.send(Message::Names(names)).await.map_err(|_| Ended)
    }

    /// Renders issued material anew, after its issuer changed.
    ///
    /// # Errors
    /// [`Ended`] at shutdown.
    pub async fn rerender(&self) -> Result<(), Ended> {
        self.mailbox.send(Message::Rerender).await.map_err(|_| Ended)
    }

    /// What the engine did so far.
    ///
    /// # Errors
    /// [`Ended`] at shutdown.
    pub async fn counters(&self) -> Result<Counters, Ended> {
        let (answer, counters) = oneshot::channel();
        self.mailbox.send(Message::Counters(answer)).await.map_err(|_| Ended)?;
        counters.await.map_err(|_| Ended)
    }
}

/// Where a stream finds its newest set, and learns that there is one.
struct Slot {
    set: ArcSwapOption<Published>,
    changed: Notify,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    set: bool,
    endpoints: Vec<Arc<str>>,
    all_endpoints: bool,
    since: Option<Instant>,
}

/// What a stream is told.
#[derive(Debug, Default)]
pub struct Told {
    /// What may have changed of what it is to have.
    pub changes: Vec<Change>,
    /// When the oldest change that led to this came in; `None` if nothing is told.
    pub since: Option<Instant>,
}

/// What a stream holds while it lives; dropping it ends the planning for it.
pub struct View {
    slot: Arc<Slot>,
    id: StreamId,
    mailbox: mpsc::Sender<Message>,
}

impl View {
    /// The newest set; `None` before the proxy was planned.
    pub fn set(&self) -> Option<Arc<Published>> {
        self.slot.set.load_full()
    }

    /// Waits until something that this stream is in has changed.
    pub async fn changed(&self) {
        self.slot.changed.notified().await;
    }

    /// What changed since the last call. The set is to be read afterwards: it is as new as what is told, or newer.
    pub fn take_changes(&mut self) -> Told {
        let pending = std::mem::take(&mut *self.slot.pending.lock().unwrap_or_else(PoisonError::into_inner));
        let mut changes = Vec::new();
        if pending.set {
            changes.extend([TypeUrl::Cluster, TypeUrl::Listener, TypeUrl::Secret, TypeUrl::Endpoint].map(Change::All));
        } else if pending.all_endpoints {
            changes.push(Change::All(TypeUrl::Endpoint));
        } else {
            changes.extend(pending.endpoints.into_iter().map(|name| Change::Named(TypeUrl::Endpoint, name)));
        }
        Told { changes, since: pending.since }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let (mailbox, id) = (self.mailbox.clone(), self.id);
        if let Err(mpsc::error::TrySendError::Full(message)) = mailbox.try_send(Message::Down(id)) {
            // The runtime is there as long as streams are dropped by it.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { mailbox.send(message).await });
            }
        }
    }
}

/// The set of one proxy, as the delta engine reads it.
pub struct Published {
    set: Arc<ProxySet<Arc<Rendered>>>,
    endpoints: Arc<EndpointTable<Arc<Rendered>>>,
    own: Own,
}

impl Source for Published {
    fn listed(&self, type_url: TypeUrl) -> &[Arc<Rendered>] {
        match type_url {
            TypeUrl::Cluster => &self.set.clusters,
            TypeUrl::Listener => &self.set.listeners,
            _ => &[],
        }
    }

    fn named(&self, type_url: TypeUrl, name: &str) -> Option<Arc<Rendered>> {
        let find = |list: &[Arc<Rendered>]| {
            list.binary_search_by(|r| (*r.name).cmp(name)).ok().and_then(|at| list.get(at).cloned())
        };
        match type_url {
            TypeUrl::Cluster | TypeUrl::Listener => find(self.listed(type_url)),
            // A proxy sees endpoints of its own clusters only.
            TypeUrl::Endpoint => find(&self.set.clusters).and_then(|_| self.endpoints.get(name)),
            _ => None,
        }
    }

    fn own(&self) -> &Own {
        &self.own
    }
}

/// Starts the thread. It ends when the last handle and view are gone.
///
/// # Errors
/// If the operating system has no thread to give.
pub fn spawn<R>(
    settings: PlanSettings,
    render: R,
    metrics: PlanningMetrics,
) -> std::io::Result<(WorldHandle, std::thread::JoinHandle<()>)>
where
    R: Render<Unit = Arc<Rendered>> + Clone + Send + 'static,
{
    let (mailbox, receiver) = mpsc::channel(MAILBOX);
    let weak = mailbox.downgrade();
    let thread = std::thread::Builder::new().name("world".into()).spawn(move || {
        World {
            settings,
            render,
            metrics,
            engine: None,
            counted: Counters::default(),
            state: None,
            names: Arc::default(),
            slots: HashMap::new(),
            next: 0,
            mailbox: weak,
        }
        .run(receiver);
    })?;
    Ok((WorldHandle { mailbox }, thread))
}

struct World<R: Render> {
    settings: PlanSettings,
    render: R,
    metrics: PlanningMetrics,
    engine: Option<Engine<R>>,
    /// What of the engine's work is in the metrics.
    counted: Counters,
    state: Option<MeshState>,
    names: Arc<Names>,
    slots: HashMap<StreamId, Entry>,
    next: u64,
    mailbox: mpsc::WeakSender<Message>,
}

struct Entry {
    slot: Arc<Slot>,
    up: Up,
}

impl<R: Render<Unit = Arc<Rendered>> + Clone> World<R> {
    fn run(mut self, mut mailbox: mpsc::Receiver<Message>) {
        while let Some(message) = mailbox.blocking_recv() {
            let (mut batch, mut since) = (Batch::default(), Instant::now());
            self.take(message, &mut batch, &mut since);
            // What has come in while the last batch was worked on is one batch.
            while let Ok(message) = mailbox.try_recv() {
                self.take(message, &mut batch, &mut since);
            }
            self.step(batch, since);
        }
    }

    fn take(&mut self, message: Message, batch: &mut Batch, since: &mut Instant) {
        match message {
            Message::Changed { state, changes, at } => {
                *since = at.min(*since);
                batch.state = Some(state);
                batch.changes.extend(changes);
            }
            Message::Up { up, answer } => {
                let Some(mailbox) = self.mailbox.upgrade() else { return };
                self.next += 1;
                let id = StreamId(self.next);
                let slot =
                    Arc::new(Slot { set: ArcSwapOption::empty(), changed: Notify::new(), pending: Mutex::default() });
                let up = Up { stream: id, mesh: up.proxy.0, name: up.proxy.1, node: up.node };
                self.slots.insert(id, Entry { slot: slot.clone(), up: up.clone() });
                batch.up.push(up);
                // A stream that has gone meanwhile drops its view, which says so.
                drop(answer.send(View { slot, id, mailbox }));
            }
            Message::Down(id) => {
                self.slots.remove(&id);
                batch.down.push(id);
            }
            Message::Names(names) => {
                self.names = names.clone();
                batch.names = Some(names);
            }
            Message::Rerender => batch.rerender = true,
            Message::Counters(answer) => {
                let counters = self.engine.as_ref().map(Engine::counters).unwrap_or_default();
                // Whoever asked may have gone.
                let _ = answer.send(counters);
            }
        }
    }

    fn step(&mut self, batch: Batch, since: Instant) {
        if batch.is_empty() {
            return;
        }
        if batch.state.is_some() {
            self.state.clone_from(&batch.state);
        }
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => self.new_engine(),
        };
        if self.run_engine(engine, batch, since).is_err() {
            self.rebuild(since);
        }
    }

    fn new_engine(&mut self) -> Engine<R> {
        self.counted = Counters::default();
        Engine::new(self.settings.clone(), self.render.clone())
    }

    /// Steps an engine and keeps it, unless it panics.
    fn run_engine(&mut self, mut engine: Engine<R>, batch: Batch, since: Instant) -> std::thread::Result<()> {
        let begin = Instant::now();
        let wakes = catch_unwind(AssertUnwindSafe(|| engine.step(batch))).inspect_err(|_| self.metrics.failed())?;
        let counters = engine.counters();
        self.metrics.planned(begin.elapsed(), counters - self.counted);
        self.counted = counters;
        self.engine = Some(engine);
        self.publish(wakes, since);
        Ok(())
    }

    /// A panic may have left the engine half-way: it is made anew from the state; streams keep what they have.
    fn rebuild(&mut self, since: Instant) {
        tracing::error!("planning failed unexpectedly; all proxies keep their configuration and are planned anew");
        let engine = self.new_engine();
        let batch = Batch {
            state: self.state.clone(),
            up: self.slots.values().map(|e| e.up.clone()).collect(),
            names: Some(self.names.clone()),
            ..Batch::default()
        };
        if self.run_engine(engine, batch, since).is_err() {
            tracing::error!("planning fails for this state; proxies keep their configuration until it changes");
        }
    }

    fn publish(&self, wakes: Vec<Wake<Arc<Rendered>>>, since: Instant) {
        for wake in wakes {
            let Some(entry) = self.slots.get(&wake.stream) else { continue };
            let new_set = wake.set.is_some();
            // First the set, then the word of it: a stream that is told reads what it is told of.
            if let Some((set, endpoints)) = wake.set {
                let own = Own::new((*set.own).clone());
                entry.slot.set.store(Some(Arc::new(Published { set, endpoints, own })));
            }
            {
                let mut pending = entry.slot.pending.lock().unwrap_or_else(PoisonError::into_inner);
                if pending.endpoints.len() + wake.endpoints.len() > MOST_NAMES {
                    pending.all_endpoints = true;
                    pending.endpoints.clear();
                } else {
                    pending.endpoints.extend(wake.endpoints);
                }
                pending.set |= new_set;
                pending.since.get_or_insert(since);
            }
            entry.slot.changed.notify_one();
        }
    }
}
