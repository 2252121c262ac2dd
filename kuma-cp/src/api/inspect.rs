//! What can be asked about policies, services and proxies: who matches whom, and what comes of it.
//!
//! Answers are computed from the state on request, by the functions that plan configurations.

mod admin;
mod config;
mod confs;
mod layout;
mod matching;
mod patch;
mod rules;
mod scene;

use axum::response::Response;
use kuma_core::{kri::Kri, resource::Resource, resources::Dataplane};
use serde_json::{Value, json};

use super::{
    context::{ApiContext, Asked},
    path::View,
    print,
    problem::Problem,
    read::mesh_exists,
};
pub(super) use matching::{policy_attachments, policy_proxies, service_proxies};
use scene::Scene;
use tokio::sync::Semaphore;

const NO_MESH: &str = "Failed to retrieve Mesh";

/// Views that are computed at the same time, at most: they are planned like configurations, which matter more.
static AT_ONCE: Semaphore = Semaphore::const_new(2);

/// Computes an answer off the threads that serve connections.
pub(super) async fn compute(
    answer: impl FnOnce() -> Result<Response, Problem> + Send + 'static,
) -> Result<Response, Problem> {
    // It is never closed. The permit goes with the work, which does not end when the client goes away.
    let permit = AT_ONCE.acquire().await;
    let computed = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        answer()
    });
    computed.await.unwrap_or_else(|error| Err(Problem::internal("Internal Server Error", &error)))
}

/// A view of one proxy that comes from resources.
pub(super) fn proxy(
    context: &ApiContext,
    asked: &Asked,
    mesh: &str,
    name: &str,
    view: View,
) -> Result<Response, Problem> {
    // Each view has titles of its own for what is missing.
    let (no_mesh, no_proxy) = match view {
        View::Layout => ("Failed to build MeshContext", "Failed to retrieve Dataplane"),
        View::Matched => ("Could not build MeshContext", "Could not get MatchedPolicies"),
        _ => (NO_MESH, "Could not retrieve Dataplane"),
    };
    if let View::Config = view {
        config::refuse_on_global(context)?;
    }
    let dataplane = dataplane(asked, mesh, name, no_mesh, no_proxy)?;
    match view {
        View::Rules => Ok(print::ok(&rules::rules(&Scene::of(&asked.state, &dataplane)))),
        View::Config => config::config(context, asked, &dataplane),
        View::Layout => Ok(print::ok(&layout::layout(&Scene::of(&asked.state, &dataplane)))),
        View::Policies => Ok(print::ok(&confs::of_proxy(&Scene::of(&asked.state, &dataplane)))),
        View::Matched => Ok(print::ok(&matching::matched_policies(&Scene::of(&asked.state, &dataplane)))),
        View::InboundPolicies(inbound) => {
            let inbound = kri(&inbound)?;
            confs::of_inbound(&Scene::of(&asked.state, &dataplane), &inbound).map(|v| print::ok(&v))
        }
        View::OutboundPolicies(outbound) => {
            let outbound = kri(&outbound)?;
            Ok(print::ok(&confs::of_outbound(&Scene::of(&asked.state, &dataplane), &outbound)))
        }
        View::OutboundRoutes(outbound) => {
            let outbound = kri(&outbound)?;
            Ok(print::ok(&confs::routes(&Scene::of(&asked.state, &dataplane), &outbound)))
        }
        View::RoutePolicies(outbound, route) => {
            let (outbound, route) = (kri(&outbound)?, kri(&route)?);
            Ok(print::ok(&confs::of_route(&Scene::of(&asked.state, &dataplane), &outbound, &route)))
        }
        View::Admin(_) => Err(Problem::not_found(no_proxy)),
    }
}

/// What the Envoy of a proxy says of itself. Who may see it is asked before anything is told.
pub(super) async fn admin(
    context: &ApiContext,
    asked: &Asked,
    mesh: &str,
    name: &str,
    kind: &str,
) -> Result<Response, Problem> {
    admin::allowed(context, asked, kind)?;
    let dataplane = dataplane(asked, mesh, name, NO_MESH, "Could not get dataplane resource")?;
    admin::admin(context, asked, &dataplane, kind).await
}

fn dataplane(
    asked: &Asked,
    mesh: &str,
    name: &str,
    no_mesh: &str,
    no_proxy: &str,
) -> Result<Resource<Dataplane>, Problem> {
    mesh_exists(&asked.state, mesh).map_err(|p| Problem { title: no_mesh.into(), ..p })?;
    asked.state.find(mesh, name).ok_or_else(|| Problem::not_found(no_proxy))
}

fn kri(text: &str) -> Result<Kri, Problem> {
    text.parse().map_err(Problem::bad_request)
}

/// A resource as these views name it.
fn meta(kind: &str, mesh: &str, name: &str, labels: &kuma_core::meta::Labels) -> Value {
    json!({"labels": labels, "mesh": mesh, "name": name, "type": kind})
}
