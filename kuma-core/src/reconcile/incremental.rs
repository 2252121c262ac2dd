//! The way back, incrementally: each change is followed through indices to the services and Workloads that it concerns,
//! and only these are derived anew.

mod ahead;
mod due;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::{
    Outcome, Service, Settings, Vips, access_logs,
    hostnames::{self, Claims, Generator, ServiceRank},
    is_local,
    replicas::{Replica, Replicas},
    services, status,
    tally::Tally,
    workloads, write,
};
use crate::{
    engine::members::Members,
    meta::Meta,
    policies::MeshAccessLog,
    registry::Kind,
    resource::{AnyResource, Key, Resource, Spec},
    resources::{Dataplane, DataplaneInsight, HostnameGenerator, MeshService, MeshServicePort, Workload},
    state::MeshState,
    store::{Change, Write},
};
use due::Due;

type Name = Arc<str>;

/// What was looked at. The difference of two readings is the cost of what lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Objects read from the state.
    pub read: u64,
    /// Dataplanes that were compared with a service that selects or selected them.
    pub memberships: u64,
    /// MeshServices that were derived.
    pub services: u64,
    /// Workloads that were derived.
    pub workloads: u64,
    /// Services whose labels were compared with a HostnameGenerator that changed.
    pub compared: u64,
}

impl std::ops::Sub for Counters {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            read: self.read - before.read,
            memberships: self.memberships - before.memberships,
            services: self.services - before.services,
            workloads: self.workloads - before.workloads,
            compared: self.compared - before.compared,
        }
    }
}

/// The memory between changes. A value without clock; whoever steps it writes what comes out, and steps it again with
/// what the store then tells. A batch that was not written is derived again by the next step, whatever that is about.
pub struct Reconciler {
    settings: Settings,
    vips: Vips,
    meshes: BTreeSet<Name>,
    /// By mesh and workload.
    replicas: BTreeMap<(Name, Name), Replicas>,
    /// Mesh and name of a Dataplane to its workload.
    workloads: BTreeMap<(Name, Name), Name>,
    members: BTreeMap<Name, Members>,
    tracked: BTreeMap<Key, Tracked>,
    generators: BTreeMap<Name, Generator>,
    claims: Claims,
    due: Due,
    /// What was to be written and has not been seen since.
    unsettled: BTreeSet<Key>,
    counters: Counters,
}

/// What is known of a service, as it was derived last.
struct Tracked {
    meta: Meta,
    ports: Vec<MeshServicePort>,
    tally: Tally,
}

/// A service on its way: as stored, and as derived.
type Derived = (Option<Resource<MeshService>>, Option<Service>);

impl Reconciler {
    /// One that knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            vips: Vips::new(settings.service_range),
            settings,
            meshes: BTreeSet::new(),
            replicas: BTreeMap::new(),
            workloads: BTreeMap::new(),
            members: BTreeMap::new(),
            tracked: BTreeMap::new(),
            generators: BTreeMap::new(),
            claims: Claims::default(),
            due: Due::default(),
            unsettled: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// What was looked at so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes changes in, which led to `state`, and derives what they ask for. Without changes: what time asks for, and
    /// what an earlier step asked for in vain.
    pub fn step(&mut self, state: &MeshState, changes: &[Change], now: Timestamp) -> Outcome {
        // Services and Workloads that are to be derived.
        let mut dirty = std::mem::take(&mut self.unsettled);
        dirty.extend(self.due.until(now));
        let mut proxies: BTreeSet<(Name, Name)> = BTreeSet::new();
        for Change { key, now } in changes {
            match key.kind {
                Kind::Mesh => self.mesh(&key.name, now.is_some(), &mut dirty),
                Kind::Dataplane | Kind::DataplaneInsight => {
                    proxies.insert((key.mesh.clone(), key.name.clone()));
                }
                Kind::MeshService => {
                    if let Some(status) = now.as_ref().and_then(|r| r.status::<MeshService>()) {
                        self.vips.seen(key, &status.vips);
                    }
                    dirty.insert(key.clone());
                }
                Kind::Workload | Kind::MeshAccessLog => {
                    dirty.insert(key.clone());
                }
                Kind::HostnameGenerator => {
                    let generator = now.as_ref().and_then(AnyResource::typed::<HostnameGenerator>);
                    self.generator(&key.name, generator.as_ref(), &mut dirty);
                }
                _ => {}
            }
        }
        for (mesh, name) in proxies {
            self.proxy(state, &mesh, &name, &mut dirty);
        }
        let mut writes = BTreeMap::new();
        let (services, others): (BTreeSet<Key>, BTreeSet<Key>) =
            dirty.into_iter().partition(|k| k.kind == Kind::MeshService);
        self.derive_services(state, services, now, &mut writes);
        for key in others {
            match key.kind {
                Kind::MeshAccessLog => self.derive_access_log(state, &key, &mut writes),
                _ => self.derive_workload(state, &key, &mut writes),
            }
        }
        self.unsettled = writes.keys().cloned().collect();
        Outcome { writes: writes.into_values().collect(), due: self.due.first() }
    }

