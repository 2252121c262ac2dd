//! One mesh: what its connected proxies have, brought up to date change by change.
//!
//! A step goes through the layers in order: projections, classes and reach lists, the proxies whose matching may
//! differ, the cohorts whose lists may, endpoints, and last the sets of the proxies that something of theirs changed
//! for. Each layer hands on only what came out different.

mod concern;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    EndpointTable, Render, StreamId, Up, Wake,
    class::{Class, ClassChange},
    classes::Classes,
    cohort::{Cohort, CohortKey},
    planned::{PlannedWide, Planner},
    projections::{DataplaneChange, Delta, Projections},
    proxy::{PlannedProxy, Proxy},
    reaches::Reaches,
    served::Served,
};
use crate::{
    ir::Name,
    kri::Kri,
    plan::{
        MatchedSet, Names, OutboundPolicies, PlanSettings, ProxyFacts, ReachInputs, WideInputs, direct_access,
        dns_labels, inbound_inputs, serves_dns,
    },
    policies::AccessLogs,
    registry::Kind,
    resource::Key,
    state::MeshState,
};

/// What lies around all meshes.
pub(super) struct Shared<'a, R: Render> {
    pub(super) settings: &'a PlanSettings,
    pub(super) names: &'a Names,
    pub(super) table: &'a Arc<EndpointTable<R::Unit>>,
    pub(super) planner: &'a mut Planner<R>,
}

/// What happened in one mesh.
#[derive(Default)]
pub(super) struct Events<'a> {
    /// What is stored now, if it is known.
    pub(super) state: Option<&'a MeshState>,
    /// Keys under which something may differ.
    pub(super) keys: BTreeSet<Key>,
    /// Streams that came.
    pub(super) up: Vec<&'a Up>,
    /// DNS names lead elsewhere.
    pub(super) renamed: bool,
    /// Units that hold issued material are to be rendered anew.
    pub(super) rerender: bool,
}

/// A mesh with connected proxies.
pub(super) struct MeshEngine<R: Render> {
    mesh: Name,
    projections: Option<Projections>,
    proxies: BTreeMap<Name, Proxy<R::Unit>>,
    classes: Classes<R::Unit>,
    reaches: Reaches,
    cohorts: BTreeMap<CohortKey, Cohort<R::Unit>>,
    served: Served,
}

/// What is left to do in a step.
#[derive(Default)]
struct Todo {
    /// Proxies to be matched and planned.
    plan: BTreeSet<Name>,
    /// Proxies whose proxy-wide unit may differ.
    wide: BTreeSet<Name>,
    /// Proxies whose admin listener is to be rendered.
    admin: BTreeSet<Name>,
    /// Proxies whose set is to be put together.
    compose: BTreeSet<Name>,
    /// Cohorts whose lists may differ.
    cohorts: BTreeSet<CohortKey>,
}

impl<R: Render> MeshEngine<R> {
    pub(super) fn new(mesh: Name) -> Self {
        Self {
            mesh,
            projections: None,
            proxies: BTreeMap::new(),
            classes: Classes::default(),
            reaches: Reaches::default(),
            cohorts: BTreeMap::new(),
            served: Served::default(),
        }
    }

    /// A stream went. What only its proxy used is forgotten with the next step.
    pub(super) fn down(&mut self, name: &Name, stream: StreamId) {
        if let Some(proxy) = self.proxies.get_mut(name) {
            proxy.streams.remove(&stream);
            proxy.fresh.remove(&stream);
            if proxy.streams.is_empty() {
                let cohort = proxy.planned.as_ref().map(|p| p.cohort);
                if let Some(cohort) = cohort.and_then(|key| self.cohorts.get_mut(&key)) {
                    cohort.members.remove(name);
                }
                self.proxies.remove(name);
            }
        }
    }

    /// No proxy is connected any more.
    pub(super) fn is_empty(&self) -> bool {
        self.proxies.is_empty()
    }

