//! Writing for REST readers. The order of keys is part of the contract.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

use crate::{registry::Shape, resource::AnyResource, sni};

/// What an overview shows for an insight that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Nothing: lists.
    Omit,
    /// `{}`: a single item.
    Empty,
}

/// A resource as the REST API prints it, times in UTC.
pub fn to_rest(resource: &AnyResource) -> Value {
    to_rest_in(resource, &TimeZone::UTC)
}

/// A resource as the REST API prints it, times in the given zone.
pub fn to_rest_in(resource: &AnyResource, zone: &TimeZone) -> Value {
    let mut out = head(resource, resource.kind().name(), zone);
    match resource.kind().descriptor().shape {
        Shape::Flat => {
            if let Value::Object(spec) = resource.body.spec_json() {
                out.extend(spec);
            }
        }
        Shape::SpecStatus => {
            let snis = sni::of(resource);
            if !snis.is_empty() {
                let list: Vec<Value> = snis.into_iter().map(|s| json!({"port": s.port, "sni": s.sni})).collect();
                out.insert("snis".into(), list.into());
            }
            out.insert("spec".into(), resource.body.spec_json());
            if let Some(status) = resource.body.status_json() {
                out.insert("status".into(), status);
            }
        }
    }
    Value::Object(out)
}

/// A resource together with its insight, under `<Kind>Overview`.
pub fn overview(resource: &AnyResource, insight: Option<&AnyResource>, gap: Gap, zone: &TimeZone) -> Value {
    let name = resource.kind().name();
    let mut out = head(resource, &format!("{name}Overview"), zone);
    let key = lower_first(name);
    out.insert(key.clone(), resource.body.spec_json());
    let insight = match (insight, gap) {
        (Some(insight), _) => Some(insight.body.spec_json()),
        (None, Gap::Empty) => Some(json!({})),
        (None, Gap::Omit) => None,
    };
    if let Some(insight) = insight {
        out.insert(format!("{key}Insight"), insight);
    }
    Value::Object(out)
}

/// RFC 3339 with as many decimals as needed; `Z` where the offset is zero.
pub fn time_text(time: Timestamp, zone: &TimeZone) -> String {
    let offset = zone.to_offset(time);
    if offset.is_zero() { time.to_string() } else { time.display_with_offset(offset).to_string() }
}

fn head(resource: &AnyResource, type_name: &str, zone: &TimeZone) -> Map<String, Value> {
    let meta = &resource.meta;
    let mut out = Map::new();
    out.insert("type".into(), type_name.into());
    if resource.kind().descriptor().mesh_scoped() {
        out.insert("mesh".into(), Value::from(&*meta.mesh));
    }
    out.insert("name".into(), Value::from(&*meta.name));
    out.insert("creationTime".into(), time_text(meta.created, zone).into());
    out.insert("modificationTime".into(), time_text(meta.modified, zone).into());
    if !meta.labels.is_empty() {
        let labels = meta.labels.iter().map(|(k, v)| (k.clone(), Value::from(v.as_str())));
        out.insert("labels".into(), Value::Object(labels.collect()));
    }
    if let Some(kri) = resource.kri() {
        out.insert("kri".into(), kri.to_string().into());
    }
    out
}

fn lower_first(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + chars.as_str())
}
