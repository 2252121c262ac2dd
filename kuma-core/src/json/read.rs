//! Reading REST bodies and documents of files: defaults, schema, decoding, semantic rules. Each step answers alone.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    meta::{Labels, Meta},
    registry::{Kind, Scope, Shape},
    resource::AnyResource,
    schema::{Schema, check, flat, list, object, one_of, opt, req, text},
    validate::{Violation, Violations},
};

/// A document that was read.
#[derive(Clone, Debug)]
pub struct Received {
    /// What it says; name, mesh and labels as written, a status if there was one. The mesh of a global kind is empty.
    pub resource: AnyResource,
    /// What it calls its type; a document of shape `Flat` may lie about it.
    pub type_name: String,
}

/// Why a document is no resource. One step of reading fails at a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeFault {
    /// It is no JSON, or a field is of the wrong type. Shown under the title `Bad Request`.
    #[error("invalid {kind} object: {cause:?}")]
    Malformed {
        /// What was expected.
        kind: Kind,
        /// The decoder's text, with the path of the field where there is one.
        cause: String,
    },
    /// It does not follow the schema of its kind. Shown under `Could not process a resource`.
    #[error("{0}")]
    Schema(Violations),
    /// Its spec breaks a rule of its kind. Shown under `Could not process a resource`.
    #[error("{0}")]
    Semantic(Violations),
}

/// Reads the text of a request body.
///
/// # Errors
/// The faults of the first step that finds any.
pub fn from_text(kind: Kind, text: &[u8]) -> Result<Received, DecodeFault> {
    let value =
        serde_json::from_slice(text).map_err(|fault| DecodeFault::Malformed { kind, cause: fault.to_string() })?;
    from_rest(kind, &value)
}

/// Reads a document in REST form.
///
/// # Errors
/// The faults of the first step that finds any.
pub fn from_rest(kind: Kind, value: &Value) -> Result<Received, DecodeFault> {
    let malformed = |cause: String| DecodeFault::Malformed { kind, cause };
    let Value::Object(document) = value else {
        return Err(malformed(format!("expected a JSON object, found {}", short(value))));
    };
    let received = match kind.descriptor().shape {
        Shape::Flat => read_flat(kind, document).map_err(malformed)?,
        Shape::SpecStatus => {
            let document = checked(kind, document).map_err(DecodeFault::Schema)?;
            read_spec_status(kind, document).map_err(malformed)?
        }
    };
    received.resource.validate().into_result().map_err(DecodeFault::Semantic)?;
    Ok(received)
}

/// A value cut to what fits into a message.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 60 { text.chars().take(60).collect::<String>() + "..." } else { text }
}

fn read_flat(kind: Kind, document: &Map<String, Value>) -> Result<Received, String> {
    let text = |key: &str| match document.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("{key}: expected a text, found {}", short(other))),
    };
    let labels = match document.get("labels") {
        None | Some(Value::Null) => Labels::new(),
        Some(labels) => serde_json::from_value(labels.clone()).map_err(|e| format!("labels: {e}"))?,
    };
    for key in ["creationTime", "modificationTime"] {
        let time = text(key)?;
        if document.contains_key(key) && time.parse::<Timestamp>().is_err() {
            return Err(format!("{key}: {time:?} is no RFC 3339 time"));
        }
    }
    let meta = meta(kind, &text("mesh")?, &text("name")?, labels);
    let mut spec = document.clone();
    for key in ["type", "mesh", "name", "labels", "creationTime", "modificationTime", "kri"] {
        spec.shift_remove(key);
    }
    let spec = Value::Object(spec);
    let spec = match kind.schema() {
        Some(schema) => flat::read(&schema, "", &spec).map_err(|e| e.to_string())?,
        None => spec,
    };
    let resource = kind.decode(meta, spec, None).map_err(|e| e.to_string())?;
    Ok(Received { resource, type_name: text("type")? })
}

fn meta(kind: Kind, mesh: &str, name: &str, labels: Labels) -> Meta {
    let mesh: Arc<str> = if kind.descriptor().scope == Scope::Mesh { mesh.into() } else { "".into() };
    Meta::new(mesh, name, labels)
}

/// Top level of a document of shape `SpecStatus`.
fn envelope(kind: Kind) -> Schema {
    let mut fields = vec![
        req("type", one_of([kind.name()])),
        req("name", text()),
        opt("labels", Schema::Labels),
        opt("creationTime", Schema::Time),
        opt("modificationTime", Schema::Time),
        opt("kri", text()),
        opt("snis", list(object([opt("port", Schema::Any), opt("sni", text())]))),
        req("spec", kind.schema().unwrap_or(Schema::Any)),
    ];
    if kind.descriptor().scope == Scope::Mesh {
        fields.push(opt("mesh", text()).or("default"));
    }
    if let Some(status) = kind.status_schema() {
        fields.push(opt("status", status));
    }
    Schema::Object(fields)
}

/// The document with its defaults, if it follows the schema.
fn checked(kind: Kind, document: &Map<String, Value>) -> Result<Map<String, Value>, Violations> {
    let schema = envelope(kind);
    let mut value = Value::Object(document.clone());
    check::fill_defaults(&schema, &mut value);
    let faults = check::faults(&schema, "", &value);
    if !faults.is_empty() {
        return Err(violations(faults));
    }
    match value {
        Value::Object(document) => Ok(document),
        _ => Ok(document.clone()),
    }
}

/// Sentences to violations: what begins with a path below `spec` has that as its field, the rest has none.
///
/// Below the root the engine writes `.name in body ...`. Only for what is missing is that the published text; all
/// others have no dot there.
fn violations(faults: BTreeSet<String>) -> Violations {
    let required = "in body is required";
    let published: BTreeSet<String> = faults
        .into_iter()
        .map(|fault| {
            let whole = fault.strip_prefix('.').is_some_and(|rest| {
                let path = rest.split(' ').next().unwrap_or_default();
                !path.contains('.') && rest.ends_with(required)
            });
            if whole { fault } else { undotted(fault) }
        })
        .collect();
    let split = published.into_iter().map(|fault| match fault.split_once(' ') {
        Some((field, message)) if field.starts_with("spec.") => {
            Violation { field: field.to_owned(), message: message.to_owned() }
        }
        _ => Violation { field: String::new(), message: fault },
    });
    Violations(split.collect())
}

/// Takes the dot of the root away, wherever in the sentence the path stands.
fn undotted(fault: String) -> String {
    if let Some(rest) = fault.strip_prefix('.') {
        return rest.to_owned();
    }
    if let Some(rest) = fault.strip_prefix("\".") {
        return format!("\"{rest}");
    }
    match fault.rsplit_once(" in .") {
        Some((front, path)) => format!("{front} in {path}"),
        None => fault,
    }
}

fn read_spec_status(kind: Kind, mut document: Map<String, Value>) -> Result<Received, String> {
    let mut take = |key: &str| document.shift_remove(key);
    let mut text = |key: &str| match take(key) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (type_name, mesh, name) = (text("type"), text("mesh"), text("name"));
    let labels = match take("labels") {
        Some(labels) => serde_json::from_value(labels).map_err(|e| format!("labels: {e}"))?,
        None => Labels::new(),
    };
    let spec = take("spec").unwrap_or_default();
    let resource = kind.decode(meta(kind, &mesh, &name, labels), spec, take("status")).map_err(|e| e.to_string())?;
    Ok(Received { resource, type_name })
}
