//! Writing as a Kubernetes object, for readers that will `kubectl apply` it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    meta::label,
    registry::{Role, Scope, Shape},
    resource::AnyResource,
};

/// The object that this resource would be on Kubernetes. `namespace` is where namespaced kinds go.
///
/// Of the labels only the mesh is kept, as for every store that is not Kubernetes.
pub fn to_k8s(resource: &AnyResource, namespace: &str) -> Value {
    let descriptor = resource.kind().descriptor();
    let meta = &resource.meta;
    let secret = descriptor.role == Role::Secret;
    let mut metadata = Map::new();
    metadata.insert("name".into(), Value::from(&*meta.name));
    if descriptor.namespaced() {
        metadata.insert("namespace".into(), namespace.into());
    }
    let second = Timestamp::from_second(meta.created.as_second()).unwrap_or(meta.created);
    metadata.insert("creationTimestamp".into(), second.to_string().into());
    let mesh_label = descriptor.scope == Scope::Mesh && (secret || descriptor.shape == Shape::SpecStatus);
    if mesh_label {
        metadata.insert("labels".into(), json!({ label::MESH: &*meta.mesh }));
    }
    if secret {
        let kind = if descriptor.scope == Scope::Mesh { "secret" } else { "global-secret" };
        let value = resource.body.spec_json().get("data").cloned().unwrap_or_else(|| "".into());
        return json!({
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": metadata,
            "data": {"value": value},
            "type": format!("system.kuma.io/{kind}"),
        });
    }
    let mut out = Map::new();
    out.insert("kind".into(), descriptor.name.into());
    out.insert("apiVersion".into(), "kuma.io/v1alpha1".into());
    out.insert("metadata".into(), metadata.into());
    if descriptor.scope == Scope::Mesh && descriptor.shape == Shape::Flat {
        out.insert("mesh".into(), Value::from(&*meta.mesh));
    }
    out.insert("spec".into(), resource.body.spec_json());
    if let Some(status) = resource.body.status_json() {
        out.insert("status".into(), status);
    }
    Value::Object(out)
}
