//! Incremental planning: changes in, the proxies that they concern and their new resources out.
//!
//! The same unit functions as in [`crate::plan`], with memory around them. A value without thread or clock; the shell
//! steps it with batches of changes and of streams that came or went, and gets back which streams to wake.
//!
//! Endpoints are not part of a proxy's set: they lie in one [`EndpointTable`] that all streams read, so that an
//! endpoint that comes or goes is rendered once and plans nothing.

mod compose;
pub mod counters;
pub mod interner;
pub mod members;
pub mod render;
mod table;
pub mod units;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    ir::{self, Name},
    plan::{MeshFacts, Names, NodeFacts, PlanSettings, ProxyFacts, plan_proxy},
    registry::{Kind, Role},
    resource::{AnyResource, Key},
    state::MeshState,
    store::Change,
};

pub use counters::Counters;
pub use render::{Render, WideUnits};
pub use table::EndpointTable;

use compose::{Composer, Held};

/// A stream of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A stream that came.
#[derive(Clone, Debug)]
pub struct Up {
    /// Its id, never used before.
    pub stream: StreamId,
    /// Mesh of the proxy.
    pub mesh: Name,
    /// Storage name of its Dataplane.
    pub name: Name,
    /// What the proxy said of itself.
    pub node: Arc<NodeFacts>,
}

/// What happened since the last step.
#[derive(Clone, Default)]
pub struct Batch {
    /// The state after all changes; `None` if nothing was stored.
    pub state: Option<MeshState>,
    /// What changed in it.
    pub changes: Vec<Change>,
    /// Streams that came.
    pub up: Vec<Up>,
    /// Streams that went.
    pub down: Vec<StreamId>,
    /// Addresses of all DNS names that Dataplanes carry, if one of them changed.
    pub names: Option<Arc<Names>>,
    /// Units that hold issued material are to be rendered anew.
    pub rerender: bool,
}

impl Batch {
    /// Nothing happened.
    pub fn is_empty(&self) -> bool {
        self.state.is_none() && self.up.is_empty() && self.down.is_empty() && self.names.is_none() && !self.rerender
    }
}

/// What one proxy is to have, endpoints apart.
#[derive(Clone, Debug)]
pub struct ProxySet<U> {
    /// Clusters, sorted by name.
    pub clusters: Arc<[U]>,
    /// Listeners, sorted by name.
    pub listeners: Arc<[U]>,
    /// What fills placeholders.
    pub own: Arc<ir::Own>,
}

/// A stream that something is new for.
#[derive(Clone, Debug)]
pub struct Wake<U> {
    /// Which stream.
    pub stream: StreamId,
    /// Its new set, if that changed, and where the endpoints are.
    pub set: Option<(Arc<ProxySet<U>>, Arc<EndpointTable<U>>)>,
    /// Clusters of it whose endpoints changed.
    pub endpoints: Vec<Name>,
}

type ProxyKey = (Name, Name);

/// A proxy that has streams.
struct Proxy<U> {
    node: Arc<NodeFacts>,
    streams: BTreeSet<StreamId>,
    set: Option<Arc<ProxySet<U>>>,
    /// Names of its clusters that have endpoints.
    clusters: BTreeSet<Name>,
    /// Units of the set, kept so that others find them rendered.
    held: Held,
}

/// The engine.
pub struct Engine<R: Render> {
    settings: PlanSettings,
    composer: Composer<R>,
    state: Option<MeshState>,
    names: Arc<Names>,
    proxies: BTreeMap<ProxyKey, Proxy<R::Unit>>,
    streams: HashMap<StreamId, ProxyKey>,
    table: Arc<EndpointTable<R::Unit>>,
    endpoints: BTreeMap<Name, Arc<ir::Endpoints>>,
    counters: Counters,
}

