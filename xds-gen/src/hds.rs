//! Health checks through Envoy: what the Envoy of a proxy is to check, and what its reports mean for the Dataplane.
//!
//! Both are pure. Whoever serves the stream sends [`specifier`] whenever it differs from what was sent last, and writes
//! what [`fold_report`] returns.

use std::collections::BTreeMap;

use envoy_api::envoy::{
    config::core::v3::{
        Address, HealthCheck, HealthStatus,
        health_check::{HealthChecker, HttpHealthCheck, TcpHealthCheck},
    },
    config::endpoint::v3::Endpoint,
    service::health::v3::{
        ClusterEndpointsHealth, ClusterHealthCheck, EndpointHealthResponse, HealthCheckSpecifier, LocalityEndpoints,
    },
};
use kuma_core::{
    duration::GoDuration,
    plan::NodeFacts,
    resources::{Dataplane, Inbound, InboundState, Networking, ServiceProbe},
};

use crate::render::{address, duration};

/// The cluster that stands for Envoy itself.
const ADMIN: &str = "system_envoy_admin";
/// Its name in reports of old proxies.
const ADMIN_BEFORE: &str = "kuma:envoy:admin";

/// Settings of the control plane for health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HdsSettings {
    /// Between two reports.
    pub report_interval: GoDuration,
    /// Longest time for an answer, where a probe does not say.
    pub timeout: GoDuration,
    /// Between two checks, where a probe does not say.
    pub interval: GoDuration,
    /// Between two checks of what sees no traffic.
    pub no_traffic_interval: GoDuration,
    /// Good answers until healthy, where a probe does not say.
    pub healthy_threshold: u32,
    /// Bad answers until unhealthy, where a probe does not say.
    pub unhealthy_threshold: u32,
    /// Admin port of proxies that name none.
    pub admin_port: u32,
}

impl Default for HdsSettings {
    fn default() -> Self {
        Self {
            report_interval: GoDuration::from_secs(5),
            timeout: GoDuration::from_secs(2),
            interval: GoDuration::from_secs(1),
            no_traffic_interval: GoDuration::from_secs(1),
            healthy_threshold: 1,
            unhealthy_threshold: 1,
            admin_port: 9901,
        }
    }
}

/// What the Envoy of a proxy is to check: itself first, then the inbounds with a probe, in their order.
pub fn specifier(dataplane: &Dataplane, node: &NodeFacts, settings: &HdsSettings) -> HealthCheckSpecifier {
    let nothing = Networking::default();
    let networking = dataplane.networking.as_ref().unwrap_or(&nothing);
    let redirected = is_redirected(networking, node);
    let probed = networking.inbound.iter().filter_map(|inbound| Some((inbound, inbound.service_probe.as_ref()?)));
    let services = probed.map(|(inbound, probe)| service(inbound, probe, networking, redirected, settings));
    HealthCheckSpecifier {
        cluster_health_checks: admin(networking, node, settings).into_iter().chain(services).collect(),
        interval: Some(duration(settings.report_interval)),
    }
}

/// The Dataplane after a report, if that changes it. An inbound is ready while both its application and Envoy are; what
/// is not reported counts as healthy. Inbounds that are ignored stay so.
pub fn fold_report(report: &EndpointHealthResponse, dataplane: &Dataplane) -> Option<Dataplane> {
    let mut health: BTreeMap<&str, bool> = BTreeMap::new();
    for cluster in &report.cluster_endpoints_health {
        if let Some(healthy) = first(cluster) {
            // Inbounds of one port and several addresses share a name: all of them have to be well.
            *health.entry(cluster.cluster_name.as_str()).or_insert(true) &= healthy;
        }
    }
    let well = |name: &str| health.get(name).copied().unwrap_or(true);
    let envoy = well(ADMIN) && well(ADMIN_BEFORE);
    let mut changed = false;
    let mut after = dataplane.clone();
    for inbound in after.networking.iter_mut().flat_map(|n| &mut n.inbound) {
        let ready = envoy && well(&cluster_name(inbound));
        if inbound.state != InboundState::Ignored && inbound.healthy() != ready {
            inbound.set_ready(ready);
            changed = true;
        }
    }
    changed.then_some(after)
}

