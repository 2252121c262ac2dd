//! Endpoints of the clusters that somebody has: computed when they may have changed, rendered when they did.

use std::collections::{BTreeMap, BTreeSet};

use super::{EndpointTable, Render, cohort::CohortKey, planned::Planner, projections::Projections};
use crate::{
    ir::{Endpoints, Name},
    kri::Kri,
};

/// Endpoints of one mesh, by the KRI that names the cluster.
#[derive(Debug, Default)]
pub(super) struct Served {
    clusters: BTreeMap<Kri, Cluster>,
    /// Those that were computed in this step already.
    fresh: BTreeSet<Kri>,
}

#[derive(Debug)]
struct Cluster {
    name: Name,
    endpoints: Endpoints,
    users: BTreeSet<CohortKey>,
}

impl Served {
    /// A cohort that had the clusters `old` has `new` ones.
    pub(super) fn use_by<R: Render>(
        &mut self,
        cohort: CohortKey,
        (old, new): (&[Kri], &[Kri]),
        projections: &Projections,
        table: &EndpointTable<R::Unit>,
        planner: &mut Planner<R>,
    ) {
        for kri in new.iter().filter(|kri| old.binary_search(kri).is_err()) {
            let cluster = self.clusters.entry(kri.clone()).or_insert_with(|| {
                self.fresh.insert(kri.clone());
                let cluster = Cluster {
                    name: kri.to_string().into(),
                    endpoints: projections.endpoints(kri),
                    users: BTreeSet::new(),
                };
                planner.counters.endpoints += 1;
                table.set(cluster.name.clone(), planner.endpoints(&cluster.name, &cluster.endpoints));
                cluster
            });
            cluster.users.insert(cohort);
        }
        for kri in old.iter().filter(|kri| new.binary_search(kri).is_err()) {
            let Some(cluster) = self.clusters.get_mut(kri) else { continue };
            cluster.users.remove(&cohort);
            if cluster.users.is_empty() {
                table.remove(&cluster.name);
                self.clusters.remove(kri);
            }
        }
    }

    /// Looks at the endpoints of these destinations again. Returns the clusters where they differ, with their users.
    pub(super) fn update<R: Render>(
        &mut self,
        destinations: &BTreeSet<Kri>,
        projections: &Projections,
        table: &EndpointTable<R::Unit>,
        planner: &mut Planner<R>,
    ) -> Vec<(Name, BTreeSet<CohortKey>)> {
        let fresh = std::mem::take(&mut self.fresh);
        let mut changed = Vec::new();
        for whole in destinations {
            // Sections sort behind the whole resource.
            let ports = self.clusters.range_mut(whole..).take_while(|(kri, _)| kri.whole() == *whole);
            for (kri, cluster) in ports.filter(|(kri, _)| !fresh.contains(kri)) {
                planner.counters.endpoints += 1;
                let endpoints = projections.endpoints(kri);
                if endpoints != cluster.endpoints {
                    table.set(cluster.name.clone(), planner.endpoints(&cluster.name, &endpoints));
                    cluster.endpoints = endpoints;
                    changed.push((cluster.name.clone(), cluster.users.clone()));
                }
            }
        }
        changed
    }
}
