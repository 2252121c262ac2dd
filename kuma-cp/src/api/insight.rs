//! Counts: over all meshes, by kind, and the services of earlier releases.

mod mesh;

use axum::response::Response;
use kuma_core::{
    json::time_text,
    registry::{Kind, Role, Scope},
    resource::AnyResource,
    resources::{Dataplane, DataplaneInsight, Inbound, InboundState, MeshService, ZoneListenerState},
    state::MeshState,
};
use serde_json::{Map, Value, json};

use super::{
    context::{ApiContext, Asked},
    list::{Page, page_offset, page_size},
    print,
    problem::Problem,
    read::{insight_of, mesh_exists},
};

pub(super) use mesh::{mesh_insight, mesh_insights};

/// Whether a proxy, or a service, does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Online,
    PartiallyDegraded,
    Offline,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    online: u64,
    offline: u64,
    degraded: u64,
}

impl Counts {
    fn add(&mut self, health: Health) {
        match health {
            Health::Online => self.online += 1,
            Health::PartiallyDegraded => self.degraded += 1,
            Health::Offline => self.offline += 1,
        }
    }

    fn to_json(self) -> Value {
        json!({
            "offline": self.offline,
            "online": self.online,
            "partiallyDegraded": self.degraded,
            "total": self.online + self.offline + self.degraded,
        })
    }
}

/// A gateway is online when it is connected; any other proxy also needs something that is ready.
fn proxy_health(state: &MeshState, resource: &AnyResource) -> Health {
    let connected = insight_of(state, resource)
        .and_then(AnyResource::spec::<DataplaneInsight>)
        .is_some_and(DataplaneInsight::online);
    let Some(networking) = resource.spec::<Dataplane>().and_then(|d| d.networking.as_ref()) else {
        return Health::Offline;
    };
    if networking.gateway.is_some() {
        return if connected { Health::Online } else { Health::Offline };
    }
    let takes = |i: &&Inbound| i.state != InboundState::NotReady && i.health.is_none_or(|h| h.ready);
    let ready = networking.inbound.iter().filter(takes).count()
        + networking.listeners.iter().filter(|l| l.state == ZoneListenerState::Ready).count();
    let all = networking.inbound.len() + networking.listeners.len();
    match (connected, ready) {
        (false, _) | (_, 0) => Health::Offline,
        (true, n) if n < all => Health::PartiallyDegraded,
        (true, _) => Health::Online,
    }
}

fn service_health(service: &AnyResource) -> Health {
    let Some(status) = service.status::<MeshService>() else { return Health::Offline };
    let proxies = &status.dataplane_proxies;
    match proxies.connected.min(proxies.healthy) {
        working if working > 0 && working >= proxies.total => Health::Online,
        working if working > 0 => Health::PartiallyDegraded,
        _ => Health::Offline,
    }
}

/// `GET /global-insight`
pub(super) fn global_insight(context: &ApiContext, asked: &Asked) -> Response {
    let state = &asked.state;
    let (mut standard, mut gateways, mut gateway_services) = (Counts::default(), Counts::default(), Counts::default());
    for proxy in state.list(Kind::Dataplane) {
        let health = proxy_health(state, proxy);
        let gateway =
            proxy.spec::<Dataplane>().and_then(|d| d.networking.as_ref()).is_some_and(|n| n.gateway.is_some());
        if gateway {
            gateways.add(health);
        } else {
            standard.add(health);
        }
    }
    for health in gateway_groups(state) {
        gateway_services.add(health);
    }
    let mut services = Counts::default();
    for service in state.list(Kind::MeshService) {
        services.add(service_health(service));
    }
    let count = |kind: Kind| state.list(kind).count();
    let external = Kind::by_name("MeshExternalService").map_or(0, count);
    let policies: usize = Kind::ALL.iter().filter(|k| k.descriptor().is_policy()).map(|k| count(*k)).sum();
    let zones = Kind::by_name("ZoneInsight").map_or_else(|| (0, 0), |kind| zones(state, kind));
    let mut resources: Vec<(&str, usize)> =
        Kind::ALL.iter().filter(|k| counted(**k)).map(|k| (k.name(), count(*k))).filter(|(_, n)| *n > 0).collect();
    resources.sort_unstable();
    let resources: Map<String, Value> =
        resources.into_iter().map(|(name, total)| (name.to_owned(), json!({"total": total}))).collect();
    print::ok(&json!({
        "createdAt": now(context),
        "dataplanes": {"gatewayDelegated": gateways.to_json(), "standard": standard.to_json()},
        "meshes": {"total": count(Kind::Mesh)},
        "policies": {"total": policies},
        "resources": resources,
        "services": {
            "external": {"total": external},
            "gatewayDelegated": gateway_services.to_json(),
            "internal": services.to_json(),
        },
        "zones": {
            "controlPlanes": {"online": zones.0, "total": zones.1},
            "zoneEgresses": {"online": 0, "total": 0},
            "zoneIngresses": {"online": 0, "total": 0},
        },
    }))
}

