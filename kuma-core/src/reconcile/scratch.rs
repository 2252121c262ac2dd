//! The way back from scratch, without any memory but that of addresses: the reference for the incremental way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Outcome, Service, Settings, Vips, access_logs,
    hostnames::{self, Claim, Generator, ServiceRank},
    is_local,
    services::{self, Wanted},
    status, workloads, write,
};
use crate::{
    policies::MeshAccessLog,
    registry::Kind,
    resource::{Key, Resource, Spec},
    resources::{
        Dataplane, DataplaneInsight, HostnameGenerator, MeshService, MeshServicePort, ServiceProxies, Workload,
        WorkloadProxies,
    },
    state::MeshState,
    store::Write,
};

/// Derives what is missing in `state`. `vips` remembers addresses that were handed out since this instance leads.
pub fn reconcile(state: &MeshState, settings: &Settings, now: Timestamp, vips: &mut Vips) -> Outcome {
    let world = World::of(state);
    let mut writes: BTreeMap<Key, Write> = BTreeMap::new();
    let mut due = None;
    let mut services: BTreeMap<Key, Service> = BTreeMap::new();
    let asked = world.asked_services();
    for key in world.services.keys().chain(asked.keys()).collect::<BTreeSet<_>>() {
        let stored = world.services.get(key);
        let candidates = asked.get(key).map_or(&[][..], Vec::as_slice);
        let wanted = candidates.first().map(|(since, ports)| Wanted {
            since: *since,
            ports,
            confirmed: candidates.iter().any(|(_, ports)| stored.is_some_and(|s| s.spec().ports == *ports)),
        });
        let decision = services::decide(key, stored, wanted, settings, now);
        due = [due, decision.due].into_iter().flatten().min();
        services.extend(decision.service.map(|service| (key.clone(), service)));
    }
    give_addresses(&mut services, &world, vips);
    give_hostnames(&mut services, &world, settings);
    for (key, service) in &mut services {
        if is_local(&service.meta) {
            status::update(service, world.selected(key, service));
        }
    }
    for key in world.services.keys().chain(services.keys()) {
        let derived = services.get(key).cloned().map(Service::erase);
        writes.extend(write(key, world.services.get(key).map(Resource::erase), derived).map(|w| (key.clone(), w)));
    }
    let counted = world.counted_workloads();
    for key in world.workloads.keys().chain(counted.keys()) {
        let stored = world.workloads.get(key);
        let derived = workloads::decide(key, stored, counted.get(key).copied(), settings);
        writes.extend(write(key, stored.map(Resource::erase), derived).map(|w| (key.clone(), w)));
    }
    for (key, stored) in &typed::<MeshAccessLog>(state) {
        let derived = access_logs::decide(stored);
        writes.extend(write(key, Some(stored.erase()), Some(derived)).map(|w| (key.clone(), w)));
    }
    Outcome { writes: writes.into_values().collect(), due }
}

/// Everything that is read, typed.
struct World {
    meshes: BTreeSet<Arc<str>>,
    dataplanes: BTreeMap<Key, Resource<Dataplane>>,
    online: BTreeSet<Key>,
    services: BTreeMap<Key, Resource<MeshService>>,
    workloads: BTreeMap<Key, Resource<Workload>>,
    generators: Vec<Generator>,
}

impl World {
    fn of(state: &MeshState) -> Self {
        let generators = typed::<HostnameGenerator>(state);
        let mut generators: Vec<Generator> = generators.values().map(Generator::of).collect();
        generators.sort_by(|a, b| a.rank.cmp(&b.rank));
        let online = |insight: &Resource<DataplaneInsight>| insight.spec().online();
        Self {
            meshes: state.list(Kind::Mesh).map(|m| m.meta.name.clone()).collect(),
            dataplanes: typed(state),
            online: typed(state)
                .into_iter()
                .filter(|(_, insight)| online(insight))
                .map(|(key, _)| Key { kind: Kind::Dataplane, ..key })
                .collect(),
            services: typed(state),
            workloads: typed(state),
            generators,
        }
    }

