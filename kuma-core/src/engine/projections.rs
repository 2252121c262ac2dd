//! What plans read of one mesh, kept up to date change by change; what no plan can tell apart ends here.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::members::Members;
use crate::{
    ir::{Endpoints, Name},
    kri::Kri,
    plan::{DataplaneFacts, Destination, DestinationKind, MeshFacts, Names, PolicyChange, ServiceSelector, Serving},
    registry::Kind,
    resource::{Key, Resource},
    resources::{Dataplane, DataplaneRef, LabelSelector, MeshService, MeshServiceSelector},
    state::MeshState,
};

/// Projections of a mesh, and the indices that tell what a change concerns.
#[derive(Debug)]
pub(super) struct Projections {
    /// The projections themselves.
    pub(super) facts: MeshFacts,
    members: Members,
    /// Dataplanes that carry DNS names instead of addresses.
    named: BTreeSet<Name>,
}

/// What differs between two readings of the projections.
#[derive(Debug, Default)]
pub(super) struct Delta {
    /// The Mesh itself came or went: nothing that was concluded before holds.
    pub(super) mesh: bool,
    /// Destinations that differ, as they were and as they are.
    pub(super) destinations: Vec<Arc<Destination>>,
    /// Destinations whose endpoints may differ.
    pub(super) serving: BTreeSet<Kri>,
    /// Dataplanes that differ.
    pub(super) dataplanes: BTreeMap<Name, DataplaneChange>,
    /// Policies that differ.
    pub(super) policies: Vec<PolicyChange>,
}

/// A Dataplane as it was and as it is.
#[derive(Debug)]
pub(super) struct DataplaneChange {
    pub(super) old: Option<Arc<DataplaneFacts>>,
    pub(super) new: Option<Arc<DataplaneFacts>>,
}

impl DataplaneChange {
    /// Its own proxy is configured otherwise: more differs than who takes traffic.
    pub(super) fn of_proxy(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => {
                let ready = new.ready.clone();
                DataplaneFacts { ready, ..(**old).clone() } != **new
            }
            _ => true,
        }
    }

    /// Others that reach it by its own address are configured otherwise.
    pub(super) fn of_direct_access(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => {
                old.labels != new.labels || old.address != new.address || old.inbounds != new.inbounds
            }
            _ => true,
        }
    }
}

impl Projections {
    /// Projections of everything that is stored.
    pub(super) fn of(state: &MeshState, mesh: &str, names: &Names) -> Self {
        let facts = MeshFacts::of(state, mesh, names);
        let mut members = Members::default();
        for (name, serving) in &facts.serving {
            members.service(name, Some(&selector(serving)));
        }
        for (name, dataplane) in &facts.dataplanes {
            members.dataplane(name, Some(dataplane.labels.clone()));
        }
        let named = state.typed_in::<Dataplane>(mesh).filter(carries_names).map(|d| d.meta.name.clone()).collect();
        Self { facts, members, named }
    }

    /// Takes in what is stored now under these keys of the mesh.
    pub(super) fn apply(&mut self, keys: &BTreeSet<Key>, state: &MeshState, names: &Names) -> Delta {
        let mut delta = Delta::default();
        for key in keys {
            match key.kind {
                Kind::Mesh => {
                    let mesh = state.get(key).map(|m| m.meta.name.clone());
                    delta.mesh |= self.facts.mesh.is_some() != mesh.is_some();
                    self.facts.mesh = mesh;
                }
                Kind::MeshService => self.service(key, state, &mut delta),
                Kind::Dataplane => self.dataplane(key, state, names, &mut delta),
                _ => delta.policies.extend(self.facts.policies.apply(key, state)),
            }
        }
        delta
    }

    /// Keys of the Dataplanes that are to be read again when DNS names lead elsewhere.
    pub(super) fn behind_names(&self, mesh: &Name) -> BTreeSet<Key> {
        self.named.iter().map(|name| Key::new(Kind::Dataplane, mesh.clone(), name.clone())).collect()
    }

