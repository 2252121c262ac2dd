//! Who matches whom: proxies of a policy, proxies of a service, policies of a proxy.

use std::sync::Arc;

use axum::response::Response;
use kuma_core::{
    plan::{PolicyHead, Selected, Serving, selects, views},
    policies::{MeshHTTPRoute, policy::Policy},
    registry::{Kind, WithPolicy},
    resource::{AnyResource, Key, Resource},
    resources::{Dataplane, MeshService},
    state::MeshState,
};
use serde_json::{Map, Value, json};

use super::{
    meta,
    scene::{Scene, facts_of},
};
use crate::api::{
    context::Asked,
    list::{Filter, Page, page_offset, page_size},
    print,
    problem::Problem,
    read::mesh_exists,
};

/// Title of problems with a policy or its page.
const POLICY: &str = "Could not retrieve policy";

/// `GET .../<policy>/N/_resources/dataplanes`
pub(in crate::api) fn policy_proxies(asked: &Asked, key: &Key) -> Result<Response, Problem> {
    mesh_exists(&asked.state, &key.mesh)?;
    let policy = asked.state.get(key).ok_or_else(|| Problem::not_found(POLICY))?;
    let selects = Selector::of(&asked.state, policy);
    proxies(asked, &key.mesh, |dataplane| selects.selected(dataplane).is_some())
}

/// `GET .../meshservices/N/_dataplanes`
pub(in crate::api) fn service_proxies(asked: &Asked, mesh: &str, name: &str) -> Result<Response, Problem> {
    mesh_exists(&asked.state, mesh)?;
    let service: Resource<MeshService> = asked.state.find(mesh, name).ok_or_else(|| Problem::not_found(POLICY))?;
    let serving = Serving::of(&service);
    proxies(asked, mesh, |dataplane| facts_of(dataplane).is_some_and(|facts| serving.serves(&facts)))
}

/// A page of the proxies of a mesh for which `wanted` holds.
fn proxies(asked: &Asked, mesh: &str, wanted: impl Fn(&Resource<Dataplane>) -> bool) -> Result<Response, Problem> {
    let size = page_size(&asked.query, POLICY)?;
    let offset = page_offset(&asked.query, POLICY)?;
    let filter = Filter::by_name(&asked.query);
    let matching = asked
        .state
        .list_in(Kind::Dataplane, mesh)
        .filter(|resource| filter.shows(resource))
        .filter(|resource| resource.typed().is_some_and(|dataplane| wanted(&dataplane)));
    let row = |r: &AnyResource| meta("Dataplane", &r.meta.mesh, &r.meta.name, &r.meta.labels);
    let page = Page::cut(matching, size, offset).map(row);
    Ok(print::ok(&page.into_sorted_json(|offset| asked.page_link(offset))))
}

/// `GET .../<policy>/N/dataplanes`, of earlier releases. A policy that does not exist has no proxies.
pub(in crate::api) fn policy_attachments(asked: &Asked, key: &Key) -> Result<Response, Problem> {
    mesh_exists(&asked.state, &key.mesh).map_err(|p| Problem { title: "Could not list Dataplanes".into(), ..p })?;
    let selector = asked.state.get(key).map(|policy| Selector::of(&asked.state, policy));
    let mut items = Vec::new();
    for resource in asked.state.list_in(Kind::Dataplane, &key.mesh) {
        let Some(dataplane) = resource.typed::<Dataplane>() else { continue };
        let Some(selected) = selector.as_ref().and_then(|s| s.selected(&dataplane)) else { continue };
        items.push(json!({
            "kind": "SidecarDataplane",
            "dataplane": {"mesh": &*resource.meta.mesh, "name": &*resource.meta.name},
            "attachments": attachments(&selected),
        }));
    }
    Ok(print::ok(&json!({"total": items.len(), "items": items})))
}

fn attachments(selected: &Selected) -> Vec<Value> {
    let inbounds = selected.inbounds.iter().map(|at| json!({"type": "inbound", "name": at.to_string()}));
    let proxy = selected.gateway.then(|| json!({"type": "dataplane"}));
    inbounds.chain(proxy).collect()
}

/// `GET .../dataplanes/N/policies`, of earlier releases.
pub(super) fn matched_policies(scene: &Scene<'_>) -> Value {
    let mut matched = Map::new();
    for kind in scene.rules() {
        if kind.policies.is_empty() {
            continue;
        }
        let row = |p: &Arc<PolicyHead>| meta(p.kind.name(), &p.meta.mesh, &p.meta.name, &p.meta.labels);
        matched.insert(kind.kind.name().to_owned(), kind.policies.iter().map(row).collect());
    }
    matched.sort_keys();
    let items =
        if matched.is_empty() { Vec::new() } else { vec![json!({"type": "dataplane", "matchedPolicies": matched})] };
    json!({"kind": "SidecarDataplane", "total": items.len(), "items": items})
}

/// A policy that is asked for its proxies.
struct Selector {
    head: PolicyHead,
    routes: Vec<Arc<PolicyHead>>,
}

impl Selector {
    fn of(state: &MeshState, policy: &AnyResource) -> Self {
        let routes = views::<MeshHTTPRoute>(state, &policy.meta.mesh).iter().map(|r| r.head.clone()).collect();
        let head = policy.kind().with_policy(HeadOf(policy)).flatten();
        Self { head: head.unwrap_or_else(|| PolicyHead::new(policy.kind(), &policy.meta, None)), routes }
    }

    fn selected(&self, dataplane: &Resource<Dataplane>) -> Option<Selected> {
        // A policy that is only tried out concerns nobody yet.
        if self.head.shadow {
            return None;
        }
        selects(&self.head, &facts_of(dataplane)?, &self.routes).ok().flatten()
    }
}

struct HeadOf<'a>(&'a AnyResource);

impl WithPolicy for HeadOf<'_> {
    type Out = Option<PolicyHead>;

    fn run<P: Policy>(self) -> Self::Out {
        let policy: Resource<P> = self.0.typed()?;
        Some(PolicyHead::new(P::DESCRIPTOR.kind, &policy.meta, policy.spec().target_ref()))
    }
}
