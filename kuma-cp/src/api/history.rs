//! What resources were: their revisions, and a resource as it was at one. Also of resources, and in meshes, that were
//! deleted.

use axum::{http::StatusCode, response::Response};
use jiff::Timestamp;
use kuma_core::{
    json::{self, time_text},
    meta::UNSET_TIME,
    resource::{AnyResource, Key},
    store::history::{Action, Past, is_recorded, keeps_content},
};
use serde_json::{Value, json};

use super::{
    context::{ApiContext, Asked},
    print,
    problem::Problem,
    read::{may_access, shown},
};

const TITLE: &str = "Could not retrieve the history of a resource";
const ONE: &str = "Could not retrieve a revision of a resource";

/// `GET .../N/_history`: newest first, each revision with the resource as it was from then on.
pub(super) async fn list(context: &ApiContext, asked: &Asked, key: &Key) -> Result<Response, Problem> {
    may_access(context, asked, key.kind)?;
    let history = context.store.history(key).await.map_err(|e| Problem::store(TITLE, &e))?;
    if history.is_empty() && asked.state.get(key).is_none() {
        return Err(Problem::not_found(TITLE));
    }
    let zone = &context.settings.time_zone;
    let item = |past: &Past| {
        let (sort, name) = past.author.parts();
        let mut item = json!({
            "revision": past.number,
            "time": time_text(past.at, zone),
            "author": {"type": sort},
            "action": past.action.name(),
        });
        if !name.is_empty() {
            item["author"]["name"] = name.into();
        }
        match past.content.as_ref().map(|content| content.resource(key)) {
            None => {}
            Some(Ok(resource)) => {
                let resource = resource.with_meta(dated(&resource, past, &history, asked.state.get(key)));
                item["resource"] = without_status(json::to_rest_in(&resource, zone));
            }
            Some(Err(why)) => item["unreadable"] = why.into(),
        }
        item
    };
    let items: Vec<Value> = history.iter().rev().map(item).collect();
    Ok(print::ok(&json!({"total": items.len(), "items": items, "next": null})))
}

/// `GET .../N?revision=`: the resource as it was.
pub(super) async fn one(context: &ApiContext, asked: &Asked, key: &Key) -> Result<Response, Problem> {
    may_access(context, asked, key.kind)?;
    let wanted = asked.query.get("revision");
    let Some(number) = wanted.parse::<u64>().ok().filter(|number| *number > 0) else {
        return Err(Problem::invalid_field(ONE, "revision", "must be a number greater than 0"));
    };
    let kind = key.kind;
    if !is_recorded(kind) {
        return Err(Problem::bad(ONE, format!("{kind} has no revisions: it is written by control planes alone")));
    }
    if !keeps_content(kind) {
        let why = format!("What was in a {kind} is not kept once it is replaced, only who replaced it and when");
        return Err(Problem::bad(ONE, why));
    }
    let history = context.store.history(key).await.map_err(|e| Problem::store(ONE, &e))?;
    let missing = |detail| Problem::new(StatusCode::NOT_FOUND, ONE, detail);
    let Some(past) = history.iter().find(|past| past.number == number) else {
        return Err(missing(match (history.first(), history.last()) {
            (Some(first), Some(last)) => {
                format!("There is no revision {number}: {} to {} are kept", first.number, last.number)
            }
            _ => format!("There is no revision {number}: none is kept"),
        }));
    };
    let Some(content) = &past.content else {
        return Err(missing(format!("The resource was deleted at revision {number}")));
    };
    let resource = content.resource(key).map_err(|why| {
        Problem::new(
            StatusCode::NOT_FOUND,
            ONE,
            format!("Revision {number} cannot be read by this version of the control plane: {why}"),
        )
    })?;
    let resource = resource.with_meta(dated(&resource, past, &history, asked.state.get(key)));
    shown(context, asked, &resource)
}

/// The metadata of a revision with its times. The time of creation may be in the revisions that are not kept; then it is
/// that of the resource that is there, if it is still the same one.
fn dated(resource: &AnyResource, past: &Past, history: &[Past], now: Option<&AnyResource>) -> kuma_core::meta::Meta {
    let until = history.partition_point(|other| other.number <= past.number);
    let created = history[..until].iter().rev().find(|other| other.action == Action::Created).map(|other| other.at);
    let still_there = || history[until..].iter().all(|other| other.action == Action::Updated);
    let created: Option<Timestamp> =
        created.or_else(|| now.filter(|_| still_there()).map(|resource| resource.meta.created));
    let mut meta = resource.meta.clone();
    meta.created = created.unwrap_or(UNSET_TIME);
    meta.modified = past.at;
    meta
}

/// Nobody knows what the status was.
fn without_status(mut resource: Value) -> Value {
    if let Value::Object(fields) = &mut resource {
        fields.shift_remove("status");
    }
    resource
}