    /// Takes in what happened; returns the streams to wake, each once.
    pub(super) fn step(&mut self, events: &Events<'_>, shared: &mut Shared<'_, R>) -> Vec<Wake<R::Unit>> {
        let mut todo = Todo::default();
        for up in &events.up {
            let proxy = self.proxies.entry(up.name.clone()).or_insert_with(|| Proxy::new(up.node.clone()));
            proxy.streams.insert(up.stream);
            proxy.fresh.insert(up.stream);
            if proxy.planned.is_none() || proxy.node != up.node {
                todo.plan.insert(up.name.clone());
            }
            proxy.node = up.node.clone();
        }
        if events.rerender {
            todo.admin.extend(self.proxies.keys().cloned());
        }
        if self.projections.is_none() {
            todo.plan.extend(self.proxies.keys().cloned());
        }
        let Some(delta) = self.project(events, shared) else { return Vec::new() };
        let changed = self.apply(&delta, &mut todo, shared);
        self.plan_proxies(&mut todo, shared);
        self.list_cohorts(&mut todo, shared);
        let endpoints = match &self.projections {
            Some(projections) => {
                let changed = self.served.update(&changed, projections, shared.table, shared.planner);
                self.readers(changed)
            }
            None => BTreeMap::new(),
        };
        self.plan_wides(&mut todo, shared);
        let sets = self.compose(&todo, shared);
        self.forget_unused(shared);
        self.wakes(events, &sets, endpoints, shared)
    }

    /// Brings the projections up to date; `None` before anything is known.
    fn project(&mut self, events: &Events<'_>, shared: &Shared<'_, R>) -> Option<Delta> {
        let state = events.state?;
        let Some(projections) = &mut self.projections else {
            self.projections = Some(Projections::of(state, &self.mesh, shared.names));
            return Some(Delta::default());
        };
        let mut keys = events.keys.clone();
        if events.renamed {
            keys.extend(projections.behind_names(&self.mesh));
        }
        Some(projections.apply(&keys, state, shared.names))
    }

    /// Brings classes and reach lists up to date, and finds out whom the difference concerns. Returns the destinations
    /// whose endpoints may differ.
    fn apply(&mut self, delta: &Delta, todo: &mut Todo, shared: &mut Shared<'_, R>) -> BTreeSet<Kri> {
        let Some(projections) = &self.projections else { return BTreeSet::new() };
        let facts = &projections.facts;
        for (name, change) in &delta.dataplanes {
            if change.of_proxy() && self.proxies.contains_key(name) {
                todo.plan.insert(name.clone());
            }
        }
        if delta.dataplanes.values().any(DataplaneChange::of_direct_access) {
            todo.wide.extend(self.with_direct_access());
        }
        if !delta.mesh && delta.destinations.is_empty() && delta.policies.is_empty() {
            return delta.serving.clone();
        }
        if !delta.policies.is_empty() {
            todo.plan.extend(self.concerned(&delta.policies, &facts.policies.route_heads()));
        }
        if !delta.destinations.is_empty() {
            let moved = delta.destinations.iter().flat_map(|d| d.vips.iter().cloned()).collect();
            todo.plan.extend(self.listening_on(&moved));
        }
        let counters = &mut shared.planner.counters;
        let reaches = self.reaches.update(&delta.destinations, &facts.destinations, counters);
        let names: BTreeSet<(Kind, Name)> = delta
            .policies
            .iter()
            .flat_map(|p| p.old.iter().chain(&p.new))
            .map(|h| (h.kind, h.meta.name.clone()))
            .collect();
        let change = ClassChange {
            mesh: delta.mesh,
            destinations: &delta.destinations,
            routes: names.iter().any(|(kind, _)| *kind == Kind::MeshHTTPRoute),
        };
        let classes = self.classes.update(&names, &change, facts, shared.planner);
        for (key, cohort) in &self.cohorts {
            let (class, reach) = key;
            let outbounds = self.reaches.get(*reach).map(|r| &*r.outbounds).unwrap_or_default();
            if reaches.outbounds.contains(reach)
                || classes.get(class).is_some_and(|delta| cohort.concerned(outbounds, delta))
            {
                todo.cohorts.insert(*key);
            }
        }
        todo.wide.extend(self.with_hostnames_of(&reaches));
        todo.wide.extend(self.leaving_otherwise(&classes));
        delta.serving.clone()
    }

