//! Counts of one mesh, computed from the state whenever they are asked for: always as new as the state, and nothing is
//! written for them.

use std::collections::BTreeMap;

use axum::response::Response;
use kuma_core::{
    json::to_rest_in,
    meta::{Labels, Meta},
    registry::{Kind, Role},
    resource::{AnyResource, Key, NoStatus},
    resources::{Dataplane, DataplaneInsight, MeshInsight, ProxyCounts, ResourceCount},
    state::MeshState,
};
use serde_json::Value;

use super::{
    super::{
        context::{ApiContext, Asked},
        list::{self, Filter, Page, page_offset, page_size},
        print,
        problem::Problem,
        read::insight_of,
    },
    Health, proxy_health,
};

/// `GET /mesh-insights`
pub(in crate::api) fn mesh_insights(context: &ApiContext, asked: &Asked) -> Result<Response, Problem> {
    let size = page_size(&asked.query, list::TITLE)?;
    let filter = Filter::parse(Kind::MeshInsight, &asked.query, &asked.pattern)?;
    let offset = page_offset(&asked.query, list::TITLE)?;
    let shown = |mesh: &&AnyResource| filter.shows(&mesh.with_meta(meta(mesh)));
    let page = Page::cut(asked.state.list(Kind::Mesh).filter(shown), size, offset)
        .map(|mesh| to_rest_in(&insight(&asked.state, mesh), &context.settings.time_zone));
    Ok(print::ok(&page.into_json(|offset| asked.page_link(offset))))
}

/// `GET /mesh-insights/{mesh}`
pub(in crate::api) fn mesh_insight(context: &ApiContext, asked: &Asked, name: &str) -> Result<Response, Problem> {
    let mesh = asked.state.get(&Key::new(Kind::Mesh, "", name));
    let mesh = mesh.ok_or_else(|| Problem::not_found("Could not retrieve a resource"))?;
    Ok(print::ok(&to_rest_in(&insight(&asked.state, mesh), &context.settings.time_zone)))
}

/// The insight exists as long as its Mesh does, and has no labels.
fn meta(mesh: &AnyResource) -> Meta {
    Meta { labels: Labels::new().into(), ..mesh.meta.clone() }
}

fn insight(state: &MeshState, mesh: &AnyResource) -> AnyResource {
    let name = &mesh.meta.name;
    let mut spec = MeshInsight::default();
    let mut modified = mesh.meta.modified;
    for proxy in state.list_in(Kind::Dataplane, name) {
        let health = proxy_health(state, proxy);
        let gateway =
            proxy.spec::<Dataplane>().and_then(|d| d.networking.as_ref()).is_some_and(|n| n.gateway.is_some());
        count(&mut spec.dataplanes, health);
        if gateway {
            count(&mut spec.dataplanes_by_type.gateway, health);
            count(&mut spec.dataplanes_by_type.gateway_delegated, health);
        } else {
            count(&mut spec.dataplanes_by_type.standard, health);
        }
        let known = insight_of(state, proxy);
        modified = known.map_or(modified, |known| known.meta.modified.max(modified));
        let known = known.and_then(AnyResource::spec::<DataplaneInsight>);
        let version = known.and_then(|i| i.subscriptions.last()).and_then(|s| s.version.as_ref());
        let of = |program: &str| {
            let text = version.and_then(|v| v.get(program)?.get("version")?.as_str());
            text.filter(|text| !text.is_empty()).unwrap_or("unknown").to_owned()
        };
        count_by(&mut spec.dp_versions.kuma_dp, of("kumaDp"), health);
        count_by(&mut spec.dp_versions.envoy, of("envoy"), health);
        if let Some(mtls) = known.and_then(|i| i.mtls.as_ref()) {
            let issued = mtls.get("issuedBackend").and_then(Value::as_str).unwrap_or_default();
            count_by(&mut spec.mtls.issued_backends, issued.to_owned(), health);
            let supported = mtls.get("supportedBackends").and_then(Value::as_array).into_iter().flatten();
            for backend in supported.filter_map(Value::as_str) {
                count_by(&mut spec.mtls.supported_backends, backend.to_owned(), health);
            }
        }
    }
    for kind in Kind::ALL.iter().filter(|k| k.descriptor().mesh_scoped() && k.descriptor().role != Role::Insight) {
        let mut total = 0;
        for resource in state.list_in(*kind, name) {
            total += 1;
            modified = modified.max(resource.meta.modified);
        }
        if total > 0 {
            spec.resources.insert(kind.name().to_owned(), ResourceCount { total });
        }
    }
    AnyResource::new(Meta { modified, ..meta(mesh) }, spec, NoStatus {})
}

fn count(counts: &mut ProxyCounts, health: Health) {
    counts.total += 1;
    match health {
        Health::Online => counts.online += 1,
        Health::PartiallyDegraded => counts.partially_degraded += 1,
        Health::Offline => counts.offline += 1,
    }
}

fn count_by(counts: &mut BTreeMap<String, ProxyCounts>, key: String, health: Health) {
    count(counts.entry(key).or_default(), health);
}
