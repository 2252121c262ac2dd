//! The cluster unit: what is spoken to the endpoints of one port of a destination, and how.

use std::sync::Arc;

use super::{Destination, DestinationKind, ToRules};
use crate::{
    ir::{Cluster, ClusterTuning, HttpVersion, Protocol, UpstreamTls},
    kri::Kri,
    policies::{CircuitBreakers, MeshCircuitBreaker, MeshTimeout, Timeouts, policy::Policy},
};

/// Everything that a cluster depends on. Equal inputs, equal clusters: this is what results are kept by.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterInputs {
    /// KRI of the destination with the section as it was referred to: names cluster and endpoints.
    pub name: Kri,
    /// Kind of the destination.
    pub kind: DestinationKind,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Timeouts; `None` where no policy says anything.
    pub timeouts: Option<Arc<Timeouts>>,
    /// Circuit breakers; `None` where no policy says anything.
    pub breakers: Option<Arc<CircuitBreakers>>,
    /// Mutual TLS towards the endpoints.
    pub tls: Option<Arc<UpstreamTls>>,
}

impl ClusterInputs {
    /// Inputs from the rules of a class. `None` if the destination has no such port.
    pub fn of(
        name: &Kri,
        destination: &Destination,
        timeouts: &ToRules<Timeouts>,
        breakers: &ToRules<CircuitBreakers>,
    ) -> Option<Self> {
        let port = match destination.kind {
            DestinationKind::MeshService => destination.port(&name.section)?,
            _ if name.section.is_empty() => destination.ports.first()?,
            _ => destination.port(&name.section)?,
        };
        Some(Self {
            name: name.clone(),
            kind: destination.kind,
            protocol: port.protocol,
            timeouts: timeouts.service_conf(name),
            breakers: breakers.compute(name).map(|r| r.conf.clone()),
            tls: None,
        })
    }
}

/// The cluster.
pub fn cluster(inputs: &ClusterInputs) -> Cluster {
    let mut tuning = ClusterTuning::default();
    MeshTimeout::cluster(inputs.timeouts.as_deref(), inputs.protocol, &mut tuning);
    MeshCircuitBreaker::cluster(inputs.breakers.as_deref(), inputs.protocol, &mut tuning);
    Cluster {
        name: inputs.name.to_string().into(),
        http: http_version(inputs.kind, inputs.protocol),
        tuning,
        tls: inputs.tls.clone(),
    }
}

/// Proxies of the mesh speak HTTP/2 to each other, whatever the application speaks; it does no harm to TCP.
fn http_version(kind: DestinationKind, protocol: Protocol) -> Option<HttpVersion> {
    match (kind, protocol) {
        (DestinationKind::MeshService | DestinationKind::MeshMultiZoneService, _) => Some(HttpVersion::Http2),
        (DestinationKind::MeshExternalService, Protocol::Http) => Some(HttpVersion::Http1),
        (DestinationKind::MeshExternalService, Protocol::Http2 | Protocol::Grpc) => Some(HttpVersion::Http2),
        (DestinationKind::MeshExternalService, _) => None,
    }
}
