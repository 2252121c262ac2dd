//! `sni`: the server name of a destination section, from the parts of its KRI.

use std::collections::BTreeSet;

use kuma_core::{
    kri::Kri,
    registry::Kind,
    sni::{self, SniError},
};

use crate::{case::Case, report::Outcome};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, one(&case.doc))).collect()
}

fn one(doc: &serde_json::Value) -> Result<(), String> {
    let part = |name: &str| doc["input"][name].as_str().unwrap_or_default();
    let short = short(part("resourceType")).ok_or_else(|| format!("no kind is called {}", part("resourceType")))?;
    let kri = Kri {
        short: short.into(),
        mesh: part("mesh").into(),
        zone: part("zone").into(),
        namespace: part("namespace").into(),
        name: part("name").into(),
        section: part("sectionName").into(),
    };
    let expected = &doc["expected"];
    if let Some(name) = expected["sni"].as_str() {
        let found = sni::sni(&kri).map_err(|e| e.to_string())?;
        let rendered = sni::render(&kri);
        return if found == name && rendered == name {
            Ok(())
        } else {
            Err(format!("the name is {found:?}, rendered as {rendered:?}, expected {name:?}"))
        };
    }
    let wanted: BTreeSet<&str> =
        expected["errors"].as_array().into_iter().flatten().filter_map(|e| e.as_str()).collect();
    let faults = match sni::sni(&kri) {
        Ok(found) => return Err(format!("the name is {found:?}, expected errors {wanted:?}")),
        Err(SniError::Invalid(faults)) => faults,
        Err(other) => vec![other.to_string()],
    };
    let found: BTreeSet<&str> = faults.iter().map(String::as_str).collect();
    if found == wanted { Ok(()) } else { Err(format!("errors {found:?}, expected {wanted:?}")) }
}

/// Short name of a kind of destination. Two of them have names although they are not resources here yet.
fn short(kind: &str) -> Option<&'static str> {
    match kind {
        "MeshExternalService" => Some("extsvc"),
        "MeshMultiZoneService" => Some("mzsvc"),
        other => Kind::by_name(other)?.descriptor().short,
    }
}
