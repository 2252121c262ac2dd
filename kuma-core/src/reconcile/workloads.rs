//! Workloads from the label `kuma.io/workload` of Dataplanes, and how many proxies they have.

use super::Settings;
use crate::{
    meta::{Labels, Meta, label},
    resource::{AnyResource, Key, Resource},
    resources::{Dataplane, Inbound, Workload, WorkloadProxies, WorkloadStatus},
};

/// Marks the objects that are made here.
const MANAGED_BY: &str = "workload-generator";

/// What one Dataplane adds to the counts of its workload.
pub(super) fn count(dataplane: &Dataplane, online: bool) -> WorkloadProxies {
    let mut inbounds = dataplane.networking.iter().flat_map(|n| &n.inbound);
    WorkloadProxies { total: 1, connected: i32::from(online), healthy: i32::from(inbounds.any(Inbound::healthy)) }
}

/// What becomes of the Workload of one name. `counts` is `None` without Dataplanes. One that somebody else wrote stays.
pub(super) fn decide(
    key: &Key,
    stored: Option<&Resource<Workload>>,
    counts: Option<WorkloadProxies>,
    settings: &Settings,
) -> Option<AnyResource> {
    if !settings.generate_workloads {
        return stored.map(Resource::erase);
    }
    match (stored, counts) {
        (Some(stored), Some(dataplane_proxies)) => {
            Some(stored.with_status(WorkloadStatus { dataplane_proxies }).erase())
        }
        (Some(stored), None) => (stored.meta.label(label::MANAGED_BY) != Some(MANAGED_BY)).then(|| stored.erase()),
        (None, counts) => {
            let dataplane_proxies = counts?;
            let labels: Labels = [
                (label::MESH, &*key.mesh),
                (label::MANAGED_BY, MANAGED_BY),
                (label::ENV, settings.environment),
                (label::ZONE, &*settings.zone),
            ]
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
            let meta = Meta::new(key.mesh.clone(), key.name.clone(), labels);
            Some(AnyResource::new(meta, Workload {}, WorkloadStatus { dataplane_proxies }))
        }
    }
}
