//! Documents of `apply`: each is read as a resource the way the published tool reads it (scalars of the head as texts,
//! case-insensitive heads of flat kinds).

use std::collections::BTreeMap;

use kuma_core::{
    document::{Limits, Part},
    json::{DecodeFault, from_rest},
    names,
    registry::{Kind, Shape},
    resource::AnyResource,
    schema::unknown,
    suggest::nearest,
    validate::Violations,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A document that is a resource.
#[derive(Clone, Debug)]
pub struct Document {
    /// The resource; its status is as written and never sent.
    pub resource: AnyResource,
    /// What was read leniently, for the author's eyes.
    pub warnings: Vec<String>,
}

/// Why a document is no resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is neither YAML nor JSON, or no mapping.
    #[error("failed to parse resource: invalid meta type: {0:?}")]
    Text(String),
    /// No kind has this name.
    #[error("failed to parse resource: invalid resource type {name:?}{}", help(.name, .near.as_deref()))]
    Kind {
        /// What the document says.
        name: String,
        /// A kind of nearly that name.
        near: Option<String>,
    },
    /// It does not follow its kind.
    #[error("failed to parse resource: {}", described(.0))]
    Decode(DecodeFault),
    /// Its name or mesh cannot be used.
    #[error("failed to read meta: {0}")]
    Meta(Violations),
}

fn help(name: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!(": did you mean {near:?}?"),
        None if name.is_empty() => ": the document has no field \"type\"".to_owned(),
        None => String::new(),
    }
}