    /// Age and ports of the Dataplanes that ask for a service, by service, oldest first.
    fn asked_services(&self) -> BTreeMap<Key, Vec<(Timestamp, Vec<MeshServicePort>)>> {
        let mut by_age: Vec<_> = self.dataplanes.iter().collect();
        by_age.sort_by(|(a, x), (b, y)| (x.meta.created, &a.name).cmp(&(y.meta.created, &b.name)));
        let mut asked: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, dataplane) in by_age {
            let ports = services::ports(dataplane.spec());
            if let Some(workload) = self.workload(dataplane).filter(|_| !ports.is_empty()) {
                let service = Key::new(Kind::MeshService, key.mesh.clone(), workload);
                asked.entry(service).or_default().push((dataplane.meta.created, ports));
            }
        }
        asked
    }

    fn counted_workloads(&self) -> BTreeMap<Key, WorkloadProxies> {
        let mut counted: BTreeMap<Key, WorkloadProxies> = BTreeMap::new();
        for (key, dataplane) in &self.dataplanes {
            let Some(workload) = self.workload(dataplane) else { continue };
            let sum = counted.entry(Key::new(Kind::Workload, key.mesh.clone(), workload)).or_default();
            let WorkloadProxies { connected, healthy, total } =
                workloads::count(dataplane.spec(), self.online.contains(key));
            sum.connected += connected;
            sum.healthy += healthy;
            sum.total += total;
        }
        counted
    }

    fn workload<'a>(&self, dataplane: &'a Resource<Dataplane>) -> Option<&'a str> {
        services::workload(dataplane).filter(|_| self.meshes.contains(&dataplane.meta.mesh))
    }

    /// How many proxies a service selects.
    fn selected(&self, key: &Key, service: &Service) -> ServiceProxies {
        let selector = &service.spec.selector;
        let mut sum = ServiceProxies::default();
        for (dataplane_key, dataplane) in self.dataplanes.iter().filter(|(k, _)| k.mesh == key.mesh) {
            let by_labels = selector.dataplane_labels.as_ref().is_some_and(|l| l.matches(&dataplane.meta.labels));
            let by_name = selector.dataplane_ref.as_ref().is_some_and(|r| *r.name == *dataplane_key.name);
            let online = self.online.contains(dataplane_key);
            let part = status::count(&service.spec.ports, dataplane.spec(), online).filter(|_| by_labels || by_name);
            let ServiceProxies { connected, healthy, total } = part.unwrap_or_default();
            sum.connected += connected;
            sum.healthy += healthy;
            sum.total += total;
        }
        sum
    }

    fn rank(&self, key: &Key, service: &Service) -> ServiceRank {
        hostnames::rank(&service.meta, self.services.get(key).map(|stored| &stored.meta))
    }
}

fn give_addresses(services: &mut BTreeMap<Key, Service>, world: &World, vips: &mut Vips) {
    for (key, stored) in &world.services {
        vips.seen(key, &stored.status().vips);
    }
    let mut waiting: Vec<(ServiceRank, Key)> = services
        .iter()
        .filter(|(_, s)| s.status.vips.is_empty())
        .map(|(key, service)| (world.rank(key, service), key.clone()))
        .collect();
    waiting.sort();
    for (_, key) in waiting {
        if let (Some(service), Some(vip)) = (services.get_mut(&key), vips.give(&key)) {
            service.status.vips = vec![vip];
        }
    }
}

/// Generator by generator, and for each of them service by service: whoever comes first has the hostname.
fn give_hostnames(services: &mut BTreeMap<Key, Service>, world: &World, settings: &Settings) {
    let mut by_age: Vec<(ServiceRank, Key)> =
        services.iter().map(|(key, service)| (world.rank(key, service), key.clone())).collect();
    by_age.sort();
    let mut owners: BTreeMap<(Arc<str>, String), Key> = BTreeMap::new();
    let mut claims: BTreeMap<Key, Vec<Claim>> = BTreeMap::new();
    for generator in &world.generators {
        for (_, key) in &by_age {
            let Some(claim) = services.get(key).and_then(|s| generator.claim(&s.meta, settings)) else { continue };
            if let Ok(hostname) = &claim.hostname {
                owners.entry((key.mesh.clone(), hostname.clone())).or_insert_with(|| key.clone());
            }
            claims.entry(key.clone()).or_default().push(claim);
        }
    }
    for (key, service) in services {
        let claims = claims.get(key).map_or(&[][..], Vec::as_slice);
        hostnames::settle(claims, service, |hostname| {
            owners.get(&(key.mesh.clone(), hostname.to_owned())) == Some(key)
        });
    }
}

/// All objects of a kind, of all meshes.
fn typed<S: Spec>(state: &MeshState) -> BTreeMap<Key, Resource<S>> {
    state.list(S::DESCRIPTOR.kind).filter_map(|r| Some((r.key(), r.typed()?))).collect()
}
