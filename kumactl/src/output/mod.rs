//! How results are printed: tables, JSON and YAML.

pub mod cells;
pub mod diff;
pub mod table;
pub mod yaml;

use anyhow::{Result, anyhow};
use serde_json::Value;

/// Format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// YAML.
    Yaml,
    /// JSON, indented by two.
    Json,
}

impl Format {
    /// Format with this name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "table" => Ok(Self::Table),
            "yaml" => Ok(Self::Yaml),
            "json" => Ok(Self::Json),
            other => Err(anyhow!("unknown output format {other:?}")),
        }
    }
}

/// A value as JSON, indented by two, `<`, `>` and `&` escaped.
pub fn json(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let text = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    format!("{text}\n")
}

/// A resource as YAML. Kinds whose spec is flat print two blocks: what every resource has, then the spec.
pub fn resource_yaml(resource: &Value, flat: bool) -> String {
    const META: [&str; 7] = ["type", "mesh", "name", "creationTime", "modificationTime", "labels", "kri"];
    let Value::Object(map) = resource else { return yaml::to_yaml(resource) };
    if !flat {
        return yaml::to_yaml(resource);
    }
    let (meta, spec): (serde_json::Map<_, _>, serde_json::Map<_, _>) =
        map.clone().into_iter().partition(|(key, _)| META.contains(&key.as_str()));
    let mut out = yaml::to_yaml(&Value::Object(meta));
    if !spec.is_empty() {
        out.push_str(&yaml::to_yaml(&Value::Object(spec)));
    }
    out
}
