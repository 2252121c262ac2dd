//! What a stored document holds beside what this version knows of it: fields of a newer version, or of another program
//! on the same database.
//!
//! They are kept with the object and written back with every change that is not a replacement of the whole. A field
//! stays as long as the object stays that it is in. An item of a list is taken for the same one if nothing of it has
//! changed, or if what names it is the same; what is unknown in other items goes with them.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::resource::{AnyBody, AnyResource};

/// Spec and status of one object as they were stored, where they hold more than the typed ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreign {
    spec: Option<Value>,
    status: Option<Value>,
}

/// What names an item of a list.
const NAMES: [&str; 7] = ["id", "type", "name", "address", "port", "hostname", "hostnameGeneratorRef"];

impl Foreign {
    /// Of documents that were read as this body; `None` if there is nothing in them but what the body knows.
    pub(crate) fn of(body: &dyn AnyBody, spec: Value, status: Option<Value>) -> Option<Arc<Self>> {
        let more = |stored: Value, known: &Value| (merge(&stored, known, known) != *known).then_some(stored);
        let spec = more(spec, &body.spec_json());
        let status = status.and_then(|status| more(status, &status_json(body)));
        Self { spec, status }.some()
    }

    /// The whole spec.
    pub(crate) fn spec(&self) -> Option<&Value> {
        self.spec.as_ref()
    }

    /// The whole status.
    pub(crate) fn status(&self) -> Option<&Value> {
        self.status.as_ref()
    }

    /// What of this is left when the object, which was `before`, becomes `now`.
    pub(crate) fn carried(&self, before: &AnyResource, now: &AnyResource) -> Option<Arc<Self>> {
        let decodes = |spec: Value, status: Option<Value>| now.kind().decode(now.meta.clone(), spec, status).ok();
        let spec = self.spec.as_ref().and_then(|stored| {
            if before.body.spec_eq(&*now.body) {
                return Some(stored.clone());
            }
            let known = now.body.spec_json();
            let merged = merge(stored, &before.body.spec_json(), &known);
            // Names that the decoder takes for others would say again what was changed: the change comes first.
            let is_same = decodes(merged.clone(), None).is_some_and(|read| read.body.spec_eq(&*now.body));
            (is_same && merged != known).then_some(merged)
        });
        let status = self.status.as_ref().and_then(|stored| {
            if before.body.status_eq(&*now.body) {
                return Some(stored.clone());
            }
            let known = status_json(&*now.body);
            let merged = merge(stored, &status_json(&*before.body), &known);
            let read = decodes(now.body.spec_json(), Some(merged.clone()));
            (read.is_some_and(|read| read.body.status_eq(&*now.body)) && merged != known).then_some(merged)
        });
        Self { spec, status }.some()
    }

    /// The spec of the one and the status of the other.
    pub(crate) fn joined(spec: Option<&Self>, status: Option<&Self>) -> Option<Arc<Self>> {
        let spec = spec.and_then(|foreign| foreign.spec.clone());
        let status = status.and_then(|foreign| foreign.status.clone());
        Self { spec, status }.some()
    }

    fn some(self) -> Option<Arc<Self>> {
        (self.spec.is_some() || self.status.is_some()).then(|| Arc::new(self))
    }
}

fn status_json(body: &dyn AnyBody) -> Value {
    body.status_json().unwrap_or_else(|| Value::Object(Map::new()))
}

/// What is stored with the known part of it, which was `before`, changed to `now`.
fn merge(stored: &Value, before: &Value, now: &Value) -> Value {
    match (stored, now) {
        (Value::Object(stored), Value::Object(now)) => {
            let mut merged = now.clone();
            for (key, theirs) in stored {
                let was = before.get(key);
                match now.get(key) {
                    Some(ours) => {
                        merged.insert(key.clone(), merge(theirs, was.unwrap_or(&Value::Null), ours));
                    }
                    None if was.is_none() => {
                        merged.insert(key.clone(), theirs.clone());
                    }
                    // It was taken away.
                    None => {}
                }
            }
            Value::Object(merged)
        }
        (Value::Array(stored), Value::Array(now)) => {
            match before.as_array().filter(|before| before.len() == stored.len()) {
                Some(before) => Value::Array(merge_items(stored, before, now)),
                None => Value::Array(now.clone()),
            }
        }
        _ => now.clone(),
    }
}

/// The items of a list, each with what is unknown in the one that it was.
fn merge_items(stored: &[Value], before: &[Value], now: &[Value]) -> Vec<Value> {
    let mut of: Vec<Option<usize>> = vec![None; now.len()];
    let mut taken = vec![false; before.len()];
    for is_same in [|a: &Value, b: &Value| a == b, is_named_alike] {
        // All before it are taken. Nearly always the next one is it, so that a long list takes one look for each item.
        let mut first = 0;
        for (item, of) in now.iter().zip(&mut of).filter(|(_, of)| of.is_none()) {
            while taken.get(first) == Some(&true) {
                first += 1;
            }
            *of = (first..before.len()).find(|index| !taken[*index] && is_same(&before[*index], item));
            if let Some(index) = *of {
                taken[index] = true;
            }
        }
    }
    let merged = |(item, of): (&Value, Option<usize>)| match of {
        Some(index) => merge(&stored[index], &before[index], item),
        None => item.clone(),
    };
    now.iter().zip(of).map(merged).collect()
}

