//! What this control plane is and knows: itself, its configuration, its kinds of resources, the caller.

use axum::response::Response;
use kuma_core::registry::{Descriptor, Kind, Role, Scope, Sync, Targets};
use serde_json::{Map, Value, json};

use super::{
    context::{ApiContext, Asked, Site},
    print,
    problem::Problem,
};
use crate::{auth::Action, config::Mode, version};

/// `GET /`
pub(super) fn index(context: &ApiContext) -> Response {
    let about = &context.about;
    print::ok(&json!({
        "hostname": about.hostname,
        "product": version::PRODUCT,
        "version": about.version,
        "instanceId": about.instance_id,
        "clusterId": about.cluster_id,
        "gui": about.gui,
    }))
}

/// `GET /config`
pub(super) fn config(context: &ApiContext, asked: &Asked) -> Result<Response, Problem> {
    context.access.check(&asked.user, Action::ControlPlaneMetadata).map_err(|d| Problem::denied(&d))?;
    Ok(print::raw_json(context.config.clone()))
}

/// `GET /who-am-i`
pub(super) fn who_am_i(asked: &Asked) -> Response {
    print::ok(&json!({"name": asked.user.name, "groups": asked.user.groups}))
}

/// Whether objects of a kind can be written on this control plane.
pub(super) fn writable(site: &Site, read_only: bool, descriptor: &Descriptor) -> bool {
    if read_only || descriptor.read_only() {
        return false;
    }
    match (site.mode, site.labels.federated) {
        (Mode::Global, _) => descriptor.sync != Sync::ZoneToGlobal,
        (Mode::Zone, true) => descriptor.sync != Sync::GlobalToZone,
        (Mode::Zone, false) => true,
    }
}

/// `GET /policies`
pub(super) fn policies(context: &ApiContext) -> Response {
    let list = sorted(|d| {
        let Role::Policy(targets) = d.role else { return None };
        Some(json!({
            "name": d.name,
            "readOnly": !writable(&context.site, context.settings.read_only, d),
            "path": d.path,
            "singularDisplayName": d.display,
            "pluralDisplayName": d.display_plural,
            "isExperimental": false,
            "isTargetRefBased": true,
            "isInbound": targets.rules,
            "isOutbound": targets.to,
        }))
    });
    print::ok(&json!({"policies": list}))
}

/// `GET /_resources`
pub(super) fn resources(context: &ApiContext) -> Response {
    // Limits of a global control plane are not shown here.
    let none_writable = context.settings.read_only || context.site.labels.federated;
    let list = sorted(|d| Some(describe(d, none_writable || d.read_only())));
    print::ok(&json!({"resources": list}))
}

fn sorted(row: impl Fn(&Descriptor) -> Option<Value>) -> Vec<Value> {
    let mut kinds: Vec<&Descriptor> = Kind::ALL.iter().map(|k| k.descriptor()).filter(|d| !d.path.is_empty()).collect();
    kinds.sort_by_key(|d| d.name);
    kinds.into_iter().filter_map(row).collect()
}

fn describe(d: &Descriptor, read_only: bool) -> Value {
    let mut row = Map::new();
    row.insert("includeInFederation".into(), matches!(d.sync, Sync::GlobalToZone | Sync::Both).into());
    row.insert("name".into(), d.name.into());
    row.insert("path".into(), d.path.into());
    row.insert("pluralDisplayName".into(), d.display_plural.into());
    if let Role::Policy(Targets { to, rules, .. }) = d.role {
        let policy = json!({
            "hasFromTargetRef": false,
            "hasRulesTargetRef": rules,
            "hasToTargetRef": to,
            "isFromAsRules": false,
            "isTargetRef": true,
        });
        row.insert("policy".into(), policy);
    }
    row.insert("readOnly".into(), read_only.into());
    row.insert("scope".into(), if d.scope == Scope::Mesh { "Mesh" } else { "Global" }.into());
    row.insert("shortName".into(), d.short.unwrap_or_default().into());
    row.insert("singularDisplayName".into(), d.display.into());
    Value::Object(row)
}
