//! Resources for tests of planning, written as documents.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{DataplaneFacts, Destination, Destinations, MatchedPolicies, MeshFacts, Names, PolicyView};
use crate::{
    json::from_rest,
    labels::{self, Site},
    meta::{Labels, Meta},
    policies::policy::Policy,
    registry::Kind,
    resource::{AnyResource, Resource, Spec},
    resources::{Dataplane, MeshService},
    state::MeshState,
};

/// A resource of mesh `default` as zone `default` stores it. `extra` labels are laid over the computed ones; an empty
/// value takes one away.
pub(crate) fn stored<S: Spec>(mut document: Value, extra: &[(&str, &str)]) -> Resource<S> {
    let kind = S::DESCRIPTOR.kind;
    document["type"] = json!(kind.name());
    if kind != Kind::Mesh {
        document["mesh"] = json!("default");
    }
    let resource = from_rest(kind, &document).unwrap_or_else(|e| panic!("{e}: {document}")).resource;
    let mut labels: Labels = labels::compute(&Site::zone("default"), &resource);
    for (key, value) in extra {
        labels.insert((*key).to_owned(), (*value).to_owned());
    }
    labels.retain(|_, value| !value.is_empty());
    let meta = Meta { labels: labels.into(), ..resource.meta.clone() };
    AnyResource { meta, ..resource }.typed().unwrap()
}

pub(crate) fn policy<P: Policy>(name: &str, mut spec: Value, extra: &[(&str, &str)]) -> Arc<PolicyView<P>> {
    if spec["targetRef"].is_null() {
        spec.as_object_mut().unwrap().remove("targetRef");
    }
    Arc::new(PolicyView::of(&stored::<P>(json!({"name": name, "spec": spec}), extra)))
}

/// A Dataplane at 10.0.0.1 with these further parts of `networking`.
pub(crate) fn dataplane(labels: Value, networking: Value, extra: &[(&str, &str)]) -> DataplaneFacts {
    let mut document = json!({"name": "dp", "labels": labels, "networking": networking});
    document["networking"]["address"] = json!("10.0.0.1");
    DataplaneFacts::of(&stored::<Dataplane>(document, extra), &Names::default()).unwrap()
}

/// A service with one HTTP port 80 called `http`, created at second `age`.
pub(crate) fn service(name: &str, age: i64, extra: &[(&str, &str)]) -> Arc<Destination> {
    let spec = json!({"ports": [{"name": "http", "port": 80, "appProtocol": "http"}]});
    let mut service = stored::<MeshService>(json!({"name": name, "spec": spec}), extra);
    service.meta.created = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(age);
    Arc::new(Destination::of_service(&service))
}

pub(crate) fn destinations(all: impl IntoIterator<Item = Arc<Destination>>) -> Destinations {
    all.into_iter().collect()
}

/// Names of the policies that select a proxy, lowest precedence first.
pub(crate) fn matched<P: Policy>(policies: &[Arc<PolicyView<P>>], proxy: &DataplaneFacts) -> Vec<String> {
    let found = MatchedPolicies::find(policies, proxy, &[], false);
    found.policies.iter().map(|m| m.policy.head.meta.name.to_string()).collect()
}

/// Facts of a mesh with these resources, and the Mesh itself.
pub(crate) fn mesh(resources: impl IntoIterator<Item = AnyResource>) -> MeshFacts {
    let own = stored::<crate::resources::Mesh>(json!({"name": "default"}), &[]).erase();
    MeshFacts::of(&MeshState::of(resources.into_iter().chain([own])), "default", &Names::default())
}
