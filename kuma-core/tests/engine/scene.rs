//! An engine with the state that it follows and the streams that it serves.

use std::{collections::BTreeMap, sync::Arc};

use kuma_core::{
    engine::{Batch, Counters, Engine, StreamId, Up},
    plan::{Names, NodeFacts, PlanSettings},
    resource::{AnyResource, Key},
    state::MeshState,
    store::{Change, WatchEvent},
};
use serde_json::Value;

use crate::{
    clients::{Client, from_scratch},
    generated::stored,
    printer::Printer,
};

/// The engine and all around it.
pub(crate) struct Scene {
    pub(crate) engine: Engine<Printer>,
    pub(crate) clients: BTreeMap<StreamId, Client>,
    pub(crate) names: Arc<Names>,
    settings: PlanSettings,
    state: MeshState,
    batch: Batch,
    next: u64,
}

impl Scene {
    /// Nothing is stored, nobody connected.
    pub(crate) fn new() -> Self {
        let settings = PlanSettings::default();
        Self {
            engine: Engine::new(settings.clone(), Printer),
            clients: BTreeMap::new(),
            names: Arc::default(),
            settings,
            state: MeshState::new(),
            batch: Batch::default(),
            next: 0,
        }
    }

    /// A mesh with these resources, as the first state.
    pub(crate) fn with(documents: impl IntoIterator<Item = Value>) -> Self {
        let mut scene = Self::new();
        for document in documents {
            scene.put(document);
        }
        scene.batch.state = Some(scene.state.clone());
        scene.step().unwrap();
        scene
    }

    pub(crate) fn put(&mut self, document: Value) {
        let resource = stored(document);
        self.change(resource.key(), Some(resource));
    }

    pub(crate) fn delete(&mut self, key: Key) {
        if self.state.get(&key).is_some() {
            self.change(key, None);
        }
    }

    fn change(&mut self, key: Key, now: Option<AnyResource>) {
        let change = Change { key, now };
        let revision = self.state.revision();
        self.state.apply(&WatchEvent::Changes { revision, changes: vec![change.clone()].into() });
        self.batch.changes.push(change);
        self.batch.state = Some(self.state.clone());
    }

    pub(crate) fn connect(&mut self, proxy: &str, node: &Arc<NodeFacts>) -> StreamId {
        self.next += 1;
        let stream = StreamId(self.next);
        self.batch.up.push(Up { stream, mesh: "default".into(), name: proxy.into(), node: node.clone() });
        self.clients.insert(stream, Client::new(stream, proxy, node));
        stream
    }

    pub(crate) fn disconnect(&mut self, stream: StreamId) {
        if self.clients.remove(&stream).is_some() {
            self.batch.down.push(stream);
        }
    }

    pub(crate) fn rename(&mut self, names: Names) {
        self.names = Arc::new(names);
        self.batch.names = Some(self.names.clone());
    }

    /// Steps the engine and lets the streams see what they are woken for. Returns the streams that were.
    pub(crate) fn step(&mut self) -> Result<Vec<StreamId>, String> {
        // What a proxy says of itself the last time counts for all of its streams.
        for up in self.batch.up.iter().filter(|up| !self.batch.down.contains(&up.stream)) {
            for client in self.clients.values_mut().filter(|c| c.proxy == up.name) {
                client.node = up.node.clone();
            }
        }
        let wakes = self.engine.step(std::mem::take(&mut self.batch));
        let mut woken = Vec::new();
        for wake in &wakes {
            let client = self.clients.get_mut(&wake.stream).ok_or("a stream that is gone was woken")?;
            client.wake(wake).map_err(|e| format!("{} of {}: {e}", wake.stream.0, client.proxy))?;
            woken.push(wake.stream);
        }
        woken.sort();
        if woken.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("a stream was woken twice".into());
        }
        Ok(woken)
    }

    /// Steps; the work of it and who was woken.
    pub(crate) fn cost(&mut self) -> (Counters, Vec<StreamId>) {
        let before = self.engine.counters();
        let woken = self.step().unwrap();
        (self.engine.counters() - before, woken)
    }

    /// Every proxy with a Dataplane has what a plan from scratch says.
    pub(crate) fn check(&self) -> Result<(), String> {
        for client in self.clients.values() {
            let Some(wanted) = from_scratch(&self.state, &self.names, &self.settings, client) else { continue };
            let has = client.has.as_ref().ok_or_else(|| format!("{} was told nothing", client.proxy))?;
            for (what, (has, wanted)) in
                ["listeners", "clusters", "endpoints", "placeholders"].iter().zip(has.iter().zip(&wanted))
            {
                if has != wanted {
                    return Err(format!("{what} of {}:\n has    {has:#?}\n wanted {wanted:#?}", client.proxy));
                }
            }
        }
        Ok(())
    }
}
