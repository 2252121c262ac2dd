//! `hostname-template`: hostnames that a template makes of a service's metadata.

use kuma_core::{hostname::Hostnames, meta::Meta};

use crate::{case::Case, report::Outcome};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, one(&case.doc))).collect()
}

fn one(doc: &serde_json::Value) -> Result<(), String> {
    let input = &doc["input"];
    let given = &input["meta"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let labels = serde_json::from_value(given["labels"].clone()).unwrap_or_default();
    let meta = Meta::new(text(&given["mesh"]), text(&given["name"]), labels);
    let name = given["nameExtensions"]["k8s.kuma.io/name"].as_str().unwrap_or(&meta.name);
    let found = Hostnames::new(&text(&input["template"])).of(&meta, name, &text(&input["localZone"]));
    let found = found.map_err(|e| e.to_string());
    let expected = &doc["expected"];
    let matches = match (expected["hostname"].as_str(), expected["errorContains"].as_str(), &found) {
        (Some(hostname), None, Ok(found)) => found == hostname,
        (None, Some(part), Err(error)) => error.contains(part),
        _ => false,
    };
    if matches { Ok(()) } else { Err(format!("{found:?}, expected {expected}")) }
}
