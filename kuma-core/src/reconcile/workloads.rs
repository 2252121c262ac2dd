//! Workloads from the label `kuma.io/workload` of Dataplanes, and how many proxies they have.

use std::collections::BTreeMap;

use super::{Settings, Work, services::workload};
use crate::{
    meta::{Labels, Meta, label},
    registry::Kind,
    resource::Key,
    resources::{WorkloadProxies, WorkloadStatus},
};

/// Marks the objects that are made here.
const MANAGED_BY: &str = "workload-generator";

/// Brings the Workloads up to date. Those that somebody else wrote stay.
pub(super) fn generate(work: &mut Work, settings: &Settings) {
    let mut wanted: BTreeMap<Key, WorkloadProxies> = BTreeMap::new();
    for (key, dataplane) in &work.dataplanes {
        let Some(name) = workload(dataplane).filter(|_| work.meshes.contains(&key.mesh)) else { continue };
        let counts = wanted.entry(Key::new(Kind::Workload, key.mesh.clone(), name)).or_default();
        let inbounds = || dataplane.spec().networking.iter().flat_map(|n| &n.inbound);
        counts.total += 1;
        counts.connected += i32::from(work.online.contains(&(key.mesh.clone(), key.name.clone())));
        counts.healthy += i32::from(inbounds().any(crate::resources::Inbound::healthy));
    }
    work.workloads
        .retain(|key, (meta, _)| wanted.contains_key(key) || meta.label(label::MANAGED_BY) != Some(MANAGED_BY));
    for (key, dataplane_proxies) in wanted {
        let status = WorkloadStatus { dataplane_proxies };
        if let Some((_, known)) = work.workloads.get_mut(&key) {
            *known = status;
            continue;
        }
        let labels: Labels = [
            (label::MESH, &*key.mesh),
            (label::MANAGED_BY, MANAGED_BY),
            (label::ENV, "universal"),
            (label::ZONE, &*settings.zone),
        ]
        .into_iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
        let meta = Meta::new(key.mesh.clone(), key.name.clone(), labels);
        work.workloads.insert(key, (meta, status));
    }
}
