//! The REST API: resources, tokens, counts, and what can be asked about proxies.
//!
//! [`router`] makes an axum router out of an [`ApiContext`], which [`ApiContext::of`] makes out of a configuration. Reads are answered from the state in memory, writes go to
//! the store and are answered when the state shows them. Which endpoints exist follows from the registry of kinds
//! (`path`); the form of requests and the limits on them are the business of `exchange`.

mod about;
mod companions;
mod configured;
mod context;
mod cors;
mod exchange;
mod gui;
mod history;
mod hostnames;
mod insight;
mod inspect;
mod list;
mod memory;
mod offline;
mod path;
mod print;
mod problem;
mod query;
mod read;
#[cfg(test)]
mod tests;
mod token;
mod write;

use std::sync::Arc;

use kuma_core::registry::Kind;

use axum::{
    Router,
    body::Body,
    http::{Method, Request},
    response::Response,
};

pub use companions::{CompanionError, MeshCompanions, MeshDefaults, NoCompanions};
pub use context::*;
pub use exchange::RoutePattern;
pub use memory::{over, over_memory};
pub use offline::OfflineInspect;
use path::{Endpoint, View};
pub use problem::Problem;

/// The API of one port. Requests carry the address of their sender as axum's `ConnectInfo`; without it nobody is
/// taken for local.
pub fn router(context: Arc<ApiContext>, scheme: Scheme) -> Router {
    Router::new().fallback(move |request: Request<Body>| exchange::answer(context.clone(), scheme, request))
}

/// Has a request of good form answered.
async fn dispatch(
    context: &Arc<ApiContext>,
    method: &Method,
    endpoint: Endpoint,
    asked: Asked,
) -> Result<Response, Problem> {
    match endpoint {
        Endpoint::Index => Ok(about::index(context)),
        Endpoint::Config => about::config(context, &asked),
        Endpoint::WhoAmI => Ok(about::who_am_i(&asked)),
        Endpoint::Policies => Ok(about::policies(context)),
        Endpoint::Resources => Ok(about::resources(context)),
        Endpoint::GlobalInsight => Ok(insight::global_insight(context, &asked)),
        Endpoint::GlobalInsights => Ok(insight::global_insights(context, &asked)),
        Endpoint::Kri(kri) => read::by_kri(context, &asked, &kri),
        Endpoint::Token(kind) => token::token(context, kind, &asked).await,
        Endpoint::List(Kind::MeshInsight, _) => insight::mesh_insights(context, &asked),
        Endpoint::List(kind, mesh) => read::list(context, &asked, kind, mesh.as_deref()),
        Endpoint::Item(key) => match *method {
            Method::PUT => write::put(context, &asked, &key).await,
            Method::DELETE => write::delete(context, &asked, &key).await,
            _ if !asked.query.get("revision").is_empty() => history::one(context, &asked, &key).await,
            _ if key.kind == Kind::MeshInsight => insight::mesh_insight(context, &asked, &key.name),
            _ => read::one(context, &asked, &key),
        },
        Endpoint::History(key) => history::list(context, &asked, &key).await,
        Endpoint::Overviews(kind, mesh) => read::overviews(context, &asked, kind, mesh.as_deref()),
        Endpoint::Overview(key) => read::overview(context, &asked, &key),
        Endpoint::ServiceInsights(mesh) => insight::service_insights(context, &asked, mesh.as_deref()),
        Endpoint::ServiceInsight(mesh, name) => match *method {
            Method::GET => insight::service_insight(context, &asked, &mesh, &name),
            _ => Err(write::read_only(context)),
        },
        Endpoint::Hostnames(collection, mesh, name) => hostnames::hostnames(context, &asked, &collection, &mesh, &name),
        Endpoint::ServiceProxies(mesh, name) => {
            inspect::compute(move || inspect::service_proxies(&asked, &mesh, &name)).await
        }
        Endpoint::PolicyProxies(key) => inspect::compute(move || inspect::policy_proxies(&asked, &key)).await,
        Endpoint::PolicyAttachments(key) => inspect::compute(move || inspect::policy_attachments(&asked, &key)).await,
        Endpoint::Proxy(mesh, name, View::Admin(kind)) => inspect::admin(context, &asked, &mesh, &name, &kind).await,
        Endpoint::Proxy(mesh, name, view) => {
            let context = context.clone();
            inspect::compute(move || inspect::proxy(&context, &asked, &mesh, &name, view)).await
        }
    }
}
