//! Protobuf JSON by reflection, both ways, for every message of the Envoy API. A nested `google.protobuf.Any` opens
//! by itself. Used for dumps, bootstraps, goldens and raw patches; never on the path that decides whether to send.

use envoy_api::pool;
use prost::{Message, Name};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::Any;
use serde_json::Value;

/// Why a message could not be written as JSON or read from it.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The descriptors have no message of this name (or type URL).
    #[error("the Envoy API has no message {name:?}")]
    UnknownType {
        /// Full name or type URL as it was given.
        name: String,
    },
    /// The bytes are not a message of that type.
    #[error("not a {name}")]
    Malformed {
        /// Full name of the message.
        name: String,
        /// What the decoder stumbled over.
        #[source]
        source: prost::DecodeError,
    },
    /// The message cannot be written, for instance because an `Any` in it has a type that is not known.
    #[error("{name} cannot be written as JSON: {detail}")]
    Write {
        /// Full name of the message.
        name: String,
        /// What the serializer stumbled over.
        detail: String,
    },
    /// The JSON does not fit the message: an unknown field or `@type`, a wrong enum value, text for a number.
    #[error("invalid {name}: {detail}")]
    Invalid {
        /// Full name of the message.
        name: String,
        /// Field path and the parser's explanation.
        detail: String,
    },
    /// The text is not YAML.
    #[error("invalid YAML: {detail}")]
    Yaml {
        /// The parser's explanation, with line and column.
        detail: String,
    },
}

/// A message as protobuf JSON: `camelCase` names, canonical durations, 64-bit numbers as text.
pub fn to_json<M: Message + Name>(message: &M) -> Result<Value, JsonError> {
    bytes_to_json(&M::full_name(), &message.encode_to_vec())
}

/// An encoded message as protobuf JSON. `name` is a full name or a type URL.
pub fn bytes_to_json(name: &str, bytes: &[u8]) -> Result<Value, JsonError> {
    let descriptor = descriptor(name)?;
    let name = descriptor.full_name().to_owned();
    let message = DynamicMessage::decode(descriptor, bytes)
        .map_err(|source| JsonError::Malformed { name: name.clone(), source })?;
    write(name, &message)
}

/// What an `Any` holds, as protobuf JSON with its `@type`.
pub fn any_to_json(any: &Any) -> Result<Value, JsonError> {
    let Value::Object(fields) = bytes_to_json(&any.type_url, &any.value)? else {
        // Wrappers, durations and the like are no objects in JSON; they stand under "value".
        return to_json(any);
    };
    let mut out = serde_json::Map::with_capacity(fields.len() + 1);
    out.insert("@type".to_owned(), Value::String(any.type_url.clone()));
    out.extend(fields);
    Ok(Value::Object(out))
}

/// Reads protobuf JSON strictly: unknown fields are errors. Names may be `camelCase` or `snake_case`.
pub fn from_json<M: Message + Name + Default>(value: Value) -> Result<M, JsonError> {
    let name = M::full_name();
    let bytes = json_to_bytes(&name, value)?;
    M::decode(&bytes[..]).map_err(|source| JsonError::Malformed { name, source })
}

/// Reads YAML text as protobuf JSON, strictly.
pub fn from_yaml<M: Message + Name + Default>(text: &str) -> Result<M, JsonError> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    let value = serde_saphyr::from_str_with_options(text, options);
    from_json(value.map_err(|e| JsonError::Yaml { detail: e.to_string() })?)
}

/// Reads protobuf JSON of the named type (full name or type URL) into its encoding.
pub fn json_to_bytes(name: &str, value: Value) -> Result<Vec<u8>, JsonError> {
    let descriptor = descriptor(name)?;
    let name = descriptor.full_name().to_owned();
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let message = DynamicMessage::deserialize_with_options(descriptor, tracked, &options);
    let message = message.map_err(|e| {
        let path = track.path();
        let at_top = path.iter().next().is_none();
        JsonError::Invalid { name, detail: if at_top { e.to_string() } else { format!("{path}: {e}") } }
    })?;
    Ok(message.encode_to_vec())
}

/// Reads a JSON object with `@type` as `Any`.
pub fn json_to_any(value: Value) -> Result<Any, JsonError> {
    from_json(value)
}

fn write(name: String, message: &DynamicMessage) -> Result<Value, JsonError> {
    message
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .map_err(|e| JsonError::Write { name, detail: e.to_string() })
}

fn descriptor(name: &str) -> Result<MessageDescriptor, JsonError> {
    let short = name.rsplit('/').next().unwrap_or(name);
    pool().get_message_by_name(short).ok_or_else(|| JsonError::UnknownType { name: name.to_owned() })
}

#[cfg(test)]
mod tests;
