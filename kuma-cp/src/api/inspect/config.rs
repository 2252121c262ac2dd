//! `_config`: the Envoy configuration that a proxy gets, and what policies on trial would change.

use axum::response::Response;
use kuma_core::{resource::Resource, resources::Dataplane};
use serde_json::json;

use super::patch;
use crate::api::{
    context::{ApiContext, Asked, InspectError},
    print,
    problem::Problem,
};
use crate::config::Mode;

/// A global control plane knows no proxies.
pub(super) fn refuse_on_global(context: &ApiContext) -> Result<(), Problem> {
    match context.site.mode {
        Mode::Zone => Ok(()),
        Mode::Global => Err(Problem::read_only("Not allowed on global CP")),
    }
}

/// The whole answer.
pub(super) fn config(
    context: &ApiContext,
    asked: &Asked,
    dataplane: &Resource<Dataplane>,
) -> Result<Response, Problem> {
    let unsupported = |name| Problem::bad_request(format!("unsupported value for query parameter '{name}'"));
    let shadow = asked.query.flag("shadow", false).ok_or_else(|| unsupported("shadow"))?;
    let mut with_diff = false;
    for include in asked.query.all("include").iter().flat_map(|i| i.split(',')) {
        match include {
            "" => {}
            "diff" => with_diff = true,
            _ => return Err(unsupported("include")),
        }
    }
    let render = |shadow: bool| context.inspect.config(&asked.state, dataplane, shadow).map_err(problem);
    let xds = render(shadow)?;
    if !with_diff {
        return Ok(print::ok(&json!({"xds": xds})));
    }
    let plain = if shadow { render(false)? } else { xds.clone() };
    Ok(print::ok(&json!({"diff": patch::between(&plain, &xds), "xds": xds})))
}

fn problem(error: InspectError) -> Problem {
    match error {
        InspectError::NotFound => Problem::not_found("Failed to fetch dataplane insight"),
        InspectError::Unreachable(text) => Problem::bad("Failed to inspect proxy config", text),
        InspectError::Failed(text) => Problem::internal("Failed to inspect proxy config", &text),
    }
}
