//! MeshServices from the label `kuma.io/workload` of Dataplanes: one per workload and mesh.

use jiff::{SignedDuration, Timestamp};

use super::{Service, Settings, is_local};
use crate::{
    meta::{Labels, Meta, label},
    names,
    resource::{Key, Resource},
    resources::{
        Dataplane, IntOrString, LabelSelector, MeshService, MeshServicePort, MeshServiceSelector, MeshServiceStatus,
    },
};

/// Marks the objects that are made here.
const MANAGED_BY: &str = "meshservice-generator";

/// What the Dataplanes of a workload ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Creation of the oldest Dataplane that has ports.
    pub(super) since: Timestamp,
    /// Its ports.
    pub(super) ports: &'a [MeshServicePort],
    /// Some Dataplane has the ports that the stored service has.
    pub(super) confirmed: bool,
}

/// What becomes of a service.
pub(super) struct Decision {
    /// The service, statuses still as stored; `None` if there is none (any more, or yet).
    pub(super) service: Option<Service>,
    /// When time alone changes the decision.
    pub(super) due: Option<Timestamp>,
}

/// Decides about the service of one name.
pub(super) fn decide(
    key: &Key,
    stored: Option<&Resource<MeshService>>,
    wanted: Option<Wanted<'_>>,
    settings: &Settings,
    now: Timestamp,
) -> Decision {
    let service = stored.map(Service::of);
    // What somebody wrote himself stays as it is.
    if !settings.generate_services || service.as_ref().is_some_and(|s| !generated(&s.meta)) {
        return Decision { service, due: None };
    }
    match (service, wanted) {
        (Some(service), Some(wanted)) => Decision { service: Some(used(service, wanted)), due: None },
        (Some(service), None) => unused(service, settings, now),
        (None, Some(wanted)) => {
            let settle = SignedDuration::try_from(settings.settle).unwrap_or(SignedDuration::MAX);
            if now.duration_since(wanted.since) < settle {
                return Decision { service: None, due: end(wanted.since, settle) };
            }
            Decision { service: Some(new_service(key, wanted.ports, settings)), due: None }
        }
        (None, None) => Decision { service: None, due: None },
    }
}

fn used(mut service: Service, wanted: Wanted<'_>) -> Service {
    if service.meta.labels.contains_key(label::GRACE_PERIOD_STARTED) {
        let mut labels = (*service.meta.labels).clone();
        labels.remove(label::GRACE_PERIOD_STARTED);
        service.meta.labels = labels.into();
    }
    if !wanted.confirmed {
        service.spec.ports = wanted.ports.to_vec();
    }
    service
}

fn unused(mut service: Service, settings: &Settings, now: Timestamp) -> Decision {
    let grace = SignedDuration::try_from(settings.grace_period).unwrap_or(SignedDuration::MAX);
    let started = service.meta.label(label::GRACE_PERIOD_STARTED).and_then(|t| t.parse::<Timestamp>().ok());
    let Some(started) = started else {
        let mut labels = (*service.meta.labels).clone();
        labels.insert(label::GRACE_PERIOD_STARTED.into(), now.to_string());
        service.meta.labels = labels.into();
        return Decision { service: Some(service), due: end(now, grace) };
    };
    if now.duration_since(started) >= grace {
        return Decision { service: None, due: None };
    }
    Decision { service: Some(service), due: end(started, grace) }
}

/// A period that ends beyond the calendar never ends.
fn end(started: Timestamp, period: SignedDuration) -> Option<Timestamp> {
    started.checked_add(period).ok()
}

fn generated(meta: &Meta) -> bool {
    meta.label(label::MANAGED_BY) == Some(MANAGED_BY) && is_local(meta)
}

/// The workload of a Dataplane, if it can be the name of a service.
pub(super) fn workload(dataplane: &Resource<Dataplane>) -> Option<&str> {
    let workload = dataplane.meta.label(label::WORKLOAD)?;
    (!workload.is_empty() && names::dns1035_label(workload).is_empty()).then_some(workload)
}

/// The ports that a Dataplane asks for, one per inbound.
pub(super) fn ports(dataplane: &Dataplane) -> Vec<MeshServicePort> {
    let inbounds = dataplane.networking.iter().flat_map(|n| &n.inbound);
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
        (label::ENV, settings.environment),
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
