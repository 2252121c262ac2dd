//! Fields of a document that its kind does not have. They are dropped silently, as the published API does; whoever reads
//! a file for its author can say so.

use std::fmt;

use serde_json::{Map, Value};

use super::{Field, Schema, flat::snake_case};
use crate::{
    registry::{Kind, Shape},
    suggest::nearest,
};

/// What every document has beside its content.
const HEAD: [&str; 7] = ["type", "mesh", "name", "labels", "creationTime", "modificationTime", "kri"];
/// What one of shape `SpecStatus` has in addition.
const BODY: [&str; 3] = ["spec", "status", "snis"];

/// A field that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Its path, such as `networking.inbound[0].protcol`.
    pub path: String,
    /// A field of nearly that name in the same place.
    pub near: Option<&'static str>,
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: there is no such field, it is ignored", self.path)?;
        self.near.map_or(Ok(()), |near| write!(f, "; did you mean {near:?}?"))
    }
}

/// The unknown fields of a document in REST form, in its order.
pub fn fields(kind: Kind, document: &Map<String, Value>) -> Vec<UnknownField> {
    let mut walk = Walk { flat: kind.descriptor().shape == Shape::Flat, found: Vec::new() };
    let schema = kind.schema();
    for (key, value) in document {
        if HEAD.contains(&key.as_str()) {
            continue;
        }
        match &schema {
            Some(Schema::Object(fields)) if walk.flat => walk.member(fields, "", key, value),
            Some(schema) if key == "spec" => walk.value(schema, "spec", value),
            Some(_) if !walk.flat && !BODY.contains(&key.as_str()) => {
                walk.found.push(UnknownField { path: key.clone(), near: nearest(key, HEAD.into_iter().chain(BODY)) });
            }
            _ => {}
        }
    }
    walk.found
}

struct Walk {
    flat: bool,
    found: Vec<UnknownField>,
}

impl Walk {
    fn value(&mut self, schema: &Schema, path: &str, value: &Value) {
        match (schema, value) {
            (Schema::Object(fields), Value::Object(object)) => {
                for (key, value) in object {
                    self.member(fields, path, key, value);
                }
            }
            (Schema::List { items, .. }, Value::Array(list)) => {
                for (index, item) in list.iter().enumerate() {
                    self.value(items, &format!("{path}[{index}]"), item);
                }
            }
            _ => {}
        }
    }

    fn member(&mut self, fields: &[Field], path: &str, key: &str, value: &Value) {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let known = |field: &&Field| field.name == key || (self.flat && snake_case(field.name) == key);
        match fields.iter().find(known) {
            Some(field) => self.value(&field.schema, &path, value),
            None => self.found.push(UnknownField { path, near: nearest(key, fields.iter().map(|f| f.name)) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(kind: Kind, document: &Value) -> Vec<String> {
        fields(kind, document.as_object().expect("an object")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_fields_of_flat_documents_are_found() {
        let document = json!({
            "type": "Dataplane", "mesh": "default", "name": "a", "labels": {"any": "thing"}, "spec": {},
            "networking": {
                "address": "127.0.0.1",
                "inbound": [{"port": 1, "service_port": 2}, {"port": 3, "protcol": "http", "tags": {}}],
            },
        });
        assert_eq!(
            texts(Kind::Dataplane, &document),
            [
                "spec: there is no such field, it is ignored",
                "networking.inbound[1].protcol: there is no such field, it is ignored; did you mean \"protocol\"?",
                "networking.inbound[1].tags: there is no such field, it is ignored",
            ]
        );
    }

    #[test]
    fn unknown_fields_of_specs_are_found() {
        let document = json!({
            "type": "MeshTimeout", "name": "a", "status": {}, "to": [],
            "spec": {"to": [{"targetRef": {"kind": "Mesh"}, "default": {"conectionTimeout": "5s"}}]},
        });
        assert_eq!(
            texts(Kind::MeshTimeout, &document),
            [
                "to: there is no such field, it is ignored",
                "spec.to[0].default.conectionTimeout: there is no such field, it is ignored; did you mean \
                 \"connectionTimeout\"?",
            ]
        );
    }
}
