//! MeshServices from the label `kuma.io/workload` of Dataplanes: one per workload and mesh.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Service, Settings, Work, is_local};
use crate::{
    meta::{Labels, Meta, label},
    names,
    registry::Kind,
    resource::{Key, Resource},
    resources::{
        Dataplane, IntOrString, LabelSelector, MeshService, MeshServicePort, MeshServiceSelector, MeshServiceStatus,
    },
};

/// Marks the objects that are made here.
const MANAGED_BY: &str = "meshservice-generator";

/// Brings the generated services up to date; returns when the next one is to be made, or will have been unused for too
/// long.
pub(super) fn generate(work: &mut Work, settings: &Settings, now: Timestamp) -> Option<Timestamp> {
    let mut wanted: BTreeMap<Key, Vec<Vec<MeshServicePort>>> = BTreeMap::new();
    let mut since: BTreeMap<Key, Timestamp> = BTreeMap::new();
    for (key, dataplane) in work.by_age() {
        let Some(workload) = workload(dataplane) else { continue };
        let ports = ports(dataplane);
        if ports.is_empty() || !work.meshes.contains(&key.mesh) {
            continue;
        }
        let service = Key::new(Kind::MeshService, key.mesh.clone(), workload);
        since.entry(service.clone()).or_insert(dataplane.meta.created);
        wanted.entry(service).or_default().push(ports);
    }
    let mut due: Option<Timestamp> = None;
    let settle = SignedDuration::try_from(settings.settle).unwrap_or(SignedDuration::MAX);
    for (key, candidates) in &wanted {
        match work.services.get_mut(key) {
            // Somebody wrote a service of this name: it stays as it is.
            Some(service) if !generated(&service.meta) => {}
            Some(service) => {
                if service.meta.labels.contains_key(label::GRACE_PERIOD_STARTED) {
                    let mut labels = (*service.meta.labels).clone();
                    labels.remove(label::GRACE_PERIOD_STARTED);
                    service.meta.labels = labels.into();
                }
                if !candidates.contains(&service.spec.ports)
                    && let Some(first) = candidates.first()
                {
                    service.spec.ports.clone_from(first);
                }
            }
            None => {
                let (Some(first), Some(since)) = (candidates.first(), since.get(key)) else { continue };
                if now.duration_since(*since) < settle {
                    note(&mut due, *since, settle);
                    continue;
                }
                work.services.insert(key.clone(), new_service(key, first, settings));
            }
        }
    }
    let used: BTreeSet<&Key> = wanted.keys().collect();
    let grace = SignedDuration::try_from(settings.grace_period).unwrap_or(SignedDuration::MAX);
    work.services.retain(|key, service| {
        if used.contains(key) || !generated(&service.meta) {
            return true;
        }
        let started = service.meta.label(label::GRACE_PERIOD_STARTED).and_then(|t| t.parse::<Timestamp>().ok());
        let Some(started) = started else {
            let mut labels = (*service.meta.labels).clone();
            labels.insert(label::GRACE_PERIOD_STARTED.into(), now.to_string());
            service.meta.labels = labels.into();
            note(&mut due, now, grace);
            return true;
        };
        if now.duration_since(started) >= grace {
            return false;
        }
        note(&mut due, started, grace);
        true
    });
    due
}

fn note(due: &mut Option<Timestamp>, started: Timestamp, grace: SignedDuration) {
    // A period that ends beyond the calendar never ends.
    if let Ok(end) = started.checked_add(grace) {
        *due = Some(due.map_or(end, |d| d.min(end)));
    }
}

fn generated(meta: &Meta) -> bool {
    meta.label(label::MANAGED_BY) == Some(MANAGED_BY) && is_local(meta)
}

/// The workload of a Dataplane, if it can be the name of a service.
pub(super) fn workload(dataplane: &Resource<Dataplane>) -> Option<&str> {
    let workload = dataplane.meta.label(label::WORKLOAD)?;
    (!workload.is_empty() && names::dns1035_label(workload).is_empty()).then_some(workload)
}

fn ports(dataplane: &Resource<Dataplane>) -> Vec<MeshServicePort> {
    let inbounds = dataplane.spec().networking.iter().flat_map(|n| &n.inbound);
    inbounds
        .map(|inbound| MeshServicePort {
            name: Some(inbound.section()),
            port: inbound.port as i32,
            target_port: Some(IntOrString::Int(i64::from(inbound.port))),
            app_protocol: match crate::ir::Protocol::parse(&inbound.protocol).name() {
                "" => "tcp".into(),
                known => known.into(),
            },
        })
        .collect()
}

fn new_service(key: &Key, ports: &[MeshServicePort], settings: &Settings) -> Service {
    let labels: Labels = [
        (label::MESH, &*key.mesh),
        (label::DISPLAY_NAME, &*key.name),
        (label::MANAGED_BY, MANAGED_BY),
        (label::ENV, "universal"),
        (label::ZONE, &*settings.zone),
        (label::ORIGIN, "zone"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .collect();
    let selector = LabelSelector::of([(label::WORKLOAD.to_owned(), key.name.to_string())].into());
    let spec = MeshService {
        selector: MeshServiceSelector { dataplane_labels: Some(selector), dataplane_ref: None },
        ports: ports.to_vec(),
        ..MeshService::default()
    };
    Service { meta: Meta::new(key.mesh.clone(), key.name.clone(), labels), spec, status: MeshServiceStatus::default() }
}
