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
                // A section that is the number stands for an inbound without a name.
                Some(IntOrString::Text(name)) => *inbound.section == **name && name.parse() != Ok(inbound.port),
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{plan::fixture::stored, resources::Dataplane};

    fn dataplanes() -> Vec<Arc<DataplaneFacts>> {
        let facts = |name: &str, app: &str, address: &str, zone: &str, inbound: Value| {
            let document = json!({"name": name, "labels": {"app": app},
                "networking": {"address": address, "inbound": inbound}});
            let dataplane = stored::<Dataplane>(document, &[(label::ZONE, zone)]);
            Arc::new(DataplaneFacts::of(&dataplane, &crate::plan::Names::default()).unwrap())
        };
        let http = json!({"port": 8080, "name": "http", "protocol": "http"});
        let with = |more: Value| {
            let mut inbound = http.clone();
            inbound.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([inbound])
        };
        vec![
            facts("a", "api", "10.0.0.9", "east", json!([http, {"port": 9000}])),
            facts("b", "api", "10.0.0.10", "east", with(json!({"address": "10.0.1.1"}))),
            facts("c", "api", "10.0.0.3", "", with(json!({}))),
            facts("d", "api", "10.0.0.4", "east", with(json!({"state": "NotReady"}))),
            facts("e", "api", "10.0.0.5", "east", with(json!({"health": {"ready": false}}))),
            facts("f", "api", "10.0.0.6", "east", with(json!({"port": 49151}))),
            facts("g", "web", "10.0.0.7", "east", with(json!({"port": 8081}))),
        ]
    }

    fn serving(selector: Value, target: Value) -> Vec<(String, Vec<String>)> {
        let mut port = json!({"name": "p", "port": 80});
        if !target.is_null() {
            port["targetPort"] = target;
        }
        let service = stored::<MeshService>(json!({"name": "s", "spec": {"selector": selector, "ports": [port]}}), &[]);
        let serving = Serving::of(&service);
        let found = endpoints(&serving, serving.port("p").unwrap(), &dataplanes());
        let of = |l: &Locality| {
            let zone = l.zone.as_deref().unwrap_or("-").to_owned();
            (zone, l.endpoints.iter().map(|e| format!("{}:{}", e.address, e.port)).collect())
        };
        found.localities.iter().map(of).collect()
    }

    fn listed(list: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        list.iter().map(|(z, e)| ((*z).to_owned(), e.iter().map(|e| (*e).to_owned()).collect())).collect()
    }

    fn api() -> Value {
        json!({"dataplaneLabels": {"matchLabels": {"app": "api"}}})
    }

    #[test]
    fn ready_inbounds_serve_by_number_and_by_name() {
        let wanted = listed(&[("-", &["10.0.0.3:8080"]), ("east", &["10.0.0.9:8080", "10.0.1.1:8080"])]);
        assert_eq!(serving(api(), json!(8080)), wanted);
        assert_eq!(serving(api(), json!("http")), wanted);
        // An inbound without a name is not found by one.
        assert_eq!(serving(api(), json!("9000")), listed(&[]));
    }

    #[test]
    fn selectors_name_everybody_one_or_nobody() {
        let all = json!({"dataplaneLabels": {"matchLabels": {}}});
        assert_eq!(serving(all, json!(8081)), listed(&[("east", &["10.0.0.7:8081"])]));
        let one = json!({"dataplaneRef": {"name": "c"}});
        assert_eq!(serving(one, json!(8080)), listed(&[("-", &["10.0.0.3:8080"])]));
        assert_eq!(serving(json!({}), json!(8080)), listed(&[]));
    }

    #[test]
    fn ports_are_found_by_name_before_number() {
        let ports = json!([{"name": "81", "port": 80}, {"name": "b", "port": 81}]);
        let serving = Serving::of(&stored::<MeshService>(json!({"name": "s", "spec": {"ports": ports}}), &[]));
        assert_eq!(serving.port("81").map(|p| p.number), Some(80));
        assert_eq!(serving.port("80").map(|p| p.number), Some(80));
        assert_eq!(serving.port("c"), None);
    }
}
