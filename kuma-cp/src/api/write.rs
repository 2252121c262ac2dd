//! Writing resources: `PUT` creates or replaces, `DELETE` deletes.
//!
//! A write is read-then-write with the version that was read. When somebody else writes in between, it is tried once
//! more from the beginning, which is what the client would do; a second race is answered with 409. The answer waits
//! until the state shows the write, so that a client reads what it wrote.

use std::time::Duration;

use axum::{http::StatusCode, response::Response};
use kuma_core::{
    admit::{self, CREATE, DELETE, InUse, PROCESS, UPDATE},
    json::{self, DecodeFault},
    registry::Kind,
    resource::{AnyResource, Key},
    state::MeshState,
    store::{Author, Committed, Revision, StoreError, Write},
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
    let former = former(context, asked, key).await?;
    let mut retried = false;
    loop {
        let stored = context.store.get(key).await.map_err(|e| Problem::store(PROCESS, &e))?;
        let site = &context.site.labels;
        admit::request(site, key, &received)?;
        may_access(context, asked, key.kind)?;
        if stored.is_none() {
            admit::workload(site, &received.resource)?;
        }
        let resource = admit::write(site, &received.resource, stored.as_ref())?;
        let resource = match &former {
            Some(former) => resource.carrying(former),
            None => resource,
        };
        let warnings = resource.warnings();
        let (status, title, batch) = match stored {
            Some(stored) => {
                let replacement = Write::Replace { resource, expected: stored.meta.version };
                (StatusCode::OK, UPDATE, vec![replacement])
            }
            None => (StatusCode::CREATED, CREATE, creation(context, resource).await?),
        };
        match write(context, asked, batch).await {
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

/// What the object was at the revision that the request goes back to (`?revision=`): fields that this version does not
/// know are in no body, and come back with the rest of it.
async fn former(context: &ApiContext, asked: &Asked, key: &Key) -> Result<Option<AnyResource>, Problem> {
    let Ok(number) = asked.query.get("revision").parse::<u64>() else { return Ok(None) };
    let history = context.store.history(key).await.map_err(|e| Problem::store(PROCESS, &e))?;
    let past = history.into_iter().find(|past| past.number == number).and_then(|past| past.content);
    Ok(past.and_then(|content| content.resource(key).ok()))
}

/// Writes for the user who asked.
async fn write(context: &ApiContext, asked: &Asked, batch: Vec<Write>) -> Result<Committed, StoreError> {
    context.store.write_as(Author::User(asked.user.name.as_str().into()), batch).await
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
        let state = context.state.current();
        admit::delete(&context.site.labels, &stored, in_use(context, &state, key))?;
        may_access(context, asked, key.kind)?;
        let batch = deletion(&state, &stored);
        match write(context, asked, batch).await {
            Ok(committed) => {
                shown(context, committed.revision).await;
                return Ok(print::ok(&json!({})));
            }
            Err(error) if lost_race(&error) && !retried => retried = true,
            Err(error) => return Err(Problem::store(DELETE, &error)),
        }
    }
}

/// What keeps an object from being deleted.
fn in_use(context: &ApiContext, state: &MeshState, key: &Key) -> InUse {
    let counts = !context.settings.unsafe_delete;
    InUse {
        dataplanes: counts && key.kind == Kind::Mesh && state.list_in(Kind::Dataplane, &key.name).next().is_some(),
        zone_online: counts && key.kind == Kind::Zone && zone_is_online(state, &key.name),
    }
}

/// What has to be deleted with an object. Objects that a Mesh owns go with it in the store; Dataplanes and Secrets of
/// users have no owner and would turn up in a later Mesh of that name.
fn deletion(state: &MeshState, stored: &AnyResource) -> Vec<Write> {
    let key = stored.key();
    let mut batch = Vec::new();
    if key.kind == Kind::Mesh {
        for kind in [Kind::Dataplane, Kind::Secret] {
            let left = state.list_in(kind, &key.name).map(|r| Write::Delete { key: r.key(), expected: None });
            batch.extend(left);
        }
    }
    batch.push(Write::Delete { key, expected: Some(stored.meta.version) });
    batch
}

fn zone_is_online(state: &MeshState, name: &str) -> bool {
    let insight = Kind::by_name("ZoneInsight").and_then(|kind| state.get(&Key::new(kind, "", name)));
    insight.is_some_and(super::insight::zone_online)
}

/// Somebody else wrote between our read and our write.
fn lost_race(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable(_) | StoreError::Fenced | StoreError::Unreadable(_))
}

async fn shown(context: &ApiContext, revision: Revision) {
    if tokio::time::timeout(SHOWN_WITHIN, context.state.at_least(revision)).await.is_err() {
        tracing::warn!(revision = revision.0, "a write is stored, and the state does not show it yet");
    }
}
