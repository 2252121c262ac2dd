//! `validation`: everything that is wrong with a spec, with metadata, with a targetRef or with JSON patches. Nothing is
//! defaulted and no schema is asked.

use kuma_core::{
    meta::{Labels, Meta},
    names,
    policies::target::{TargetRef, validate::TargetRules, validate::target_ref},
    registry::{Kind, Scope, Shape},
    schema::{Schema, TextRules, flat},
    validate::{Path, Violation, Violations},
};
use serde_json::{Map, Value};

use crate::{case::Case, compare, report::Outcome};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, one(case))).collect()
}

fn one(case: &Case) -> Result<(), String> {
    let text = case.doc["input"].as_str().unwrap_or_default();
    let input = match compare::yaml(text)? {
        Value::Null => Value::Object(Map::new()),
        value => value,
    };
    let violations = match case.doc["scope"].as_str().unwrap_or_default() {
        "spec" => of_spec(&case.doc, input)?,
        "meta" => of_meta(case, &input),
        "targetRef" => of_target(case, input)?,
        other => return Err(format!("nothing checks {other:?} yet")),
    };
    compared(&violations.0, &case.doc["expected"])
}

fn of_spec(doc: &Value, mut spec: Value) -> Result<Violations, String> {
    let name = doc["kind"].as_str().unwrap_or_default();
    let kind = Kind::by_name(name).ok_or_else(|| format!("there is no kind {name:?}"))?;
    if let Some(schema) = kind.schema() {
        match kind.descriptor().shape {
            Shape::Flat => spec = flat::read(&schema, "", &spec).map_err(|e| e.to_string())?,
            Shape::SpecStatus => scalars_as_text(&schema, &mut spec),
        }
    }
    let meta = |field: &str| doc["meta"][field].as_str().unwrap_or_default();
    let resource = kind
        .decode(Meta::new(meta("mesh"), meta("name"), Labels::new()), spec, None)
        .map_err(|e| format!("cannot decode: {e}"))?;
    let mut violations = Violations::new();
    if doc.get("meta").is_some() {
        names::stored_name(kind, resource.meta.display_name(), &mut violations);
    }
    violations.0.extend(resource.validate().0);
    Ok(violations)
}

/// The cases are YAML that was written for typed fields: a number where a text is wanted is that text.
fn scalars_as_text(schema: &Schema, value: &mut Value) {
    match (schema, value) {
        (Schema::Object(fields), Value::Object(object)) => {
            for field in fields {
                if let Some(value) = object.get_mut(field.name) {
                    scalars_as_text(&field.schema, value);
                }
            }
        }
        (Schema::List { items, .. }, Value::Array(values)) => {
            for value in values {
                scalars_as_text(items, value);
            }
        }
        (Schema::Labels, Value::Object(values)) => {
            for value in values.values_mut() {
                scalars_as_text(&Schema::Text(TextRules::default()), value);
            }
        }
        (Schema::Text(_), value @ (Value::Number(_) | Value::Bool(_))) => *value = Value::String(value.to_string()),
        _ => {}
    }
}

fn of_meta(case: &Case, input: &Value) -> Violations {
    let scope = if case.param("resourceScope") == "Mesh" { Scope::Mesh } else { Scope::Global };
    let part = |name: &str| input[name].as_str().unwrap_or_default();
    let mut violations = Violations::new();
    names::request_meta(scope, part("mesh"), part("name"), &mut violations);
    violations
}

fn of_target(case: &Case, input: Value) -> Result<Violations, String> {
    let target: TargetRef = serde_json::from_value(input).map_err(|e| format!("cannot decode: {e}"))?;
    let options = case.param("options");
    let supported: Vec<&str> =
        options["supportedKinds"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let rules = TargetRules {
        supported: &supported,
        unsupported: options["supportedKindsError"].as_str().filter(|text| !text.is_empty()),
        inbound: options["isInboundPolicy"].as_bool().unwrap_or_default(),
    };
    let mut violations = Violations::new();
    target_ref(&target, &Path::root("targetRef"), rules, &mut violations);
    Ok(violations)
}

fn compared(violations: &[Violation], expected: &Value) -> Result<(), String> {
    let mut found: Vec<String> = violations.iter().map(|v| format!("{}: {}", v.field, v.message)).collect();
    let mut wanted: Vec<String> = expected["violations"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| format!("{}: {}", v["field"].as_str().unwrap_or_default(), v["message"].as_str().unwrap_or_default()))
        .collect();
    if expected["ordered"] != true {
        found.sort();
        wanted.sort();
    }
    let valid = expected["valid"].as_bool().ok_or("the case does not say whether the input is valid")?;
    if valid == found.is_empty() && found == wanted {
        Ok(())
    } else {
        Err(format!("violations:\n  {}\nexpected:\n  {}", found.join("\n  "), wanted.join("\n  ")))
    }
}