/// Violations of the whole document have no field to stand before them.
fn described(fault: &DecodeFault) -> String {
    match fault {
        DecodeFault::Schema(violations) | DecodeFault::Semantic(violations) => {
            let one = |v: &kuma_core::validate::Violation| {
                if v.field.is_empty() { v.message.clone() } else { format!("{}: {}", v.field, v.message) }
            };
            violations.0.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        malformed @ DecodeFault::Malformed { .. } => malformed.to_string(),
    }
}

/// Reads one document.
///
/// # Errors
/// The first step that fails: text, kind, content, name and mesh.
pub fn read(part: &Part<'_>) -> Result<Document, Fault> {
    let parsed = part
        .parse(Limits::FILE)
        .map_err(|fault| Fault::Text(format!("error converting YAML to JSON: yaml: {fault}")))?;
    let Value::Object(mut document) = parsed.value else {
        return Err(Fault::Text("expected a mapping with the fields type and name".into()));
    };
    let mut warnings: Vec<String> = parsed.warning.into_iter().collect();
    warnings.extend(texts(part, &mut document));
    let name = match field(&document, "type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => return Err(Fault::Text(format!("type: expected a text, found {other}"))),
    };
    let Some(kind) = Kind::by_name(&name) else {
        let near = nearest(&name, Kind::ALL.iter().map(|k| k.name())).map(str::to_owned);
        return Err(Fault::Kind { name, near });
    };
    if kind.descriptor().shape == Shape::Flat {
        canonical_head(&mut document);
    }
    warnings.extend(unknown::fields(kind, &document).iter().map(ToString::to_string));
    let received = from_rest(kind, &Value::Object(document)).map_err(Fault::Decode)?;
    let meta = &received.resource.meta;
    let mut faults = Violations::new();
    names::request_meta(kind.descriptor().scope, &meta.mesh, &meta.name, &mut faults);
    faults.into_result().map_err(Fault::Meta)?;
    Ok(Document { resource: received.resource, warnings })
}

/// What every resource has, apart from its content.
const HEAD: [&str; 7] = ["type", "mesh", "name", "labels", "creationTime", "modificationTime", "kri"];

/// A field of the head: as it is written, else whatever its case.
fn field<'a>(document: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    document
        .get(name)
        .or_else(|| document.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// Gives the fields of the head their proper case.
fn canonical_head(document: &mut Map<String, Value>) {
    for name in HEAD {
        if document.contains_key(name) {
            continue;
        }
        if let Some(written) = document.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()
            && let Some(value) = document.shift_remove(&written)
        {
            document.insert(name.to_owned(), value);
        }
    }
}

/// The head read as texts, whatever its scalars look like.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    mesh: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, Option<String>>>,
}

/// Reads scalars such as `yes` and `12` of the head as the texts that they were meant to be.
fn texts(part: &Part<'_>, document: &mut Map<String, Value>) -> Vec<String> {
    let scalar = |value: &Value| matches!(value, Value::Bool(_) | Value::Number(_));
    let odd = ["mesh", "name"].iter().any(|key| document.get(*key).is_some_and(scalar))
        || document.get("labels").and_then(Value::as_object).is_some_and(|labels| labels.values().any(scalar));
    if !odd {
        return Vec::new();
    }
    let Ok(head) = part.decode::<Head>(Limits::FILE) else { return Vec::new() };
    let mut warnings = Vec::new();
    let mut put = |path: &str, place: &mut Value, text: Option<String>| {
        if let Some(text) = text.filter(|_| matches!(place, Value::Bool(_) | Value::Number(_))) {
            warnings.push(format!("{path}: {text} is read as a text; put it in quotes"));
            *place = Value::String(text);
        }
    };
    for (key, text) in [("mesh", head.mesh), ("name", head.name)] {
        if let Some(place) = document.get_mut(key) {
            put(key, place, text);
        }
    }
    if let Some(places) = document.get_mut("labels").and_then(Value::as_object_mut) {
        for (key, text) in head.labels.into_iter().flatten() {
            if let Some(place) = places.get_mut(&key) {
                put(&format!("labels[{key:?}]"), place, text);
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Document, Fault> {
        super::read(&Part::whole(text))
    }

    #[test]
    fn yaml_and_json_are_read_alike() {
        for text in
            ["type: Mesh\nname: m-1\n", "{\n\t\"type\": \"Mesh\",\n\t\"name\": \"m-1\"\n}", "NAME: m-1\nType: Mesh"]
        {
            let resource = read(text).expect("a Mesh").resource;
            assert_eq!((resource.kind(), &*resource.meta.name), (Kind::Mesh, "m-1"), "{text}");
        }
    }

    #[test]
    fn the_last_of_duplicate_keys_wins() {
        assert_eq!(&*read("type: Mesh\nname: a\nname: b").expect("a Mesh").resource.meta.name, "b");
    }

    #[test]
    fn scalars_of_the_head_are_texts() {
        let read = read("type: Mesh\nname: 12\nlabels: {a: yes, b: 0755, c: x}").expect("a Mesh");
        assert_eq!(&*read.resource.meta.name, "12");
        let labels: Vec<_> = read.resource.meta.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels, ["a=yes", "b=0755", "c=x"]);
        assert_eq!(read.warnings.len(), 3, "{:?}", read.warnings);
        assert_eq!(read.warnings[0], "name: 12 is read as a text; put it in quotes");
    }

    #[test]
    fn unknown_fields_are_told() {
        let read = read("type: Dataplane\nmesh: m\nname: a\nnetworking: {address: 127.0.0.1, inbounds: []}")
            .expect("a Dataplane");
        assert_eq!(
            read.warnings,
            ["networking.inbounds: there is no such field, it is ignored; did you mean \"inbound\"?"]
        );
    }

    #[test]
    fn faults_name_the_step() {
        let fault = |text: &str| read(text).expect_err("no resource").to_string();
        assert_eq!(fault("type: Foo"), "failed to parse resource: invalid resource type \"Foo\"");
        assert_eq!(
            fault("type: MeshTimeouts\nname: a"),
            "failed to parse resource: invalid resource type \"MeshTimeouts\": did you mean \"MeshTimeout\"?"
        );
        assert_eq!(
            fault("name: a"),
            "failed to parse resource: invalid resource type \"\": the document has no field \"type\""
        );
        assert!(
            fault("a: b: c")
                .starts_with("failed to parse resource: invalid meta type: \"error converting YAML to JSON: yaml: ")
        );
        assert!(fault("- a").starts_with("failed to parse resource: invalid meta type: "));
        assert_eq!(fault("type: Mesh"), "failed to read meta: name: cannot be empty");
        assert!(fault("type: Mesh\nname: A").starts_with("failed to read meta: name: invalid characters."));
        assert_eq!(fault("type: Secret\nname: a\ndata: dGVzdAo="), "failed to read meta: mesh: cannot be empty");
        assert!(
            fault("type: Dataplane\nname: a\nmesh: m\nnetworking: {inbound: 0}")
                .starts_with("failed to parse resource: invalid Dataplane object: \"")
        );
    }
}
