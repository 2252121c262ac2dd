//! What the control plane says about local MeshServices: proxies, availability, TLS.

use super::Service;
use crate::resources::{
    Dataplane, Inbound, InboundState, IntOrString, MeshServicePort, ServiceProxies, ServiceState, TlsReadiness,
};

/// What one selected Dataplane adds to the counts of a service with these ports; one without inbounds does not count.
pub(super) fn count(ports: &[MeshServicePort], dataplane: &Dataplane, online: bool) -> Option<ServiceProxies> {
    let inbounds = dataplane.networking.as_ref().map_or(&[][..], |n| &n.inbound);
    if inbounds.is_empty() {
        return None;
    }
    let serves = |port: &MeshServicePort| inbounds.iter().any(|i| matches(port, i) && i.state == InboundState::Ready);
    Some(ServiceProxies { total: 1, connected: i32::from(online), healthy: i32::from(ports.iter().all(serves)) })
}

/// Brings the status of a local service up to date.
pub(super) fn update(service: &mut Service, counts: ServiceProxies) {
    service.spec.state = if counts.healthy > 0 { ServiceState::Available } else { ServiceState::Unavailable };
    service.status.dataplane_proxies = counts;
    // Without a MeshIdentity in the mesh no proxy can terminate TLS.
    service.status.tls.status = Some(TlsReadiness::NotReady);
}

/// The inbound is what the port leads to.
fn matches(port: &MeshServicePort, inbound: &Inbound) -> bool {
    match &port.target_port {
        Some(IntOrString::Int(number)) => i64::from(inbound.port) == *number,
        Some(IntOrString::Text(name)) => inbound.name == *name,
        None => false,
    }
}