    /// A Mesh came, went or changed.
    fn mesh(&mut self, mesh: &Name, exists: bool, dirty: &mut BTreeSet<Key>) {
        let changed = if exists { self.meshes.insert(mesh.clone()) } else { self.meshes.remove(mesh) };
        if changed {
            let of_mesh = self.replicas.range((mesh.clone(), "".into())..).take_while(|((m, _), _)| m == mesh);
            for ((_, workload), _) in of_mesh {
                dirty.extend([Kind::MeshService, Kind::Workload].map(|k| Key::new(k, mesh.clone(), workload.clone())));
            }
        }
    }

    /// A HostnameGenerator came, went or changed: what it selects or selected is derived anew.
    fn generator(&mut self, name: &Name, new: Option<&Resource<HostnameGenerator>>, dirty: &mut BTreeSet<Key>) {
        let old = self.generators.remove(name);
        self.generators.extend(new.map(|g| (name.clone(), Generator::of(g))));
        let generators = [old.as_ref(), self.generators.get(name)];
        for (key, tracked) in &self.tracked {
            self.counters.compared += 1;
            if generators.into_iter().flatten().any(|g| g.selects(&tracked.meta)) {
                dirty.insert(key.clone());
            }
        }
    }

    /// A Dataplane or its stream came, went or changed.
    fn proxy(&mut self, state: &MeshState, mesh: &Name, name: &Name, dirty: &mut BTreeSet<Key>) {
        let dataplane = self.read::<Dataplane>(state, mesh, name);
        let online = self.read::<DataplaneInsight>(state, mesh, name).is_some_and(|i| i.spec().online());

        let workload: Option<Name> = dataplane.as_ref().and_then(services::workload).map(Into::into);
        let place = (mesh.clone(), name.clone());
        let before = match &workload {
            Some(workload) => self.workloads.insert(place, workload.clone()),
            None => self.workloads.remove(&place),
        };
        if let Some(before) = before.filter(|before| Some(before) != workload.as_ref()) {
            self.replica(mesh, &before, name, None, dirty);
        }
        if let (Some(workload), Some(dataplane)) = (&workload, &dataplane) {
            let replica = Replica {
                created: dataplane.meta.created,
                ports: services::ports(dataplane.spec()),
                counts: workloads::count(dataplane.spec(), online),
            };
            self.replica(mesh, workload, name, Some(replica), dirty);
        }

        let members = self.members.entry(mesh.clone()).or_default();
        let before = members.dataplane(name, None);
        let now = members.dataplane(name, dataplane.as_ref().map(|d| d.meta.labels.clone()));
        for service in before.union(&now) {
            let key = Key::new(Kind::MeshService, mesh.clone(), service.clone());
            let Some(tracked) = self.tracked.get_mut(&key) else { continue };
            self.counters.memberships += 1;
            let selected = dataplane.as_ref().filter(|_| now.contains(service));
            let part = selected.and_then(|d| status::count(&tracked.ports, d.spec(), online));
            if tracked.tally.set(name, part) {
                dirty.insert(key);
            }
        }
    }

    fn replica(
        &mut self,
        mesh: &Name,
        workload: &Name,
        name: &Name,
        replica: Option<Replica>,
        dirty: &mut BTreeSet<Key>,
    ) {
        let place = (mesh.clone(), workload.clone());
        let replicas = self.replicas.entry(place.clone()).or_default();
        let changed = replicas.set(name, replica);
        if replicas.is_empty() {
            self.replicas.remove(&place);
        }
        if changed.wanted {
            dirty.insert(Key::new(Kind::MeshService, mesh.clone(), workload.clone()));
        }
        if changed.counts {
            dirty.insert(Key::new(Kind::Workload, mesh.clone(), workload.clone()));
        }
    }