impl<R: Render> Engine<R> {
    /// An engine that knows nothing yet.
    pub fn new(settings: PlanSettings, render: R) -> Self {
        Self {
            settings,
            composer: Composer::new(render),
            state: None,
            names: Arc::default(),
            proxies: BTreeMap::new(),
            streams: HashMap::new(),
            table: Arc::default(),
            endpoints: BTreeMap::new(),
            counters: Counters::default(),
        }
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes a batch in; returns the streams to wake, each once.
    pub fn step(&mut self, batch: Batch) -> Vec<Wake<R::Unit>> {
        self.counters.batches += 1;
        let mut dirty: BTreeSet<ProxyKey> = BTreeSet::new();
        self.streams_changed(&batch, &mut dirty);
        let touched = self.touched(&batch);
        if let Some(state) = batch.state {
            let first = self.state.replace(state).is_none();
            dirty.extend(self.proxies.keys().filter(|(mesh, _)| first || touched.contains(mesh)).cloned());
        }
        let renamed = batch.names.is_some_and(|names| std::mem::replace(&mut self.names, names.clone()) != names);
        if renamed || batch.rerender {
            dirty.extend(self.proxies.keys().cloned());
        }
        let wakes = self.replan(dirty);
        self.counters.woken += wakes.len() as u64;
        wakes
    }

    fn streams_changed(&mut self, batch: &Batch, dirty: &mut BTreeSet<ProxyKey>) {
        for up in &batch.up {
            let key = (up.mesh.clone(), up.name.clone());
            let proxy = self.proxies.entry(key.clone()).or_insert_with(|| Proxy {
                node: up.node.clone(),
                streams: BTreeSet::new(),
                set: None,
                clusters: BTreeSet::new(),
                held: Held::new(),
            });
            proxy.node = up.node.clone();
            // A new stream is told its set even if that is the one of an older stream.
            proxy.set = None;
            proxy.streams.insert(up.stream);
            self.streams.insert(up.stream, key.clone());
            dirty.insert(key);
        }
        for stream in &batch.down {
            let Some(key) = self.streams.remove(stream) else { continue };
            if let Some(proxy) = self.proxies.get_mut(&key) {
                proxy.streams.remove(stream);
                if proxy.streams.is_empty() {
                    self.proxies.remove(&key);
                    dirty.remove(&key);
                }
            }
        }
        if !batch.down.is_empty() {
            self.sweep();
        }
    }

    /// Meshes in which something changed that plans read.
    fn touched(&self, batch: &Batch) -> BTreeSet<Name> {
        let mut meshes = BTreeSet::new();
        for change in &batch.changes {
            let key = &change.key;
            let reads = match key.kind.descriptor().role {
                Role::Insight | Role::Secret => false,
                Role::System => key.kind == Kind::Mesh,
                Role::Policy(_) | Role::Destination | Role::Proxy => true,
            };
            if reads && !self.equal_content(key, change.now.as_ref()) {
                let mesh = if key.kind == Kind::Mesh { &key.name } else { &key.mesh };
                meshes.insert(mesh.clone());
            }
        }
        meshes
    }

    /// A write that changed nothing but times and version.
    fn equal_content(&self, key: &Key, now: Option<&AnyResource>) -> bool {
        match (self.state.as_ref().and_then(|s| s.get(key)), now) {
            (Some(old), Some(new)) => old.same_content(new),
            (None, None) => true,
            _ => false,
        }
    }

    /// Plans these proxies; a proxy whose set comes out equal is not woken.
    fn replan(&mut self, dirty: BTreeSet<ProxyKey>) -> Vec<Wake<R::Unit>> {
        let Some(state) = &self.state else { return Vec::new() };
        let mut meshes: BTreeMap<Name, MeshFacts> = BTreeMap::new();
        let mut changed_sets: BTreeSet<ProxyKey> = BTreeSet::new();
        let mut changed_endpoints: BTreeSet<Name> = BTreeSet::new();
        for key in dirty {
            let Some(proxy) = self.proxies.get_mut(&key) else { continue };
            // A proxy whose Dataplane is gone keeps what it has: its stream decides what becomes of it.
            let facts = meshes.entry(key.0.clone()).or_insert_with_key(|mesh| MeshFacts::of(state, mesh, &self.names));
            let Some(dataplane) = facts.dataplanes.get(&key.1) else { continue };
            let proxy_facts = ProxyFacts::new(dataplane.clone(), &proxy.node);
            let plan = plan_proxy(facts, &self.settings, &proxy_facts, false);
            for (name, endpoints) in &plan.endpoints {
                if self.endpoints.get(name).is_none_or(|known| known != endpoints) {
                    let unit = self.composer.endpoints(name, endpoints, &mut self.counters);
                    self.table.set(name.clone(), unit);
                    self.endpoints.insert(name.clone(), endpoints.clone());
                    changed_endpoints.insert(name.clone());
                }
            }
            proxy.clusters = plan.endpoints.keys().cloned().collect();
            let (set, held) = self.composer.compose(&plan, &proxy_facts.own, &mut self.counters);
            proxy.held = held;
            if !proxy.set.as_ref().is_some_and(|old| same_set::<R>(old, &set)) {
                proxy.set = Some(Arc::new(set));
                changed_sets.insert(key);
            }
        }
        let table = &self.table;
        let mut wakes = Vec::new();
        for (key, proxy) in &self.proxies {
            let set = proxy.set.as_ref().filter(|_| changed_sets.contains(key));
            let endpoints: Vec<Name> = if changed_endpoints.is_empty() {
                Vec::new()
            } else {
                changed_endpoints.iter().filter(|name| proxy.clusters.contains(*name)).cloned().collect()
            };
            if set.is_none() && endpoints.is_empty() {
                continue;
            }
            for stream in &proxy.streams {
                let set = set.map(|set| (set.clone(), table.clone()));
                wakes.push(Wake { stream: *stream, set, endpoints: endpoints.clone() });
            }
        }
        wakes
    }

    /// Forgets what no proxy uses any more.
    fn sweep(&mut self) {
        self.composer.sweep();
        let used: BTreeSet<&Name> = self.proxies.values().flat_map(|p| &p.clusters).collect();
        let gone: Vec<Name> = self.endpoints.keys().filter(|name| !used.contains(name)).cloned().collect();
        for name in gone {
            self.endpoints.remove(&name);
            self.table.remove(&name);
        }
    }
}

fn same_set<R: Render>(old: &ProxySet<R::Unit>, new: &ProxySet<R::Unit>) -> bool {
    let same = |a: &[R::Unit], b: &[R::Unit]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| R::same(a, b));
    old.own == new.own && same(&old.clusters, &new.clusters) && same(&old.listeners, &new.listeners)
}
