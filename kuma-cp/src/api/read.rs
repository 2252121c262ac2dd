//! Reading resources: one, a list, with their insights, by identifier.

use axum::response::Response;
use kuma_core::{
    json::{self, Gap},
    kri::Kri,
    registry::{Kind, Shape},
    resource::{AnyResource, Key},
    state::MeshState,
};
use serde_json::Value;

use super::{
    context::{ApiContext, Asked},
    list::{self, Filter, Page, page_offset, page_size},
    print,
    problem::Problem,
};
use crate::{auth::Action, config::Mode};

/// Title of problems with one resource.
const ONE: &str = "Could not retrieve a resource";

/// The Mesh of a path must exist.
pub(super) fn mesh_exists(state: &MeshState, mesh: &str) -> Result<(), Problem> {
    if mesh.is_empty() || state.get(&Key::new(Kind::Mesh, "", mesh)).is_some() {
        Ok(())
    } else {
        Err(Problem::not_found("Failed to retrieve Mesh"))
    }
}

/// Kinds for admins are for admins.
pub(super) fn may_access(context: &ApiContext, asked: &Asked, kind: Kind) -> Result<(), Problem> {
    let descriptor = kind.descriptor();
    if !descriptor.admin_only() {
        return Ok(());
    }
    context.access.check(&asked.user, Action::AdminResource(descriptor.name)).map_err(|denied| Problem::denied(&denied))
}

/// `GET .../N`
pub(super) fn one(context: &ApiContext, asked: &Asked, key: &Key) -> Result<Response, Problem> {
    mesh_exists(&asked.state, &key.mesh)?;
    may_access(context, asked, key.kind)?;
    let resource = asked.state.get(key).ok_or_else(|| Problem::not_found(ONE))?;
    shown(context, asked, resource)
}

/// The resource in the format that the query asks for.
pub(super) fn shown(context: &ApiContext, asked: &Asked, resource: &AnyResource) -> Result<Response, Problem> {
    match asked.query.get("format") {
        "" | "universal" => {
            let value = json::to_rest_in(resource, &context.settings.time_zone);
            Ok(match resource.kind().descriptor().shape {
                Shape::Flat => print::ok(&value),
                Shape::SpecStatus => print::resource(&value),
            })
        }
        "k8s" | "kubernetes" => {
            let namespace = match asked.query.get("namespace") {
                "" => &context.site.system_namespace,
                namespace => namespace,
            };
            Ok(print::resource(&json::to_k8s(resource, namespace)))
        }
        _ => Err(Problem::invalid_field(ONE, "", r#""format" must be one of ["k8s", "kubernetes", "universal"]"#)),
    }
}

/// `GET .../_overview` of one resource.
pub(super) fn overview(context: &ApiContext, asked: &Asked, key: &Key) -> Result<Response, Problem> {
    mesh_exists(&asked.state, &key.mesh)?;
    may_access(context, asked, key.kind)?;
    let resource = asked.state.get(key).ok_or_else(|| Problem::not_found(ONE))?;
    let insight = insight_of(&asked.state, resource);
    Ok(print::ok(&json::overview(resource, insight, Gap::Empty, &context.settings.time_zone)))
}

/// The insight of a resource has its name.
pub(super) fn insight_of<'a>(state: &'a MeshState, resource: &AnyResource) -> Option<&'a AnyResource> {
    let kind = resource.kind().descriptor().insight?;
    state.get(&Key::new(kind, resource.meta.mesh.clone(), resource.meta.name.clone()))
}

/// `GET` of a collection, in one mesh or in all.
pub(super) fn list(context: &ApiContext, asked: &Asked, kind: Kind, mesh: Option<&str>) -> Result<Response, Problem> {
    let page = page(context, asked, kind, mesh)?;
    let value = page
        .map(|resource| json::to_rest_in(resource, &context.settings.time_zone))
        .into_json(|offset| asked.page_link(offset));
    Ok(match kind.descriptor().shape {
        Shape::Flat => print::ok(&value),
        Shape::SpecStatus => print::list(&value),
    })
}

/// `GET .../_overview` of a collection.
pub(super) fn overviews(
    context: &ApiContext,
    asked: &Asked,
    kind: Kind,
    mesh: Option<&str>,
) -> Result<Response, Problem> {
    let page = page(context, asked, kind, mesh)?;
    let overview = |resource: &AnyResource| -> Value {
        json::overview(resource, insight_of(&asked.state, resource), Gap::Omit, &context.settings.time_zone)
    };
    Ok(print::ok(&page.map(overview).into_json(|offset| asked.page_link(offset))))
}

fn page<'a>(
    context: &ApiContext,
    asked: &'a Asked,
    kind: Kind,
    mesh: Option<&'a str>,
) -> Result<Page<&'a AnyResource>, Problem> {
    let size = page_size(&asked.query, list::TITLE)?;
    let filter = Filter::parse(kind, &asked.query, &asked.pattern)?;
    mesh_exists(&asked.state, mesh.unwrap_or_default())?;
    may_access(context, asked, kind)?;
    let offset = page_offset(&asked.query, list::TITLE)?;
    Ok(match mesh {
        Some(mesh) => Page::cut(asked.state.list_in(kind, mesh).filter(|r| filter.shows(r)), size, offset),
        None => Page::cut(asked.state.list(kind).filter(|r| filter.shows(r)), size, offset),
    })
}

/// `GET /_kri/{kri}`
pub(super) fn by_kri(context: &ApiContext, asked: &Asked, text: &str) -> Result<Response, Problem> {
    let kri: Kri = text.parse().map_err(Problem::bad_request)?;
    let kind = Kind::by_short(&kri.short)
        .ok_or_else(|| Problem::bad_request(format!("unknown short name of resource type: {:?}", kri.short)))?;
    may_access(context, asked, kind)?;
    let resource = named(context, &asked.state, kind, &kri).ok_or_else(|| Problem::not_found(ONE))?;
    shown(context, asked, resource)
}

/// The resource that an identifier names. What was written here lies under its plain name; what was synchronised from
/// elsewhere is found by the labels that its identifier is made of.
pub(super) fn named<'a>(
    context: &ApiContext,
    state: &'a MeshState,
    kind: Kind,
    kri: &'a Kri,
) -> Option<&'a AnyResource> {
    let local = match context.site.mode {
        Mode::Zone => kri.zone == context.site.zone,
        Mode::Global => kri.zone.is_empty(),
    };
    let plain = Key::new(kind, kri.mesh.clone(), kri.name.clone());
    if local && let Some(resource) = state.get(&plain) {
        return Some(resource);
    }
    let whole = kri.whole();
    // The plain name first: an identifier that this API printed is found without looking at every resource.
    state
        .get(&plain)
        .filter(|r| r.kri().as_ref() == Some(&whole))
        .or_else(|| state.list_in(kind, &kri.mesh).find(|r| r.kri().as_ref() == Some(&whole)))
}
