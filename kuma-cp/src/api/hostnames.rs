//! `_hostnames`: the names under which a destination is known, and in which zones.

use std::collections::{BTreeMap, BTreeSet};

use axum::response::Response;
use kuma_core::{
    hostname::Hostnames,
    meta::{Labels, label},
    registry::Kind,
    resource::{AnyResource, Key},
    resources::{HostnameGenerator, HostnameSelector, LabelSelector},
};
use serde_json::{Value, json};

use super::{
    context::{ApiContext, Asked},
    print,
    problem::Problem,
    read::mesh_exists,
};
use crate::config::Mode;

/// Collections of destinations, as the message lists them.
const COLLECTIONS: &str = "meshservices,meshexternalservices,meshmultizoneservices";

/// `GET /meshes/M/{collection}/N/_hostnames`
pub(super) fn hostnames(
    context: &ApiContext,
    asked: &Asked,
    collection: &str,
    mesh: &str,
    name: &str,
) -> Result<Response, Problem> {
    mesh_exists(&asked.state, mesh)?;
    if !COLLECTIONS.split(',').any(|c| c == collection) {
        let title = format!("only {COLLECTIONS:?} are available for inspection");
        return Err(Problem::bad(title, "Resource is not valid"));
    }
    let service = Kind::by_path(collection)
        .and_then(|kind| asked.state.get(&Key::new(kind, mesh, name)))
        .ok_or_else(|| Problem::not_found("could not retrieve service"))?;
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for generator in asked.state.list(Kind::HostnameGenerator) {
        let Some(spec) = generator.spec::<HostnameGenerator>() else { continue };
        if !selector_of(&spec.selector, service.kind()).is_some_and(|s| selects(context, s, service)) {
            continue;
        }
        if let Ok(hostname) =
            Hostnames::new(&spec.template).unchecked(&service.meta, &service.meta.name, &context.site.zone)
        {
            found.entry(hostname).or_default().insert(zone_of(service));
        }
    }
    let items: Vec<Value> = found
        .into_iter()
        .map(|(hostname, zones)| {
            let zones: Vec<Value> = zones.into_iter().map(|zone| json!({"name": zone})).collect();
            json!({"hostname": hostname, "zones": zones})
        })
        .collect();
    let total = items.len();
    let items = if items.is_empty() { Value::Null } else { items.into() };
    Ok(print::ok(&json!({"items": items, "total": total})))
}

fn selector_of(selector: &HostnameSelector, kind: Kind) -> Option<&LabelSelector> {
    match kind.name() {
        "MeshService" => selector.mesh_service.as_ref(),
        "MeshExternalService" => selector.mesh_external_service.as_ref(),
        _ => selector.mesh_multi_zone_service.as_ref(),
    }
}

/// A zone sees one origin of a service. Above zones, its own zone sees the origin `zone` and all others see `global`.
fn selects(context: &ApiContext, selector: &LabelSelector, service: &AnyResource) -> bool {
    match context.site.mode {
        Mode::Zone => selector.matches(&service.meta.labels),
        Mode::Global => ["zone", "global"].into_iter().any(|origin| {
            let mut labels: Labels = (*service.meta.labels).clone();
            labels.insert(label::ORIGIN.to_owned(), origin.to_owned());
            selector.matches(&labels)
        }),
    }
}

/// A service that no zone provides stands under its own name.
fn zone_of(service: &AnyResource) -> String {
    match service.meta.zone() {
        "" => service.meta.name.to_string(),
        zone => zone.to_owned(),
    }
}