    /// Derives services, and those that win or lose a hostname by that.
    fn derive_services(
        &mut self,
        state: &MeshState,
        mut queue: BTreeSet<Key>,
        now: Timestamp,
        writes: &mut BTreeMap<Key, Write>,
    ) {
        let mut derived: BTreeMap<Key, Derived> = BTreeMap::new();
        while let Some(key) = queue.pop_first() {
            let (service, affected) = self.derive_service(state, &key, now);
            derived.insert(key, service);
            queue.extend(affected.into_iter().filter(|key| !derived.contains_key(key)));
        }
        let mut waiting: Vec<(ServiceRank, &Key)> = Vec::new();
        for (key, (stored, service)) in &derived {
            if let Some(service) = service.as_ref().filter(|s| s.status.vips.is_empty()) {
                waiting.push((hostnames::rank(&service.meta, stored.as_ref().map(|s| &s.meta)), key));
            }
        }
        waiting.sort();
        let mut vips: BTreeMap<Key, _> =
            waiting.into_iter().filter_map(|(_, key)| Some((key.clone(), self.vips.give(key)?))).collect();
        for (key, (stored, mut service)) in derived {
            if let Some(service) = &mut service {
                service.status.vips.extend(vips.remove(&key));
                self.claims.settle(&key, service);
                if let Some(tracked) = self.tracked.get(&key).filter(|_| is_local(&service.meta)) {
                    status::update(service, tracked.tally.sum());
                }
            }
            let needed = write(&key, stored.map(Into::into), service.map(Service::erase));
            writes.extend(needed.map(|write| (key, write)));
        }
    }

    /// Derives a service but for its status, and tracks it. Returns services that win or lose a hostname as well.
    fn derive_service(&mut self, state: &MeshState, key: &Key, now: Timestamp) -> (Derived, BTreeSet<Key>) {
        self.counters.services += 1;
        let stored = self.read::<MeshService>(state, &key.mesh, &key.name);
        let ports = stored.as_ref().map(|s| s.spec().ports.as_slice());
        let replicas = self.replicas.get(&(key.mesh.clone(), key.name.clone()));
        let wanted = replicas.filter(|_| self.meshes.contains(&key.mesh)).and_then(|r| r.wanted(ports));
        let decision = services::decide(key, stored.as_ref(), wanted, &self.settings, now);
        self.due.set(key, decision.due);
        let Some(service) = &decision.service else {
            self.members.entry(key.mesh.clone()).or_default().service(&key.name, None);
            self.tracked.remove(key);
            let affected = self.claims.set(key, ServiceRank::default(), Vec::new());
            return ((stored, None), affected);
        };
        self.track(state, key, service);
        let claims = self.generators.values().filter_map(|g| g.claim(&service.meta, &self.settings)).collect();
        let rank = hostnames::rank(&service.meta, stored.as_ref().map(|s| &s.meta));
        let affected = self.claims.set(key, rank, claims);
        ((stored, decision.service), affected)
    }

    /// Follows the Dataplanes of a service; they are counted anew only if the service selects or counts differently.
    fn track(&mut self, state: &MeshState, key: &Key, service: &Service) {
        let selector = is_local(&service.meta).then_some(&service.spec.selector);
        let members = self.members.entry(key.mesh.clone()).or_default();
        let reselected = members.service(&key.name, selector);
        if let Some(tracked) = self.tracked.get_mut(key)
            && !reselected
            && tracked.ports == service.spec.ports
        {
            tracked.meta = service.meta.clone();
            return;
        }
        let names = members.of(&key.name);
        let mut tally = Tally::default();
        for name in names {
            self.counters.memberships += 1;
            let Some(dataplane) = self.read::<Dataplane>(state, &key.mesh, &name) else { continue };
            let online = self.read::<DataplaneInsight>(state, &key.mesh, &name).is_some_and(|i| i.spec().online());
            tally.set(&name, status::count(&service.spec.ports, dataplane.spec(), online));
        }
        let tracked = Tracked { meta: service.meta.clone(), ports: service.spec.ports.clone(), tally };
        self.tracked.insert(key.clone(), tracked);
    }

    fn derive_workload(&mut self, state: &MeshState, key: &Key, writes: &mut BTreeMap<Key, Write>) {
        self.counters.workloads += 1;
        let stored = self.read::<Workload>(state, &key.mesh, &key.name);
        let replicas = self.replicas.get(&(key.mesh.clone(), key.name.clone()));
        let counts = replicas.filter(|_| self.meshes.contains(&key.mesh)).map(Replicas::counts);
        let derived = workloads::decide(key, stored.as_ref(), counts, &self.settings);
        writes.extend(write(key, stored.map(Into::into), derived).map(|write| (key.clone(), write)));
    }

    fn derive_access_log(&mut self, state: &MeshState, key: &Key, writes: &mut BTreeMap<Key, Write>) {
        let Some(stored) = self.read::<MeshAccessLog>(state, &key.mesh, &key.name) else { return };
        let derived = access_logs::decide(&stored);
        writes.extend(write(key, Some(stored.erase()), Some(derived)).map(|write| (key.clone(), write)));
    }

    /// The only way to the state, so that all that is read is counted.
    fn read<S: Spec>(&mut self, state: &MeshState, mesh: &Name, name: &Name) -> Option<Resource<S>> {
        self.counters.read += 1;
        state.get(&Key::new(S::DESCRIPTOR.kind, mesh.clone(), name.clone()))?.typed()
    }
}
