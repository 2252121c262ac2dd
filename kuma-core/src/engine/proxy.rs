//! A proxy that has streams, and what was planned for it.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    ProxySet, Render, StreamId,
    cohort::{CohortKey, Lists},
    planned::{PlannedInbound, PlannedWide},
};
use crate::plan::{NodeFacts, ProxyFacts};

/// A connected proxy.
pub(super) struct Proxy<U> {
    /// What it said of itself, the last time.
    pub(super) node: Arc<NodeFacts>,
    /// Its streams.
    pub(super) streams: BTreeSet<StreamId>,
    /// Streams that were told nothing yet.
    pub(super) fresh: BTreeSet<StreamId>,
    /// What was planned; `None` until its Dataplane is there.
    pub(super) planned: Option<PlannedProxy<U>>,
    /// What it has.
    pub(super) set: Option<Arc<ProxySet<U>>>,
}

/// What was planned for one proxy. It keeps this also when its Dataplane is gone: its stream decides what becomes of it.
pub(super) struct PlannedProxy<U> {
    /// What its plan is made from.
    pub(super) facts: ProxyFacts,
    /// With whom it shares its outbounds.
    pub(super) cohort: CohortKey,
    /// Its inbounds.
    pub(super) inbounds: Vec<PlannedInbound<U>>,
    /// What concerns it as a whole.
    pub(super) wide: PlannedWide<U>,
    /// Its admin listener.
    pub(super) admin: Option<U>,
}

impl<U: Clone> Proxy<U> {
    pub(super) fn new(node: Arc<NodeFacts>) -> Self {
        Self { node, streams: BTreeSet::new(), fresh: BTreeSet::new(), planned: None, set: None }
    }

    /// Puts the set together from what the cohort has and what the proxy has of its own. True if it is another now.
    pub(super) fn compose<R: Render<Unit = U>>(&mut self, shared: &Lists<U>) -> bool {
        let Some(planned) = &self.planned else { return false };
        let mut listeners = Vec::new();
        let mut clusters = Vec::new();
        for (listener, cluster) in planned.inbounds.iter().filter_map(|i| i.rendered.as_ref()) {
            listeners.push(listener.clone());
            clusters.push(cluster.clone());
        }
        let (wide, _) = &planned.wide.rendered;
        clusters.extend(wide.clusters.iter().cloned());
        listeners.extend(wide.listeners.iter().chain(&planned.admin).cloned());
        let lists = shared.and::<R>(listeners, clusters);
        let own = &planned.facts.own;
        let known = self.set.as_ref().is_some_and(|set| {
            let before = Lists { listeners: set.listeners.clone(), clusters: set.clusters.clone() };
            set.own == *own && before.same::<R>(&lists)
        });
        if !known {
            let set = ProxySet { clusters: lists.clusters, listeners: lists.listeners, own: own.clone() };
            self.set = Some(Arc::new(set));
        }
        !known
    }
}
