//! A class of proxies: what matching found for them, what it says, and the units that follow, planned on demand and
//! kept as long as what they were planned from stays the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Render,
    planned::{OutboundUnit, PlannedCluster, PlannedOutbound, Planner},
};
use crate::{
    ir::CidrText,
    kri::Kri,
    plan::{
        Around, BackendQuestion, ClusterInputs, Destination, MeshFacts, OutboundPolicies, OutboundRef, OutboundRules,
        PolicyNames, Touched, http_questions, outbound_inputs, tcp_questions,
    },
    policies::AccessLogs,
};

/// Fewest units that are kept before looking for unused ones is worth it.
const FLOOR: usize = 64;

/// What all members have in common: all that their outbounds and clusters depend on, besides the destinations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClassKey {
    /// The policies about destinations that select them, in order.
    pub(super) policies: PolicyNames,
    /// Their hosts have IPv6.
    pub ipv6: bool,
}

/// A class.
pub(super) struct Class<U> {
    policies: OutboundPolicies,
    rules: OutboundRules,
    internal: Arc<[CidrText]>,
    outbounds: BTreeMap<OutboundRef, Outbound<U>>,
    clusters: BTreeMap<Kri, Option<PlannedCluster<U>>>,
    prune_at: usize,
}

#[derive(Clone)]
struct Outbound<U> {
    /// `None` if its destination or port does not exist.
    unit: Option<PlannedOutbound<U>>,
    /// What resolving its routes asked.
    questions: Arc<[BackendQuestion]>,
}

/// What changed around a class.
#[derive(Clone, Copy)]
pub(super) struct ClassChange<'a> {
    /// The Mesh itself came or went.
    pub(super) mesh: bool,
    /// Destinations that differ, as they were and as they are.
    pub(super) destinations: &'a [Arc<Destination>],
    /// Some HTTP route is another.
    pub(super) routes: bool,
}

/// Units of a class that came out different.
#[derive(Debug, Default)]
pub(super) struct ClassDelta {
    /// Outbounds.
    pub(super) outbounds: BTreeSet<OutboundRef>,
    /// Clusters.
    pub(super) clusters: BTreeSet<Kri>,
    /// What is said of traffic to no destination of the mesh.
    pub(super) leaving: bool,
}

impl ClassDelta {
    /// None did.
    pub(super) fn is_empty(&self) -> bool {
        self.outbounds.is_empty() && self.clusters.is_empty() && !self.leaving
    }
}