    /// Matches and plans proxies; a proxy without a Dataplane keeps what it has.
    fn plan_proxies(&mut self, todo: &mut Todo, shared: &mut Shared<'_, R>) {
        let Some(projections) = &self.projections else { return };
        let facts = &projections.facts;
        let routes = if todo.plan.is_empty() { Vec::new() } else { facts.policies.route_heads() };
        for name in &todo.plan {
            let Some(proxy) = self.proxies.get_mut(name) else { continue };
            let Some(dataplane) = facts.dataplanes.get(name) else { continue };
            shared.planner.counters.proxies_matched += 1;
            let new = ProxyFacts::new(dataplane.clone(), &proxy.node);
            let internal = shared.settings.internal(new.traits.ipv6);
            let matched = MatchedSet::among(&facts.policies, &routes, dataplane, false);
            let inbounds: Vec<_> = inbound_inputs(&new, &matched, &internal)
                .into_iter()
                .map(|inputs| shared.planner.inbound(inputs))
                .collect();
            let before = proxy.planned.as_ref().map(|p| p.cohort);
            let class = self.classes.id(
                OutboundPolicies::of(&matched),
                (new.traits.ipv6, internal),
                before.map(|(class, _)| class),
                facts,
                shared.planner,
            );
            let inputs = ReachInputs::of(&new, &facts.destinations);
            let cohort = (class, self.reaches.id(inputs, &facts.destinations, &mut shared.planner.counters));
            if before != Some(cohort) || !self.cohorts.contains_key(&cohort) {
                if let Some(old) = before.and_then(|key| self.cohorts.get_mut(&key)) {
                    old.members.remove(name);
                }
                if !self.cohorts.contains_key(&cohort) {
                    todo.cohorts.insert(cohort);
                }
                self.cohorts.entry(cohort).or_default().members.insert(name.clone());
            }
            let same_own =
                proxy.planned.as_ref().is_some_and(|p| p.facts.own == new.own && p.facts.traits == new.traits);
            if !same_own {
                todo.admin.insert(name.clone());
            }
            let logs = self.classes.get(class).and_then(Class::access_logs_of_leaving);
            let wide = wide_unit(&new, (cohort, logs), &mut self.reaches, projections, shared.planner);
            let admin = proxy.planned.take().and_then(|p| p.admin);
            proxy.planned = Some(PlannedProxy { facts: new, cohort, inbounds, wide, admin });
            todo.compose.insert(name.clone());
        }
    }

    /// Lists the units of cohorts anew, and has their endpoints ready before anyone is told.
    fn list_cohorts(&mut self, todo: &mut Todo, shared: &mut Shared<'_, R>) {
        let Some(projections) = &self.projections else { return };
        for key in &todo.cohorts {
            let (class, reach) = key;
            let (Some(cohort), Some(class), Some(reach)) =
                (self.cohorts.get_mut(key), self.classes.get_mut(*class), self.reaches.get(*reach))
            else {
                continue;
            };
            let before = cohort.kris.clone();
            let differ = cohort.list(&reach.outbounds, class, &projections.facts, shared.planner);
            self.served.use_by(*key, (&before, &cohort.kris), projections, shared.table, shared.planner);
            if differ {
                todo.compose.extend(cohort.members.iter().cloned());
            }
        }
    }

    fn plan_wides(&mut self, todo: &mut Todo, shared: &mut Shared<'_, R>) {
        let Some(projections) = &self.projections else { return };
        for name in &todo.wide {
            let Some(planned) = self.proxies.get_mut(name).and_then(|p| p.planned.as_mut()) else { continue };
            let cohort = planned.cohort;
            let logs = self.classes.get(cohort.0).and_then(Class::access_logs_of_leaving);
            let wide = wide_unit(&planned.facts, (cohort, logs), &mut self.reaches, projections, shared.planner);
            if !Arc::ptr_eq(&wide, &planned.wide) {
                planned.wide = wide;
                todo.compose.insert(name.clone());
            }
        }
        for name in &todo.admin {
            let Some(planned) = self.proxies.get_mut(name).and_then(|p| p.planned.as_mut()) else { continue };
            let (_, admin) = &planned.wide.rendered;
            planned.admin = admin.as_ref().and_then(|a| shared.planner.admin(a, &planned.facts.own));
            todo.compose.insert(name.clone());
        }
    }