    /// Who is behind a cluster.
    pub(super) fn endpoints(&self, cluster: &Kri) -> Endpoints {
        self.facts.endpoints_among(cluster, |service| {
            let names = self.members.of(service);
            names.into_iter().filter_map(|name| self.facts.dataplanes.get(&name)).collect::<Vec<_>>()
        })
    }

    fn service(&mut self, key: &Key, state: &MeshState, delta: &mut Delta) {
        let new: Option<Resource<MeshService>> = state.find(&key.mesh, &key.name);
        let serving = new.as_ref().map(|s| Arc::new(Serving::of(s)));
        let new = new.map(|s| Arc::new(Destination::of_service(&s)));
        let old = self.facts.destinations.stored(DestinationKind::MeshService, &key.name).cloned();
        let serving_differs = self.facts.serving.get(&key.name) != serving.as_ref();
        if old == new && !serving_differs {
            return;
        }
        let kris: BTreeSet<Kri> = old.iter().chain(&new).map(|d| d.kri.clone()).collect();
        self.members.service(&key.name, serving.as_deref().map(selector).as_ref());
        match serving {
            Some(serving) => drop(self.facts.serving.insert(key.name.clone(), serving)),
            None => drop(self.facts.serving.remove(&key.name)),
        }
        let holders = |facts: &MeshFacts| kris.iter().filter_map(|k| facts.destinations.get(k)).cloned().collect();
        let mut differing: Vec<Arc<Destination>> = holders(&self.facts);
        match &new {
            Some(new) => self.facts.destinations.insert(new.clone()),
            None => drop(self.facts.destinations.remove(DestinationKind::MeshService, &key.name)),
        }
        if old != new {
            // Of two services with one KRI another may hold it now.
            differing.extend(holders(&self.facts));
            differing.extend(old.into_iter().chain(new));
            delta.destinations.extend(differing);
        }
        delta.serving.extend(kris);
    }

    fn dataplane(&mut self, key: &Key, state: &MeshState, names: &Names, delta: &mut Delta) {
        let stored: Option<Resource<Dataplane>> = state.find(&key.mesh, &key.name);
        if stored.as_ref().is_some_and(carries_names) {
            self.named.insert(key.name.clone());
        } else {
            self.named.remove(&key.name);
        }
        let new = stored.and_then(|d| DataplaneFacts::of(&d, names)).map(Arc::new);
        let old = self.facts.dataplanes.get(&key.name).cloned();
        if old == new {
            return;
        }
        let services = self.members.dataplane(&key.name, new.as_ref().map(|d| d.labels.clone()));
        let stored = |name: &Name| self.facts.destinations.stored(DestinationKind::MeshService, name);
        delta.serving.extend(services.iter().filter_map(stored).map(|d| d.kri.clone()));
        match &new {
            Some(new) => drop(self.facts.dataplanes.insert(key.name.clone(), new.clone())),
            None => drop(self.facts.dataplanes.remove(&key.name)),
        }
        delta.dataplanes.insert(key.name.clone(), DataplaneChange { old, new });
    }
}

fn selector(serving: &Serving) -> MeshServiceSelector {
    match &serving.selector {
        ServiceSelector::Nobody => MeshServiceSelector::default(),
        ServiceSelector::Labels(labels) => MeshServiceSelector {
            dataplane_labels: Some(LabelSelector::of((**labels).clone())),
            ..MeshServiceSelector::default()
        },
        ServiceSelector::Named(name) => MeshServiceSelector {
            dataplane_ref: Some(DataplaneRef { name: name.to_string() }),
            ..MeshServiceSelector::default()
        },
    }
}

fn carries_names(dataplane: &Resource<Dataplane>) -> bool {
    let is_name = |text: &str| !text.is_empty() && text.parse::<IpAddr>().is_err();
    let networking = dataplane.spec().networking.as_ref();
    networking.is_some_and(|n| is_name(&n.address) || n.listeners.iter().any(|l| is_name(&l.address)))
}
