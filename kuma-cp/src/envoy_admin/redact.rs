//! Takes credentials out of a configuration dump: the bootstrap of a proxy holds its token.

use serde_json::Value;

const REDACTED: &str = "[redacted]";

/// The dump without the values of metadata that an Envoy sends when it opens a gRPC stream.
///
/// # Errors
/// The dump is not JSON.
pub fn redact(dump: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut dump: Value = serde_json::from_slice(dump)?;
    for section in dump.get_mut("configs").and_then(Value::as_array_mut).into_iter().flatten() {
        if section["@type"].as_str().is_some_and(|t| t.ends_with("BootstrapConfigDump")) {
            hide(section);
        }
    }
    serde_json::to_vec_pretty(&dump)
}

/// Envoy prints names of fields in one of two spellings.
fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if matches!(key.as_str(), "initial_metadata" | "initialMetadata") {
                    for entry in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                        for key in ["value", "raw_value", "rawValue"] {
                            if let Some(value) = entry.get_mut(key) {
                                *value = REDACTED.into();
                            }
                        }
                    }
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(hide),
        _ => {}
    }
}
