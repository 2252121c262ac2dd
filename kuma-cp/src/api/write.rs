//! Writing resources: `PUT` creates or replaces, `DELETE` deletes.
//!
//! A write is read-then-write with the version that was read. When somebody else writes in between, it is tried once
//! more from the beginning, which is what the client would do; a second race is answered with 409. The answer waits
//! until the state shows the write, so that a client reads what it wrote.

use std::time::Duration;

use axum::{http::StatusCode, response::Response};
use kuma_core::{
    json::{self, DecodeFault, Received},
    labels,
    meta::label,
    names,
    registry::Kind,
    resource::{AnyResource, Key},
    state::MeshState,
    store::{Revision, StoreError, Write},
    validate::{Path, Violations},
};
use serde_json::{Value, json};

use super::{
    about::writable,
    context::{ApiContext, Asked},
    print,
    problem::{BAD_REQUEST, Problem},
    read::{may_access, mesh_exists},
};
use crate::{config::Mode, ownership::owner_of};

/// Longest wait for the state to show a write. The write has happened in any case.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// Title of problems with what a request says.
const PROCESS: &str = "Could not process a resource";
/// Title of problems with storing something new.
const CREATE: &str = "Failed to create a resource";
/// Title of problems with storing something again.
const UPDATE: &str = "Failed to update a resource";
/// Longest name of a Mesh: it is part of DNS names.
const MAX_MESH_NAME: usize = 63;
/// Title of problems with deletions.
const DELETE: &str = "Could not delete a resource";

const READ_ONLY_ZONE: &str = "On zone control plane you can only modify zone resources with 'kumactl apply' or via the \
     HTTP API. You can still use 'kumactl' or the HTTP API to modify the rest of the resource on the global control \
     plane.\n";
const READ_ONLY_GLOBAL: &str = "On global control plane you can not modify dataplane resources with 'kumactl apply' or \
     via the HTTP API. You can still use 'kumactl' or the HTTP API to modify them on the zone control plane.\n";

/// The answer to writes of what cannot be written here. The text goes by the mode alone.
pub(super) fn read_only(context: &ApiContext) -> Problem {
    Problem::read_only(match context.site.mode {
        Mode::Zone => READ_ONLY_ZONE,
        Mode::Global => READ_ONLY_GLOBAL,
    })
}

fn refuse_read_only(context: &ApiContext, kind: Kind) -> Result<(), Problem> {
    if writable(&context.site, context.settings.read_only, kind.descriptor()) {
        Ok(())
    } else {
        Err(read_only(context))
    }
}

/// `PUT .../N`
pub(super) async fn put(context: &ApiContext, asked: &Asked, key: &Key) -> Result<Response, Problem> {
    refuse_read_only(context, key.kind)?;
    mesh_exists(&asked.state, &key.mesh)?;
    let received = json::from_text(key.kind, &asked.body).map_err(unreadable)?;
    let mut retried = false;
    loop {
        let stored = context.store.get(key).await.map_err(|e| Problem::store(PROCESS, &e))?;
        check_request(context, key, &received)?;
        may_access(context, asked, key.kind)?;
        let resource = admitted(context, key, &received, stored.as_ref())?;
        let warnings = resource.warnings();
        let (status, title, batch) = match stored {
            Some(stored) => {
                let update = Write::Update { resource, expected: stored.meta.version };
                (StatusCode::OK, UPDATE, vec![update])
            }
            None => (StatusCode::CREATED, CREATE, creation(context, resource).await?),
        };
        match context.store.write(batch).await {
            Ok(committed) => {
                shown(context, committed.revision).await;
                return Ok(print::json(status, &with_warnings(warnings)));
            }
            Err(error) if lost_race(&error) && !retried => retried = true,
            Err(StoreError::NotFound(missing)) => return Err(gone(title, &missing)),
            Err(error) => return Err(Problem::store(title, &error)),
        }
    }
}

