//! Proxies of one class with one reach: they have the same outbounds and clusters, listed once for all of them.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Render,
    class::{Class, ClassDelta},
    classes::ClassId,
    planned::Planner,
    reaches::ReachId,
    units::{sorted, with},
};
use crate::{
    ir::Name,
    kri::Kri,
    plan::{MeshFacts, OutboundRef},
};

/// What a cohort is known by.
pub(super) type CohortKey = (ClassId, ReachId);

/// The members and what they share.
pub(super) struct Cohort<U> {
    /// Names of the proxies.
    pub(super) members: BTreeSet<Name>,
    /// The clusters, sorted: whose endpoints the members read.
    pub(super) kris: Arc<[Kri]>,
    lists: Lists<U>,
}

/// Listeners and clusters, sorted by name.
#[derive(Clone)]
pub(super) struct Lists<U> {
    pub(super) listeners: Arc<[U]>,
    pub(super) clusters: Arc<[U]>,
}

impl<U> Default for Cohort<U> {
    fn default() -> Self {
        Self {
            members: BTreeSet::new(),
            kris: Arc::new([]),
            lists: Lists { listeners: Arc::new([]), clusters: Arc::new([]) },
        }
    }
}

impl<U: Clone> Cohort<U> {
    /// Whether units that came out different are among those that the members have.
    pub(super) fn concerned(&self, outbounds: &[OutboundRef], delta: &ClassDelta) -> bool {
        delta.outbounds.iter().any(|o| outbounds.binary_search(o).is_ok())
            || delta.clusters.iter().any(|c| self.kris.binary_search(c).is_ok())
    }

    /// Lists the units anew. True if the lists are others than before.
    pub(super) fn list<R: Render<Unit = U>>(
        &mut self,
        outbounds: &[OutboundRef],
        class: &mut Class<U>,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> bool {
        let mut kris: BTreeSet<Kri> = BTreeSet::new();
        let mut listeners = Vec::with_capacity(outbounds.len());
        for reference in outbounds {
            if let Some(unit) = class.outbound(reference, facts, planner) {
                kris.extend(unit.clusters.iter().cloned());
                listeners.push(unit.listener);
            }
        }
        // A cluster without a destination has no endpoints either.
        let clusters: Vec<(Kri, U)> =
            kris.into_iter().filter_map(|kri| Some((kri.clone(), class.cluster(&kri, facts, planner)?))).collect();
        let lists = Lists {
            listeners: sorted(listeners, R::name).into(),
            clusters: sorted(clusters.iter().map(|(_, unit)| unit.clone()).collect(), R::name).into(),
        };
        self.kris = clusters.into_iter().map(|(kri, _)| kri).collect();
        let differ = !lists.same::<R>(&self.lists);
        if differ {
            self.lists = lists;
        }
        differ
    }

    /// The shared lists.
    pub(super) fn lists(&self) -> &Lists<U> {
        &self.lists
    }
}

impl<U: Clone> Lists<U> {
    /// Nothing is to be sent to a proxy that has one of them in place of the other.
    pub(super) fn same<R: Render<Unit = U>>(&self, other: &Self) -> bool {
        let same = |a: &[U], b: &[U]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| R::same(a, b));
        same(&self.listeners, &other.listeners) && same(&self.clusters, &other.clusters)
    }

    /// The lists together with units that one proxy has besides.
    pub(super) fn and<R: Render<Unit = U>>(&self, listeners: Vec<U>, clusters: Vec<U>) -> Self {
        Self {
            listeners: with(&self.listeners, listeners, R::name).into(),
            clusters: with(&self.clusters, clusters, R::name).into(),
        }
    }
}
