//! Incremental planning: changes in, the proxies that they concern and their new resources out.
//!
//! The same unit functions as in [`crate::plan`], with memory around them. A value without thread or clock; the shell
//! steps it with batches of changes and of streams that came or went, and gets back which streams to wake.
//!
//! Endpoints are not part of a proxy's set: they lie in one [`EndpointTable`] that all streams read, so that an
//! endpoint that comes or goes is rendered once and plans nothing.

mod class;
mod classes;
mod cohort;
pub mod counters;
pub mod members;
mod mesh;
mod planned;
mod projections;
mod proxy;
mod reaches;
pub mod render;
mod served;
mod table;
pub mod units;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    ir::{self, Name},
    plan::{Names, NodeFacts, PlanSettings},
    registry::{Kind, Role},
    resource::Key,
    state::MeshState,
    store::Change,
};

pub use counters::Counters;
pub use render::{Render, WideUnits};
pub use table::EndpointTable;

use mesh::{Events, MeshEngine, Shared};
use planned::Planner;

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

/// The engine.
pub struct Engine<R: Render> {
    settings: PlanSettings,
    planner: Planner<R>,
    state: Option<MeshState>,
    names: Arc<Names>,
    meshes: BTreeMap<Name, MeshEngine<R>>,
    streams: HashMap<StreamId, (Name, Name)>,
    table: Arc<EndpointTable<R::Unit>>,
}

impl<R: Render> Engine<R> {
    /// An engine that knows nothing yet.
    pub fn new(settings: PlanSettings, render: R) -> Self {
        Self {
            settings,
            planner: Planner::new(render),
            state: None,
            names: Arc::default(),
            meshes: BTreeMap::new(),
            streams: HashMap::new(),
            table: Arc::default(),
        }
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        self.planner.counters
    }

    /// Takes a batch in; returns the streams to wake, each once.
    pub fn step(&mut self, batch: Batch) -> Vec<Wake<R::Unit>> {
        self.planner.counters.batches += 1;
        let gone: BTreeSet<StreamId> = batch.down.iter().copied().collect();
        let mut events: BTreeMap<Name, Events<'_>> = BTreeMap::new();
        for up in batch.up.iter().filter(|up| !gone.contains(&up.stream)) {
            self.streams.insert(up.stream, (up.mesh.clone(), up.name.clone()));
            self.meshes.entry(up.mesh.clone()).or_insert_with(|| MeshEngine::new(up.mesh.clone()));
            events.entry(up.mesh.clone()).or_default().up.push(up);
        }
        for (mesh, key) in batch.changes.iter().filter_map(planned_from) {
            events.entry(mesh.clone()).or_default().keys.insert(key.clone());
        }
        let renamed = batch.names.is_some_and(|names| std::mem::replace(&mut self.names, names.clone()) != names);
        let first = batch.state.is_some() && self.state.is_none();
        if let Some(state) = batch.state {
            self.state = Some(state);
        }
        if renamed || first || batch.rerender {
            for mesh in self.meshes.keys() {
                let events = events.entry(mesh.clone()).or_default();
                (events.renamed, events.rerender) = (renamed, batch.rerender);
            }
        }
        let mut shared =
            Shared { settings: &self.settings, names: &self.names, table: &self.table, planner: &mut self.planner };
        for stream in &batch.down {
            let Some((mesh, name)) = self.streams.remove(stream) else { continue };
            if let Some(engine) = self.meshes.get_mut(&mesh) {
                engine.down(&name, *stream);
                // What only this proxy used is forgotten in the step.
                events.entry(mesh).or_default();
            }
        }
        let mut wakes = Vec::new();
        for (mesh, mut events) in events {
            let Some(engine) = self.meshes.get_mut(&mesh) else { continue };
            events.state = self.state.as_ref();
            wakes.extend(engine.step(&events, &mut shared));
            if engine.is_empty() {
                self.meshes.remove(&mesh);
            }
        }
        if !batch.down.is_empty() {
            self.planner.sweep();
        }
        self.planner.counters.woken += wakes.len() as u64;
        wakes
    }
}

/// The mesh whose plans read this object, if any do.
fn planned_from(change: &Change) -> Option<(&Name, &Key)> {
    let key = &change.key;
    match key.kind.descriptor().role {
        Role::System if key.kind == Kind::Mesh => Some((&key.name, key)),
        Role::Insight | Role::Secret | Role::System => None,
        Role::Policy(_) | Role::Destination | Role::Proxy => Some((&key.mesh, key)),
    }
}