/// Health of the one endpoint of a cluster.
fn first(cluster: &ClusterEndpointsHealth) -> Option<bool> {
    let endpoint = cluster.locality_endpoints_health.first()?.endpoints_health.first()?;
    Some(matches!(endpoint.health_status(), HealthStatus::Healthy | HealthStatus::Unknown))
}

fn admin(networking: &Networking, node: &NodeFacts, settings: &HdsSettings) -> Option<ClusterHealthCheck> {
    let own = networking.admin.map(|admin| admin.port).unwrap_or_default();
    // What Envoy was started with goes before what it would be started with now.
    let port = [u32::from(node.admin_port), own, settings.admin_port].into_iter().find(|port| *port != 0);
    let at = match (node.admin_socket.as_ref(), port) {
        ("", None) => return None,
        ("", Some(port)) => address::socket(node.admin_loopback(), port),
        (socket, _) => address::pipe(socket),
    };
    let check = HttpHealthCheck { path: "/ready".to_owned(), ..Default::default() };
    Some(cluster(ADMIN.to_owned(), at, defaults(settings, HealthChecker::HttpHealthCheck(check))))
}

fn service(
    inbound: &Inbound,
    probe: &ServiceProbe,
    networking: &Networking,
    redirected: bool,
    settings: &HdsSettings,
) -> ClusterHealthCheck {
    let host = [&inbound.service_address, &inbound.address, &networking.address];
    let host = host.into_iter().find(|host| !host.is_empty()).map_or("", String::as_str);
    let base = defaults(settings, HealthChecker::TcpHealthCheck(TcpHealthCheck::default()));
    let given = |text: &Option<String>| text.as_ref()?.parse::<GoDuration>().ok().map(duration);
    let check = HealthCheck {
        timeout: given(&probe.timeout).or(base.timeout),
        interval: given(&probe.interval).or(base.interval),
        healthy_threshold: probe.healthy_threshold.or(base.healthy_threshold),
        unhealthy_threshold: probe.unhealthy_threshold.or(base.unhealthy_threshold),
        ..base
    };
    let target = address::Target::of(host);
    ClusterHealthCheck {
        upstream_bind_config: (redirected && !target.is_loopback()).then(|| address::unredirected(target.is_ipv6())),
        ..cluster(cluster_name(inbound), address::socket(host, workload_port(inbound)), check)
    }
}

fn cluster(cluster_name: String, at: Address, check: HealthCheck) -> ClusterHealthCheck {
    let endpoint = Endpoint { address: Some(at), ..Default::default() };
    ClusterHealthCheck {
        cluster_name,
        health_checks: vec![check],
        locality_endpoints: vec![LocalityEndpoints { endpoints: vec![endpoint], ..Default::default() }],
        ..Default::default()
    }
}

fn defaults(settings: &HdsSettings, checker: HealthChecker) -> HealthCheck {
    HealthCheck {
        timeout: Some(duration(settings.timeout)),
        interval: Some(duration(settings.interval)),
        no_traffic_interval: Some(duration(settings.no_traffic_interval)),
        healthy_threshold: Some(settings.healthy_threshold),
        unhealthy_threshold: Some(settings.unhealthy_threshold),
        health_checker: Some(checker),
        ..Default::default()
    }
}

/// Names the application in checks and reports.
fn cluster_name(inbound: &Inbound) -> String {
    format!("localhost:{}", workload_port(inbound))
}

fn workload_port(inbound: &Inbound) -> u32 {
    if inbound.service_port == 0 { inbound.port } else { inbound.service_port }
}

/// Whether connections to the application would be redirected to Envoy.
fn is_redirected(networking: &Networking, node: &NodeFacts) -> bool {
    if node.features.transparent_proxy_in_dataplane_metadata {
        return node.redirect.is_some_and(|r| r.inbound_port != 0 || r.outbound_port != 0);
    }
    let declared = networking.transparent_proxying.as_ref();
    declared.is_some_and(|t| t.redirect_port_inbound != 0 || t.redirect_port_outbound != 0)
}

#[cfg(test)]
mod tests;
