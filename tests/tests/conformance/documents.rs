//! Resources of a case as they are written: nothing is defaulted, nothing is checked; names and labels transformed.

use kuma_core::{
    json,
    meta::{Labels, Meta},
    plan::PolicyHead,
    registry::{Kind, Shape},
    resource::{AnyResource, Resource, Spec},
};
use serde_json::{Map, Value, json};

use crate::{
    compare,
    transform::{self, MetaFacts},
};

/// All resources of a YAML text. `transforms` names the transforms of a kind.
pub(crate) fn resources(
    text: &str,
    transforms: impl Fn(Kind) -> Vec<String>,
) -> Result<Vec<(AnyResource, String)>, String> {
    let mut out = Vec::new();
    for document in compare::yaml_documents(text)? {
        let name = document["type"].as_str().unwrap_or_default();
        let kind = Kind::by_name(name).ok_or_else(|| format!("there is no kind {name:?}"))?;
        out.push(resource(kind, document, &transforms(kind))?);
    }
    Ok(out)
}

/// The resource, and the name that it had before the transforms.
fn resource(kind: Kind, mut document: Value, transforms: &[String]) -> Result<(AnyResource, String), String> {
    let labels: Labels = match document["labels"].take() {
        Value::Null => Labels::new(),
        labels => serde_json::from_value(labels).map_err(|e| format!("labels: {e}"))?,
    };
    let text = |field: &str| document[field].as_str().unwrap_or_default().to_owned();
    let written = text("name");
    let mut facts = MetaFacts { name: written.clone(), mesh: text("mesh"), labels };
    if kind != Kind::Mesh {
        transform::apply(&mut facts, transforms);
    }
    let meta = Meta::new(facts.mesh, facts.name, facts.labels);
    let spec = match kind.descriptor().shape {
        Shape::Flat => document,
        Shape::SpecStatus => match document["spec"].take() {
            Value::Null => Value::Object(Map::new()),
            spec => spec,
        },
    };
    let resource = kind.decode(meta, spec, None).map_err(|e| format!("{kind} {written}: {e}"))?;
    Ok((resource, written))
}

/// Those of kind `S`.
pub(crate) fn typed<S: Spec>(resources: &[(AnyResource, String)]) -> Vec<Resource<S>> {
    resources.iter().filter_map(|(resource, _)| resource.typed()).collect()
}

/// Names in a list of a parameter.
pub(crate) fn names(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Metadata of a policy as REST shows it.
pub(crate) fn shown(head: &PolicyHead) -> Result<Value, String> {
    let empty = head.kind.decode(head.meta.clone(), json!({}), None).map_err(|e| e.to_string())?;
    let mut value = json::to_rest(&empty);
    if let Value::Object(fields) = &mut value {
        fields.retain(|key, _| !matches!(key.as_str(), "spec" | "status" | "snis"));
    }
    Ok(value)
}
