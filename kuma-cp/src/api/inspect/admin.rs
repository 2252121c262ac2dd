//! `xds`, `stats` and `clusters`: what the Envoy of a proxy says of itself.

use axum::{http::StatusCode, response::Response};
use kuma_core::{resource::Resource, resources::Dataplane};

use crate::{
    api::{
        context::{AdminView, ApiContext, Asked, InspectError},
        print,
        problem::Problem,
    },
    auth::Action,
};

const TITLE: &str = "Could not execute admin operation";

/// Each view has a list of its own of who may see it.
pub(super) fn allowed(context: &ApiContext, asked: &Asked, kind: &str) -> Result<(), Problem> {
    let action = match kind {
        "xds" => Action::ViewConfigDump,
        "stats" => Action::ViewStats,
        "clusters" => Action::ViewClusters,
        _ => return Ok(()),
    };
    context.access.check(&asked.user, action).map_err(|denied| Problem::denied(&denied))
}

/// Asks Envoy.
pub(super) async fn admin(
    context: &ApiContext,
    asked: &Asked,
    dataplane: &Resource<Dataplane>,
    kind: &str,
) -> Result<Response, Problem> {
    let json = asked.query.get("format") == "json";
    let flag = |name: &str, default: bool| {
        asked
            .query
            .flag(name, default)
            .ok_or_else(|| Problem::bad_request(format!("unsupported value for query parameter '{name}'")))
    };
    let view = match kind {
        "xds" => AdminView::ConfigDump { include_eds: flag("include_eds", false)? },
        "stats" => AdminView::Stats { json, used_only: flag("usedonly", true)? },
        "clusters" => AdminView::Clusters { json },
        _ => return Err(Problem::not_found(TITLE)),
    };
    match context.inspect.admin(&asked.state, dataplane, view).await {
        Ok(answer) if answer.json => Ok(print::raw_json(answer.body)),
        Ok(answer) => Ok(print::text(StatusCode::OK, answer.body)),
        Err(InspectError::NotFound) => Err(Problem::not_found(TITLE)),
        Err(InspectError::Unreachable(reason) | InspectError::Failed(reason)) => Err(Problem::internal(TITLE, &reason)),
    }
}