impl<U: Clone> Class<U> {
    /// A class with these policies. What `like`, a class that its members were in before, has planned is taken over
    /// where nothing that it depends on differs.
    pub(super) fn new<R: Render<Unit = U>>(
        policies: OutboundPolicies,
        internal: Arc<[CidrText]>,
        like: Option<&Self>,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> Self {
        planner.counters.classes += 1;
        let like = like.filter(|l| l.internal == internal);
        let mut class = Self {
            policies: like.map(|l| l.policies.clone()).unwrap_or_default(),
            rules: like.map(|l| l.rules.clone()).unwrap_or_default(),
            internal,
            outbounds: like.map(|l| l.outbounds.clone()).unwrap_or_default(),
            clusters: like.map(|l| l.clusters.clone()).unwrap_or_default(),
            prune_at: like.map_or(FLOOR, |l| l.prune_at),
        };
        class.update(policies, &ClassChange { mesh: false, destinations: &[], routes: false }, facts, planner);
        class
    }

    /// What is written about traffic of the members to no destination of the mesh.
    pub(super) fn access_logs_of_leaving(&self) -> Option<Arc<AccessLogs>> {
        self.rules.access_logs_of_leaving()
    }

    /// The policies as they were when the class was last updated.
    pub(super) fn policies(&self) -> &OutboundPolicies {
        &self.policies
    }

    /// Takes in what changed; tells which units differ now.
    pub(super) fn update<R: Render<Unit = U>>(
        &mut self,
        policies: OutboundPolicies,
        change: &ClassChange<'_>,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> ClassDelta {
        let context = facts.rule_context();
        let around = Around { mesh: change.mesh, destinations: change.destinations, routes: change.routes };
        let built = &mut planner.counters.rule_tables;
        let (rules, touched) = self.rules.rebuild((&self.policies, &policies), &context, &around, built);
        let leaving = self.rules.access_logs_of_leaving();
        (self.rules, self.policies) = (rules, policies);
        let moved: BTreeSet<Kri> = change.destinations.iter().map(|d| d.kri.clone()).collect();
        let mut delta = ClassDelta { leaving: leaving != self.rules.access_logs_of_leaving(), ..ClassDelta::default() };
        if touched.is_empty() && moved.is_empty() {
            return delta;
        }
        let concerns = |kri: &Kri| touched.concerns(kri) || moved.contains(&kri.whole());
        let outbounds = self.outbounds.iter().filter(|(reference, outbound)| {
            concerns(&reference.destination) || outbound.asked(&touched, change.destinations)
        });
        let outbounds: Vec<OutboundRef> = outbounds.map(|(reference, _)| reference.clone()).collect();
        for reference in outbounds {
            let new = self.plan_outbound(&reference, facts, planner);
            let old = self.outbounds.insert(reference.clone(), new.clone());
            if !same_arc(old.as_ref().and_then(|o| o.unit.as_ref()), new.unit.as_ref()) {
                delta.outbounds.insert(reference);
            }
        }
        let clusters: Vec<Kri> = self.clusters.keys().filter(|kri| concerns(kri)).cloned().collect();
        for kri in clusters {
            let new = self.plan_cluster(&kri, facts, planner);
            let old = self.clusters.insert(kri.clone(), new.clone());
            if !same_arc(old.as_ref().and_then(Option::as_ref), new.as_ref()) {
                delta.clusters.insert(kri);
            }
        }
        delta
    }

    /// The listener of an outbound and the clusters that it sends to; `None` if there is nothing to send to.
    pub(super) fn outbound<R: Render<Unit = U>>(
        &mut self,
        reference: &OutboundRef,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> Option<OutboundUnit<U>> {
        if !self.outbounds.contains_key(reference) {
            let planned = self.plan_outbound(reference, facts, planner);
            self.outbounds.insert(reference.clone(), planned);
        }
        self.outbounds.get(reference)?.unit.as_ref()?.rendered.clone()
    }

    /// A cluster; `None` if there is no such destination or port.
    pub(super) fn cluster<R: Render<Unit = U>>(
        &mut self,
        kri: &Kri,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> Option<U> {
        if !self.clusters.contains_key(kri) {
            let planned = self.plan_cluster(kri, facts, planner);
            self.clusters.insert(kri.clone(), planned);
        }
        Some(self.clusters.get(kri)?.as_ref()?.rendered.clone())
    }

    fn plan_outbound<R: Render<Unit = U>>(
        &self,
        reference: &OutboundRef,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> Outbound<U> {
        let kri = &reference.destination;
        let inputs = outbound_inputs(reference, &self.rules, &facts.rule_context(), self.internal.clone());
        let http = self.rules.http.compute(kri).map(http_questions);
        let tcp = self.rules.tcp.compute(kri).map(tcp_questions);
        Outbound {
            unit: inputs.map(|inputs| planner.outbound(inputs)),
            questions: http.into_iter().chain(tcp).flatten().collect(),
        }
    }

    fn plan_cluster<R: Render<Unit = U>>(
        &self,
        kri: &Kri,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> Option<PlannedCluster<U>> {
        let destination = facts.destinations.get(kri)?;
        let inputs = ClusterInputs::of(kri, destination, &self.rules.timeouts, &self.rules.breakers)?;
        Some(planner.cluster(inputs))
    }

    /// So many units are kept that some of them are probably unused.
    pub(super) fn wants_pruning(&self) -> bool {
        self.outbounds.len() + self.clusters.len() >= self.prune_at
    }

    /// Forgets units that no member uses.
    pub(super) fn prune(&mut self, outbounds: &BTreeSet<&OutboundRef>, clusters: &BTreeSet<&Kri>) {
        self.outbounds.retain(|reference, _| outbounds.contains(reference));
        self.clusters.retain(|kri, _| clusters.contains(kri));
        self.prune_at = (2 * (self.outbounds.len() + self.clusters.len())).max(FLOOR);
    }
}

impl<U> Outbound<U> {
    /// Whether an answer that it was planned from may be another: where its routes lead, and what is said of them.
    fn asked(&self, touched: &Touched, destinations: &[Arc<Destination>]) -> bool {
        if self.questions.iter().any(|q| destinations.iter().any(|d| q.about(d))) {
            return true;
        }
        let http = self.unit.as_ref().and_then(|unit| unit.inputs.http.as_ref());
        !touched.kris.is_empty()
            && http.is_some_and(|http| http.route_kris().any(|(_, kri)| touched.kris.contains(&kri.whole())))
    }
}

fn same_arc<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}
