//! Endpoints of a cluster.

use kuma_core::{
    ir::{Endpoint, Endpoints, Locality},
    meta::label,
};

use super::{
    address, metadata,
    proto::{
        core,
        endpoint::{ClusterLoadAssignment, Endpoint as Host, LbEndpoint, LocalityLbEndpoints, lb_endpoint},
    },
};

/// Endpoints for the cluster of this name. Nobody there is an assignment without localities, which Envoy takes.
pub fn render_endpoints(name: &str, endpoints: &Endpoints) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: endpoints.localities.iter().map(locality).collect(),
        ..Default::default()
    }
}

/// The assignment of a cluster with one fixed address.
pub(super) fn single(cluster: &str, address: core::Address) -> ClusterLoadAssignment {
    let lb_endpoints = vec![LbEndpoint { host_identifier: Some(host(address)), ..Default::default() }];
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: vec![LocalityLbEndpoints { lb_endpoints, ..Default::default() }],
        ..Default::default()
    }
}

fn locality(locality: &Locality) -> LocalityLbEndpoints {
    let text = |t: &Option<std::sync::Arc<str>>| t.as_deref().unwrap_or_default().to_owned();
    let named = locality.zone.is_some() || locality.sub_zone.is_some();
    LocalityLbEndpoints {
        locality: named.then(|| core::Locality {
            zone: text(&locality.zone),
            sub_zone: text(&locality.sub_zone),
            ..Default::default()
        }),
        lb_endpoints: locality.endpoints.iter().map(endpoint).collect(),
        priority: locality.priority,
        ..Default::default()
    }
}

fn endpoint(endpoint: &Endpoint) -> LbEndpoint {
    let labels = metadata::texts(endpoint.tags.iter().filter(|(key, _)| key.as_str() != label::SERVICE));
    LbEndpoint {
        host_identifier: Some(host(address::socket(&endpoint.address, endpoint.port.into()))),
        load_balancing_weight: Some(endpoint.weight),
        metadata: metadata::endpoint(labels),
        ..Default::default()
    }
}

fn host(address: core::Address) -> lb_endpoint::HostIdentifier {
    lb_endpoint::HostIdentifier::Endpoint(Host { address: Some(address), ..Default::default() })
}