/// Kinds whose number `/global-insight` tells.
fn counted(kind: Kind) -> bool {
    let descriptor = kind.descriptor();
    match descriptor.scope {
        Scope::Mesh => descriptor.role != Role::Insight,
        Scope::Global => {
            matches!(descriptor.role, Role::System)
                && !matches!(kind, Kind::Mesh | Kind::Zone)
                && !descriptor.path.is_empty()
        }
    }
}

/// Delegated gateways by service: each service online if all its gateways are, partially degraded if some are.
fn gateway_groups(state: &MeshState) -> Vec<Health> {
    let mut groups: std::collections::BTreeMap<(&str, &str), (usize, usize)> = std::collections::BTreeMap::new();
    for proxy in state.list(Kind::Dataplane) {
        let gateway = proxy.spec::<Dataplane>().and_then(|d| d.networking.as_ref()).and_then(|n| n.gateway.as_ref());
        let Some(service) = gateway.and_then(|g| g.tags.get(kuma_core::meta::label::SERVICE)) else { continue };
        let group = groups.entry((&proxy.meta.mesh, service)).or_default();
        group.1 += 1;
        if proxy_health(state, proxy) == Health::Online {
            group.0 += 1;
        }
    }
    let health = |(online, total)| match online {
        0 => Health::Offline,
        n if n < total => Health::PartiallyDegraded,
        _ => Health::Online,
    };
    groups.into_values().map(health).collect()
}

/// Zones that are online, and all of them.
fn zones(state: &MeshState, kind: Kind) -> (usize, usize) {
    (state.list(kind).filter(|z| zone_online(z)).count(), state.list(kind).count())
}

/// Whether the control plane of a zone is connected: a subscription without an end is a live connection.
pub(super) fn zone_online(insight: &AnyResource) -> bool {
    let spec = insight.body.spec_json();
    let subscriptions = spec.get("subscriptions").and_then(Value::as_array);
    subscriptions
        .is_some_and(|all| all.iter().any(|s| s.get("connectTime").is_some() && s.get("disconnectTime").is_none()))
}

/// `GET /global-insights`, of earlier releases: how many objects of each global kind there are.
pub(super) fn global_insights(context: &ApiContext, asked: &Asked) -> Response {
    let mut kinds: Vec<Kind> = Kind::ALL
        .iter()
        .copied()
        .filter(|k| {
            let d = k.descriptor();
            d.scope == Scope::Global && d.role != Role::Insight && !d.path.is_empty()
        })
        .collect();
    kinds.sort_by_key(|k| k.name());
    let resources: Map<String, Value> =
        kinds.into_iter().map(|k| (k.name().to_owned(), json!({"total": asked.state.list(k).count()}))).collect();
    print::ok(&json!({"type": "GlobalInsights", "creationTime": now(context), "resources": resources}))
}

fn now(context: &ApiContext) -> String {
    time_text((context.now)(), &context.settings.time_zone)
}

/// Types of services that `?type=` knows.
const SERVICE_TYPES: [&str; 3] = ["internal", "external", "gateway_delegated"];