    /// Puts sets together; returns the proxies whose set differs.
    fn compose(&mut self, todo: &Todo, shared: &mut Shared<'_, R>) -> BTreeSet<Name> {
        let mut changed = BTreeSet::new();
        for name in &todo.compose {
            let Some(proxy) = self.proxies.get_mut(name) else { continue };
            let Some(cohort) = proxy.planned.as_ref().and_then(|p| self.cohorts.get(&p.cohort)) else { continue };
            shared.planner.counters.sets += 1;
            if proxy.compose::<R>(cohort.lists()) {
                changed.insert(name.clone());
            }
        }
        changed
    }

    fn wakes(
        &mut self,
        events: &Events<'_>,
        sets: &BTreeSet<Name>,
        mut endpoints: BTreeMap<Name, Vec<Name>>,
        shared: &Shared<'_, R>,
    ) -> Vec<Wake<R::Unit>> {
        let mut concerned: BTreeSet<Name> = sets.clone();
        concerned.extend(endpoints.keys().cloned());
        concerned.extend(events.up.iter().map(|up| up.name.clone()));
        let mut wakes = Vec::new();
        for name in concerned {
            let Some(proxy) = self.proxies.get_mut(&name) else { continue };
            let Some(set) = &proxy.set else { continue };
            let endpoints = endpoints.remove(&name).unwrap_or_default();
            for stream in &proxy.streams {
                let told = sets.contains(&name) || proxy.fresh.contains(stream);
                if told || !endpoints.is_empty() {
                    let set = told.then(|| (set.clone(), shared.table.clone()));
                    wakes.push(Wake { stream: *stream, set, endpoints: endpoints.clone() });
                }
            }
            proxy.fresh.clear();
        }
        wakes
    }

    /// Forgets cohorts without members, and what only they used.
    fn forget_unused(&mut self, shared: &mut Shared<'_, R>) {
        let Some(projections) = &self.projections else { return };
        let empty = self.cohorts.iter().filter(|(_, cohort)| cohort.members.is_empty());
        let empty: Vec<CohortKey> = empty.map(|(key, _)| *key).collect();
        for key in &empty {
            if let Some(cohort) = self.cohorts.remove(key) {
                self.served.use_by(*key, (&cohort.kris, &[]), projections, shared.table, shared.planner);
            }
        }
        if !empty.is_empty() {
            self.classes.retain(&self.cohorts.keys().map(|(class, _)| *class).collect());
            self.reaches.retain(&self.cohorts.keys().map(|(_, reach)| *reach).collect());
        }
        for (id, class) in self.classes.iter_mut().filter(|(_, class)| class.wants_pruning()) {
            let cohorts = || self.cohorts.iter().filter(|((class, _), _)| *class == id);
            let reaches = cohorts().filter_map(|((_, reach), _)| self.reaches.get(*reach));
            let outbounds = reaches.flat_map(|reach| reach.outbounds.iter()).collect();
            class.prune(&outbounds, &cohorts().flat_map(|(_, cohort)| cohort.kris.iter()).collect());
        }
    }
}

/// What concerns a proxy as a whole.
fn wide_unit<R: Render>(
    proxy: &ProxyFacts,
    (cohort, access_logs): (CohortKey, Option<Arc<AccessLogs>>),
    reaches: &mut Reaches,
    projections: &Projections,
    planner: &mut Planner<R>,
) -> PlannedWide<R::Unit> {
    let (dataplane, traits) = (&proxy.dataplane, proxy.traits);
    let reach = if serves_dns(&traits) { reaches.get_mut(cohort.1) } else { None };
    let dns = reach.map(|reach| reach.dns(dns_labels(dataplane), traits.redirect_ipv6));
    // Without records most are the same.
    let hint: Name = dns.as_ref().map_or_else(String::new, |_| cohort.1.to_string()).into();
    let direct_access = direct_access(dataplane, &traits, projections.facts.dataplanes.values());
    planner.wide(&hint, WideInputs { traits, direct_access, dns, access_logs })
}
