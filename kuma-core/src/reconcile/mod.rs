//! The way back: what the control plane derives from resources and stores itself. Generated MeshServices and
//! Workloads, virtual addresses, hostnames and statuses, as one batch of writes that leads to a fixed point.
//!
//! The steps work on one copy in memory, each on what the ones before it made: nobody waits for a write of another.
//! A step that finds nothing to change leaves its objects untouched, and untouched objects are not written.

mod hostnames;
mod services;
mod status;
mod vips;
mod workloads;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use ipnet::Ipv4Net;
use jiff::Timestamp;

use crate::{
    engine::members::Members,
    meta::Meta,
    registry::Kind,
    resource::{AnyResource, Key, Resource},
    resources::{Dataplane, DataplaneInsight, HostnameGenerator, MeshService, MeshServiceStatus, Workload},
    state::MeshState,
    store::Write,
};

pub use vips::Vips;

/// Settings of all steps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the own zone.
    pub zone: Arc<str>,
    /// MeshServices are made from `kuma.io/workload`.
    pub generate_services: bool,
    /// Workloads are made from `kuma.io/workload`.
    pub generate_workloads: bool,
    /// How old a Dataplane is before a MeshService is made for it: whoever applies a MeshService of his own right after
    /// a Dataplane creates it, and does not find one that he takes over.
    pub settle: Duration,
    /// How long a generated MeshService stays when nobody serves it any more.
    pub grace_period: Duration,
    /// Where virtual addresses of MeshServices come from.
    pub service_range: Ipv4Net,
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Writes that lead to the fixed point; nothing if it is reached.
    pub writes: Vec<Write>,
    /// When time alone will ask for more.
    pub due: Option<Timestamp>,
}

/// Derives what is missing in `state`. `vips` remembers addresses that were handed out since this instance leads.
pub fn reconcile(state: &MeshState, settings: &Settings, now: Timestamp, vips: &mut Vips) -> Outcome {
    let mut work = Work::new(state);
    let mut due = None;
    if settings.generate_services {
        due = services::generate(&mut work, settings, now);
    }
    if settings.generate_workloads {
        workloads::generate(&mut work, settings);
    }
    vips.assign(&mut work);
    hostnames::generate(&mut work, settings);
    status::update(&mut work);
    Outcome { writes: work.into_writes(), due }
}

/// A MeshService while it is worked on.
#[derive(Clone, Debug)]
struct Service {
    meta: Meta,
    spec: MeshService,
    status: MeshServiceStatus,
}

/// One copy of everything that the steps read and change.
struct Work {
    meshes: BTreeSet<Arc<str>>,
    services: BTreeMap<Key, Service>,
    stored_services: BTreeMap<Key, Resource<MeshService>>,
    workloads: BTreeMap<Key, (Meta, crate::resources::WorkloadStatus)>,
    stored_workloads: BTreeMap<Key, Resource<Workload>>,
    dataplanes: BTreeMap<Key, Resource<Dataplane>>,
    members: BTreeMap<Arc<str>, Members>,
    online: BTreeSet<(Arc<str>, Arc<str>)>,
    generators: Vec<Resource<HostnameGenerator>>,
}

impl Work {
    fn new(state: &MeshState) -> Self {
        let stored_services = typed::<MeshService>(state);
        let stored_workloads = typed::<Workload>(state);
        let dataplanes = typed::<Dataplane>(state);
        let mut members: BTreeMap<Arc<str>, Members> = BTreeMap::new();
        for (key, dataplane) in &dataplanes {
            let labels = Some(dataplane.meta.labels.clone());
            members.entry(key.mesh.clone()).or_default().dataplane(&key.name, labels);
        }
        let service = |r: &Resource<MeshService>| Service {
            meta: r.meta.clone(),
            spec: r.spec().clone(),
            status: r.status().clone(),
        };
        Self {
            meshes: state.list(Kind::Mesh).map(|m| m.meta.name.clone()).collect(),
            services: stored_services.iter().map(|(k, r)| (k.clone(), service(r))).collect(),
            workloads: stored_workloads
                .iter()
                .map(|(k, r)| (k.clone(), (r.meta.clone(), r.status().clone())))
                .collect(),
            online: state
                .list(Kind::DataplaneInsight)
                .filter(|r| r.spec::<DataplaneInsight>().is_some_and(DataplaneInsight::online))
                .map(|r| (r.meta.mesh.clone(), r.meta.name.clone()))
                .collect(),
            generators: typed(state).into_values().collect(),
            stored_services,
            stored_workloads,
            dataplanes,
            members,
        }
    }

    /// Dataplanes with their keys, oldest first.
    fn by_age(&self) -> Vec<(&Key, &Resource<Dataplane>)> {
        let mut all: Vec<_> = self.dataplanes.iter().collect();
        all.sort_by(|(a, x), (b, y)| (x.meta.created, &a.name).cmp(&(y.meta.created, &b.name)));
        all
    }

    /// The Dataplanes that a service selects.
    fn selected(&mut self, service: &Key) -> Vec<Resource<Dataplane>> {
        let Some(work) = self.services.get(service) else { return Vec::new() };
        let Some(members) = self.members.get_mut(&service.mesh) else { return Vec::new() };
        members.service(&service.name, Some(&work.spec.selector));
        let names = members.of(&service.name);
        let key = |name| Key::new(Kind::Dataplane, service.mesh.clone(), name);
        names.into_iter().filter_map(|name| self.dataplanes.get(&key(name)).cloned()).collect()
    }

    fn into_writes(self) -> Vec<Write> {
        let mut writes = Vec::new();
        let owner = |mesh: &Arc<str>| Some(Key::new(Kind::Mesh, "", mesh.clone()));
        for (key, service) in &self.services {
            let resource = AnyResource::new(service.meta.clone(), service.spec.clone(), service.status.clone());
            match self.stored_services.get(key) {
                None => writes.push(Write::Create { resource, owner: owner(&key.mesh) }),
                Some(stored) if stored.erase().same_content(&resource) => {}
                Some(stored) => writes.push(Write::Update { resource, expected: stored.meta.version }),
            }
        }
        for (key, (meta, status)) in &self.workloads {
            let resource = AnyResource::new(meta.clone(), Workload {}, status.clone());
            match self.stored_workloads.get(key) {
                None => writes.push(Write::Create { resource, owner: owner(&key.mesh) }),
                Some(stored) if stored.erase().same_content(&resource) => {}
                Some(stored) => writes.push(Write::Update { resource, expected: stored.meta.version }),
            }
        }
        let gone_services = self.stored_services.iter().filter(|(k, _)| !self.services.contains_key(*k));
        let gone_workloads = self.stored_workloads.iter().filter(|(k, _)| !self.workloads.contains_key(*k));
        let gone =
            gone_services.map(|(k, r)| (k, r.meta.version)).chain(gone_workloads.map(|(k, r)| (k, r.meta.version)));
        writes.extend(gone.map(|(key, version)| Write::Delete { key: key.clone(), expected: Some(version) }));
        writes
    }
}

/// All objects of a kind, of all meshes.
fn typed<S: crate::resource::Spec>(state: &MeshState) -> BTreeMap<Key, Resource<S>> {
    state.list(S::DESCRIPTOR.kind).filter_map(|r| Some((r.key(), r.typed()?))).collect()
}

/// It was not copied here from elsewhere.
fn is_local(meta: &Meta) -> bool {
    meta.label(crate::meta::label::ORIGIN).is_none_or(|origin| origin == "zone")
}

#[cfg(test)]
mod tests;