fn with_warnings(warnings: Vec<String>) -> Value {
    if warnings.is_empty() { json!({}) } else { json!({"warnings": warnings}) }
}

/// An update whose object went away twice is a lost race like any other; a Mesh that went away is told by its name.
fn gone(title: &str, missing: &Key) -> Problem {
    if missing.kind == Kind::Mesh {
        let reason = format!("mesh of name {} is not found", missing.name);
        return Problem { detail: "Mesh is not found".into(), ..Problem::invalid_field(title, "mesh", reason) };
    }
    Problem::store(title, &StoreError::Conflict(missing.clone()))
}

/// A body that is no resource.
fn unreadable(fault: DecodeFault) -> Problem {
    match fault {
        DecodeFault::Malformed { .. } => Problem::bad(BAD_REQUEST, fault.to_string()),
        DecodeFault::Schema(violations) | DecodeFault::Semantic(violations) => Problem::invalid(PROCESS, violations),
    }
}

/// What the request says about itself: the path and the body agree, labels and names have the right form.
fn check_request(context: &ApiContext, key: &Key, received: &Received) -> Result<(), Problem> {
    let meta = &received.resource.meta;
    let mut out = Violations::new();
    let disagree = |out: &mut Violations, field: &str| {
        out.add(&Path::root(field), format!("{field} from the URL has to be the same as in body"));
    };
    if meta.name != key.name {
        disagree(&mut out, "name");
    }
    let site = &context.site;
    if site.labels.federated && site.zone.len() + 1 + key.name.len() >= names::MAX_NAME {
        out.add(&Path::root("name"), "the length of the name must be shorter");
    }
    if received.type_name != key.kind.name() {
        disagree(&mut out, "type");
    }
    if meta.mesh != key.mesh {
        disagree(&mut out, "mesh");
    }
    labels::check(&site.labels, key.kind, &meta.mesh, &meta.labels, &mut out);
    names::request_meta(key.kind.descriptor().scope, &meta.mesh, &meta.name, &mut out);
    out.into_result().map_err(|v| Problem::invalid(PROCESS, v))
}

/// The resource that is stored: labels computed, the status of the stored one kept.
fn admitted(
    context: &ApiContext,
    key: &Key,
    received: &Received,
    stored: Option<&AnyResource>,
) -> Result<AnyResource, Problem> {
    let mut resource = received.resource.with_status_of(stored);
    if stored.is_none() {
        check_workload(context, &resource)?;
    }
    let computed = labels::compute(&context.site.labels, &resource);
    let mut out = Violations::new();
    if let Some(stored) = stored {
        labels::check_unchanged(&stored.meta.labels, &computed, &mut out);
        out.into_result().map_err(|v| Problem::invalid("Could not update a resource", v))?;
    }
    resource.meta.labels = computed.into();
    let mut out = Violations::new();
    if key.kind == Kind::Mesh && stored.is_none() && key.name.len() > MAX_MESH_NAME {
        out.add(&Path::root("name"), format!("cannot be longer than {MAX_MESH_NAME} characters"));
    }
    names::stored_name(key.kind, resource.meta.display_name(), &mut out);
    let title = if stored.is_some() { UPDATE } else { CREATE };
    out.into_result().map_err(|v| Problem::invalid(title, v))?;
    Ok(resource)
}

/// The workload of a new proxy has to be a name that a Workload can have.
fn check_workload(context: &ApiContext, resource: &AnyResource) -> Result<(), Problem> {
    let Some(workload) = resource.meta.label(label::WORKLOAD).filter(|_| resource.kind() == Kind::Dataplane) else {
        return Ok(());
    };
    let at = format!("labels[{:?}]", label::WORKLOAD);
    if context.site.mode == Mode::Global {
        return Err(Problem::bad_request(format!("{at}: not allowed on Global control plane")));
    }
    let faults = names::dns1035_label(workload);
    if faults.is_empty() {
        return Ok(());
    }
    Err(Problem::bad_request(format!("{at}: must be a valid DNS-1035 label ({})", faults.join(", "))))
}

