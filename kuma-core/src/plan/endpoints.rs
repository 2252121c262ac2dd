//! Who is behind a port of a service. Kept apart from plans: it changes most often and travels by itself.

use std::{collections::BTreeMap, sync::Arc};

use super::DataplaneFacts;
use crate::{
    ir::{Endpoint, Endpoints, Locality},
    meta::{Labels, label},
    resource::Resource,
    resources::{IntOrString, MeshService},
};

/// Tag that tells the protocol of an endpoint.
const PROTOCOL_TAG: &str = "kuma.io/protocol";

/// Which proxies serve a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceSelector {
    /// None.
    Nobody,
    /// Those with these labels; an empty set is everybody.
    Labels(Arc<Labels>),
    /// The one with this storage name.
    Named(Arc<str>),
}

/// How a port of a service finds the inbounds that serve it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingPort {
    /// Name, or the number as text.
    pub section: Arc<str>,
    /// What clients dial.
    pub number: u16,
    /// Inbound port or name; `None` finds nothing.
    pub target: Option<IntOrString>,
}

/// What endpoints depend on besides the proxies themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Which proxies serve it.
    pub selector: ServiceSelector,
    /// Its ports, in declared order.
    pub ports: Arc<[ServingPort]>,
}

impl Serving {
    /// Projection of a MeshService.
    pub fn of(service: &Resource<MeshService>) -> Self {
        let spec = service.spec();
        let selector = match (&spec.selector.dataplane_ref, &spec.selector.dataplane_labels) {
            (Some(named), _) if !named.name.is_empty() => ServiceSelector::Named(named.name.as_str().into()),
            (_, Some(labels)) => ServiceSelector::Labels(Arc::new(labels.labels().clone())),
            _ => ServiceSelector::Nobody,
        };
        let port = |p: &crate::resources::MeshServicePort| ServingPort {
            section: p.section().into(),
            number: u16::try_from(p.port).unwrap_or(0),
            target: p.target_port.clone(),
        };
        Self { selector, ports: spec.ports.iter().map(port).collect() }
    }

    /// Port that a section means: by name, then by number.
    pub fn port(&self, section: &str) -> Option<&ServingPort> {
        let by_number = || section.parse::<u16>().ok().and_then(|n| self.ports.iter().find(|p| p.number == n));
        self.ports.iter().find(|p| &*p.section == section).or_else(by_number)
    }

    /// Whether a proxy serves it.
    pub fn serves(&self, dataplane: &DataplaneFacts) -> bool {
        match &self.selector {
            ServiceSelector::Nobody => false,
            ServiceSelector::Named(name) => dataplane.key.name == *name,
            ServiceSelector::Labels(wanted) => {
                wanted.iter().all(|(key, value)| dataplane.labels.get(key) == Some(value))
            }
        }
    }
}

/// Endpoints of a port of a service: the ready inbounds of the proxies that serve it.
pub fn endpoints<'a>(
    serving: &Serving,
    port: &ServingPort,
    dataplanes: impl IntoIterator<Item = &'a Arc<DataplaneFacts>>,
) -> Endpoints {
    let mut by_zone: BTreeMap<Option<Arc<str>>, Vec<Endpoint>> = BTreeMap::new();
    for dataplane in dataplanes {
        if !serving.serves(dataplane) {
            continue;
        }
        for inbound in dataplane.ready_inbounds() {
            let serves = match &port.target {
                Some(IntOrString::Int(number)) => i64::from(inbound.port) == *number,
                Some(IntOrString::Text(name)) => *inbound.section == **name,
                None => false,
            };
            if serves {
                let mut tags = (*dataplane.labels).clone();
                // What the inbound says of itself, not what the service says of it.
                if !inbound.protocol.name().is_empty() {
                    tags.insert(PROTOCOL_TAG.to_owned(), inbound.protocol.name().to_owned());
                }
                let zone = dataplane.labels.get(label::ZONE).map(|z| Arc::from(z.as_str()));
                let at = inbound.listen(&dataplane.address);
                by_zone.entry(zone).or_default().push(Endpoint {
                    address: at.address,
                    port: at.port,
                    weight: 1,
                    tags: Arc::new(tags),
                });
            }
        }
    }
    let localities = by_zone.into_iter().map(|(zone, mut endpoints)| {
        endpoints.sort();
        endpoints.dedup();
        Locality { zone, endpoints, ..Locality::default() }
    });
    Endpoints { localities: localities.collect() }
}