fn is_named_alike(a: &Value, b: &Value) -> bool {
    NAMES.iter().any(|name| a.get(name).is_some()) && NAMES.iter().all(|name| a.get(name) == b.get(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        meta::{Labels, Meta},
        registry::Kind,
        resources::{Dataplane, MeshService, MeshServiceStatus, ServiceState, Vip},
    };

    fn read(kind: Kind, spec: Value, status: Option<Value>) -> AnyResource {
        kind.decode_stored(Meta::new("m", "x", Labels::new()), spec, status).expect("it can be read")
    }

    /// An object that has become this, with what it keeps.
    fn changed(before: &AnyResource, now: &AnyResource) -> AnyResource {
        now.clone().carrying(before)
    }

    #[test]
    fn what_is_known_is_not_kept_twice() {
        let spec = json!({"state": "Available", "selector": {}, "ports": [{"port": 80}]});
        assert!(read(Kind::MeshService, spec, None).foreign.is_none());
        assert!(read(Kind::MeshService, json!({}), Some(json!({}))).foreign.is_none(), "defaults that are left out");
    }

    #[test]
    fn unknown_fields_stay_where_they_are() {
        let spec = json!({
            "state": "Unavailable", "selector": {"dataplaneLabels": {"matchLabels": {"a": "b"}}, "mode": "any"},
            "ports": [{"port": 80, "weight": 3}, {"port": 81, "weight": 4}], "locality": {"prefer": "zone"},
        });
        let stored = read(Kind::MeshService, spec.clone(), Some(json!({"future": [1, 2], "tls": {"cause": "x"}})));
        let mut service = stored.spec::<MeshService>().cloned().expect("a service");
        service.state = ServiceState::Available;
        service.ports.remove(0);
        let status = MeshServiceStatus { vips: vec![Vip { ip: "240.0.0.1".into() }], ..Default::default() };
        let now = changed(&stored, &AnyResource::new(stored.meta.clone(), service, status));
        assert_eq!(
            now.stored_spec(),
            json!({
                "state": "Available", "selector": {"dataplaneLabels": {"matchLabels": {"a": "b"}}, "mode": "any"},
                "ports": [{"port": 81, "weight": 4}], "locality": {"prefer": "zone"},
            })
        );
        let status = now.stored_status().expect("a status");
        assert_eq!((&status["future"], &status["tls"]["cause"]), (&json!([1, 2]), &json!("x")));
        assert_eq!(status["vips"], json!([{"ip": "240.0.0.1"}]));
        // Nothing is printed that the kind does not have.
        assert_eq!(now.body.spec_json()["locality"], Value::Null);
    }

    #[test]
    fn items_of_lists_are_told_apart() {
        let inbound = |port: u32, state: &str| json!({"port": port, "serviceProbe": {"tcp": {}}, "state": state});
        let with = |mut inbound: Value, mark: &str| {
            inbound["mark"] = mark.into();
            inbound
        };
        let spec = |inbound: Vec<Value>| json!({"networking": {"address": "10.0.0.1", "inbound": inbound}});
        let stored = vec![with(inbound(80, "Ready"), "a"), with(inbound(81, "Ready"), "b")];
        let stored = read(Kind::Dataplane, spec(stored), None);
        let next = vec![inbound(82, "Ready"), inbound(81, "NotReady"), inbound(80, "Ready")];
        let next: Dataplane = serde_json::from_value(spec(next)).expect("a spec");
        let now = changed(&stored, &AnyResource::new(stored.meta.clone(), next, crate::resource::NoStatus {}));
        let marks = now.stored_spec()["networking"]["inbound"].clone();
        let marks: Vec<&Value> = marks.as_array().expect("a list").iter().map(|item| &item["mark"]).collect();
        assert_eq!(marks, [&Value::Null, &json!("b"), &json!("a")]);
    }

    #[test]
    fn a_change_wins_over_another_name_of_what_it_changes() {
        let spec = json!({"networking": {"inbound": [{"port": 80, "service_port": 90}], "future": 1}});
        let stored = read(Kind::Dataplane, spec.clone(), None);
        assert_eq!(stored.stored_spec(), spec);
        let mut next = stored.spec::<Dataplane>().cloned().expect("a dataplane");
        next.networking.as_mut().expect("it has one").inbound[0].service_port = 91;
        let plain = AnyResource::new(stored.meta.clone(), next, crate::resource::NoStatus {});
        let now = changed(&stored, &plain);
        let again = read(Kind::Dataplane, now.stored_spec(), None);
        assert!(again.body.spec_eq(&*plain.body), "{}", now.stored_spec());
    }

    #[test]
    fn a_status_of_a_kind_that_has_none_is_kept() {
        let stored = read(Kind::Mesh, json!({}), Some(json!({"conditions": []})));
        let now = changed(
            &stored,
            &AnyResource::new(stored.meta.clone(), crate::resources::Mesh::default(), crate::resource::NoStatus {}),
        );
        assert_eq!(now.stored_status(), Some(json!({"conditions": []})));
    }
}