/// What is written for a new object: itself, and what a Mesh brings with it.
async fn creation(context: &ApiContext, resource: AnyResource) -> Result<Vec<Write>, Problem> {
    let companions = match resource.kind() {
        Kind::Mesh => context.companions.of(&resource).await.map_err(|e| Problem::internal(CREATE, &e))?,
        _ => Vec::new(),
    };
    let owner = owner_of(&resource.key());
    let mut batch = vec![Write::Create { resource, owner }];
    // What an earlier Mesh of the name left behind in a database stays as it is.
    let state = context.state.current();
    batch.extend(companions.into_iter().filter(|write| state.get(&write.key()).is_none()));
    Ok(batch)
}

/// `DELETE .../N`
pub(super) async fn delete(context: &ApiContext, asked: &Asked, key: &Key) -> Result<Response, Problem> {
    refuse_read_only(context, key.kind)?;
    mesh_exists(&asked.state, &key.mesh)?;
    let mut retried = false;
    loop {
        let stored = context.store.get(key).await.map_err(|e| Problem::store(DELETE, &e))?;
        let stored = stored.ok_or_else(|| Problem::not_found(DELETE))?;
        let mut out = Violations::new();
        labels::check_origin(&context.site.labels, key.kind, &stored.meta.labels, &mut out);
        out.into_result().map_err(|v| Problem::invalid(DELETE, v))?;
        may_access(context, asked, key.kind)?;
        let state = context.state.current();
        let batch = deletion(context, &state, &stored)?;
        match context.store.write(batch).await {
            Ok(committed) => {
                shown(context, committed.revision).await;
                return Ok(print::ok(&json!({})));
            }
            Err(error) if lost_race(&error) && !retried => retried = true,
            Err(error) => return Err(Problem::store(DELETE, &error)),
        }
    }
}

/// What has to be deleted with an object, unless it is in use. Objects that a Mesh owns go with it in the store;
/// Dataplanes and Secrets of users have no owner and would turn up in a later Mesh of that name.
fn deletion(context: &ApiContext, state: &MeshState, stored: &AnyResource) -> Result<Vec<Write>, Problem> {
    let key = stored.key();
    let in_use = |field: &str, reason: &str| Err(Problem::invalid_field(DELETE, field, reason));
    let mut batch = Vec::new();
    if key.kind == Kind::Mesh {
        if !context.settings.unsafe_delete && state.list_in(Kind::Dataplane, &key.name).next().is_some() {
            return in_use("mesh", "unable to delete mesh, there are still some dataplanes attached");
        }
        for kind in [Kind::Dataplane, Kind::Secret] {
            let left = state.list_in(kind, &key.name).map(|r| Write::Delete { key: r.key(), expected: None });
            batch.extend(left);
        }
    }
    if key.kind == Kind::Zone && !context.settings.unsafe_delete && zone_is_online(state, &key.name) {
        return in_use("zone", "unable to delete Zone, Zone CP is still connected, please shut it down first");
    }
    batch.push(Write::Delete { key, expected: Some(stored.meta.version) });
    Ok(batch)
}

fn zone_is_online(state: &MeshState, name: &str) -> bool {
    let insight = Kind::by_name("ZoneInsight").and_then(|kind| state.get(&Key::new(kind, "", name)));
    insight.is_some_and(super::insight::zone_online)
}

/// Somebody else wrote between our read and our write.
fn lost_race(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable(_))
}

async fn shown(context: &ApiContext, revision: Revision) {
    if tokio::time::timeout(SHOWN_WITHIN, context.state.at_least(revision)).await.is_err() {
        tracing::warn!(revision = revision.0, "a write is stored, and the state does not show it yet");
    }
}