/// `GET .../service-insights`: one item for each service of a stored insight. Nothing writes these any more; a database
/// of an earlier release may hold some.
pub(super) fn service_insights(context: &ApiContext, asked: &Asked, mesh: Option<&str>) -> Result<Response, Problem> {
    const TITLE: &str = "Could not paginate resources";
    mesh_exists(&asked.state, mesh.unwrap_or_default())?;
    let wanted: Vec<String> =
        asked.query.get("type").split(',').filter(|t| !t.is_empty()).map(str::to_ascii_lowercase).collect();
    if wanted.iter().any(|t| !SERVICE_TYPES.contains(&t.as_str())) {
        return Err(Problem::bad_request("unsupported service type"));
    }
    let part = asked.query.get("name");
    let mut services = Vec::new();
    for insight in stored_insights(&asked.state, mesh) {
        for (name, service) in services_of(insight) {
            let kind = service.get("serviceType").and_then(Value::as_str).unwrap_or("internal").to_owned();
            if name.contains(part) && (wanted.is_empty() || wanted.contains(&kind)) {
                services.push(expanded(context, insight, &name, &service));
            }
        }
    }
    let size = page_size(&asked.query, TITLE)?;
    let offset = page_offset(&asked.query, TITLE)?;
    Ok(print::ok(&Page::cut(services.into_iter(), size, offset).into_json(|offset| asked.page_link(offset))))
}

/// `GET .../service-insights/{service}`
pub(super) fn service_insight(
    context: &ApiContext,
    asked: &Asked,
    mesh: &str,
    name: &str,
) -> Result<Response, Problem> {
    mesh_exists(&asked.state, mesh)?;
    let insight = stored_insights(&asked.state, Some(mesh))
        .next()
        .ok_or_else(|| Problem::not_found("Could not retrieve a resource"))?;
    let service = services_of(insight).remove(name).unwrap_or_else(|| json!({"dataplanes": {}}));
    Ok(print::ok(&expanded(context, insight, name, &service)))
}

fn stored_insights<'a>(state: &'a MeshState, mesh: Option<&'a str>) -> impl Iterator<Item = &'a AnyResource> {
    let all = Kind::by_name("ServiceInsight").into_iter().flat_map(|kind| state.list(kind));
    all.filter(move |r| mesh.is_none_or(|mesh| &*r.meta.mesh == mesh))
}

/// Services of an insight by name, in order.
fn services_of(insight: &AnyResource) -> Map<String, Value> {
    let mut spec = insight.body.spec_json();
    let mut services = match spec.get_mut("services").map(Value::take) {
        Some(Value::Object(services)) => services,
        _ => Map::new(),
    };
    services.sort_keys();
    services
}

fn expanded(context: &ApiContext, insight: &AnyResource, name: &str, service: &Value) -> Value {
    let zone = &context.settings.time_zone;
    let mut out = Map::new();
    out.insert("type".into(), "ServiceInsight".into());
    out.insert("mesh".into(), (*insight.meta.mesh).into());
    out.insert("name".into(), name.into());
    out.insert("creationTime".into(), time_text(insight.meta.created, zone).into());
    out.insert("modificationTime".into(), time_text(insight.meta.modified, zone).into());
    let mut labels = (*insight.meta.labels).clone();
    labels.remove(kuma_core::meta::label::DISPLAY_NAME);
    if !labels.is_empty() {
        out.insert("labels".into(), json!(labels));
    }
    let text = |key: &str| service.get(key).and_then(Value::as_str).unwrap_or_default();
    if !text("status").is_empty() {
        out.insert("status".into(), text("status").into());
    }
    if let Some(proxies) = service.get("dataplanes") {
        let count = |key: &str| proxies.get(key).and_then(Value::as_u64).unwrap_or_default();
        let (online, offline) = (count("online"), count("offline"));
        let mut counts = Map::new();
        for (key, n) in [("total", online + offline), ("online", online), ("offline", offline)] {
            if n > 0 {
                counts.insert(key.into(), n.into());
            }
        }
        out.insert("dataplanes".into(), counts.into());
    }
    match text("serviceType") {
        "" | "internal" => {
            let (domain, port) = &context.settings.service_address;
            out.insert("addressPort".into(), format!("{name}.{domain}:{port}").into());
        }
        kind => {
            out.insert("serviceType".into(), kind.into());
        }
    }
    // What else a service carries comes as it is.
    for (key, value) in service.as_object().into_iter().flatten() {
        if !out.contains_key(key) && key != "serviceType" {
            out.insert(key.clone(), value.clone());
        }
    }
    Value::Object(out)
}
