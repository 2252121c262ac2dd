//! What the control plane says about local MeshServices: proxies, availability, TLS.

use super::{Work, is_local};
use crate::{
    resource::{Key, Resource},
    resources::{
        Dataplane, Inbound, InboundState, IntOrString, MeshServicePort, ServiceProxies, ServiceState, TlsReadiness,
    },
};

/// Brings the statuses up to date.
pub(super) fn update(work: &mut Work) {
    let local: Vec<Key> = work.services.iter().filter(|(_, s)| is_local(&s.meta)).map(|(k, _)| k.clone()).collect();
    for key in local {
        let selected = work.selected(&key);
        let Some(service) = work.services.get_mut(&key) else { continue };
        let mut counts = ServiceProxies::default();
        for dataplane in &selected {
            let inbounds = inbounds(dataplane);
            if inbounds.is_empty() {
                continue;
            }
            counts.total += 1;
            counts.connected +=
                i32::from(work.online.contains(&(dataplane.meta.mesh.clone(), dataplane.meta.name.clone())));
            let serves =
                |port: &MeshServicePort| inbounds.iter().any(|i| matches(port, i) && i.state == InboundState::Ready);
            counts.healthy += i32::from(service.spec.ports.iter().all(serves));
        }
        service.spec.state = if counts.healthy > 0 { ServiceState::Available } else { ServiceState::Unavailable };
        service.status.dataplane_proxies = counts;
        // Without a MeshIdentity in the mesh no proxy can terminate TLS.
        service.status.tls.status = Some(TlsReadiness::NotReady);
    }
}

fn inbounds(dataplane: &Resource<Dataplane>) -> &[Inbound] {
    dataplane.spec().networking.as_ref().map_or(&[], |n| &n.inbound)
}

/// The inbound is what the port leads to.
fn matches(port: &MeshServicePort, inbound: &Inbound) -> bool {
    match &port.target_port {
        Some(IntOrString::Int(number)) => i64::from(inbound.port) == *number,
        Some(IntOrString::Text(name)) => inbound.name == *name,
        None => false,
    }
}
