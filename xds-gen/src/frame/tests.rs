use std::sync::Arc;

use envoy_api::envoy::{
    config::{cluster::v3::Cluster, core::v3::ControlPlane},
    service::discovery::v3::{DeltaDiscoveryResponse, Resource as Wire},
};
use proptest::prelude::*;
use prost::Message;
use prost_types::Any;

use super::*;
use crate::{
    delta::Resource,
    set::{Rendered, Template, TypeUrl},
};

struct Address;
impl Template for Address {
    fn fill(&self, own: &Own) -> Bytes {
        Cluster { name: own.address.to_string(), ..Default::default() }.encode_to_vec().into()
    }
    fn size_hint(&self) -> usize {
        20
    }
}

/// The same response, the ordinary way.
fn by_prost(response: &Response, own: &Own, identifier: &str) -> DeltaDiscoveryResponse {
    let resource = |r: &Resource| Wire {
        name: r.rendered.name.to_string(),
        version: r.version.to_string(),
        resource: Some(Any { type_url: response.type_url.to_string(), value: r.rendered.value(own).to_vec() }),
        ..Default::default()
    };
    DeltaDiscoveryResponse {
        resources: response.resources.iter().map(resource).collect(),
        type_url: response.type_url.to_string(),
        nonce: response.nonce.to_string(),
        removed_resources: response.removed.iter().map(ToString::to_string).collect(),
        control_plane: Some(ControlPlane { identifier: identifier.to_owned() }),
        ..Default::default()
    }
}

fn check(response: &Response, own: &Own, identifier: &str) {
    let frame = encode(response, own, identifier);
    let expected = by_prost(response, own, identifier);
    let (prefix, message) = frame.split_at(PREFIX);
    assert_eq!(prefix, [&[0][..], &(message.len() as u32).to_be_bytes()].concat());
    assert_eq!(DeltaDiscoveryResponse::decode(message).unwrap(), expected);
    assert_eq!(message, expected.encode_to_vec(), "the very bytes that prost writes");
}

#[test]
fn a_template_is_filled() {
    let own = Own::new(kuma_core::ir::Own { address: "10.0.0.7".into(), ..Default::default() });
    let rendered = Arc::new(Rendered::per_proxy(TypeUrl::Cluster, "c", Version::of(b"t"), Arc::new(Address)));
    let resource = Resource { version: rendered.version_for(&own), rendered };
    let response = Response { type_url: TypeUrl::Cluster, nonce: 3, resources: vec![resource], removed: vec![] };
    check(&response, &own, "cp-1");
    let frame = encode(&response, &own, "cp-1");
    assert!(frame.windows(8).any(|w| w == b"10.0.0.7"));
}

proptest! {
    #[test]
    fn frames_are_what_prost_writes(
        resources in prop::collection::vec(("[a-z_]{0,40}", prop::collection::vec(any::<u8>(), 0..400)), 0..20),
        removed in prop::collection::vec("[a-z_]{0,200}", 0..5),
        nonce in 1u64..,
        identifier in "[a-z0-9-]{0,200}",
    ) {
        let resources = resources
            .into_iter()
            .map(|(name, value)| Arc::new(Rendered::new(TypeUrl::Listener, name, value.into())))
            .map(|rendered| Resource { version: rendered.version, rendered })
            .collect();
        let removed = removed.into_iter().map(Arc::from).collect();
        let response = Response { type_url: TypeUrl::Listener, nonce, resources, removed };
        check(&response, &Own::default(), &identifier);
    }
}
