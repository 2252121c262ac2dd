//! Writes a [`Response`] as one gRPC frame into one buffer of exactly its size: prefix, `DeltaDiscoveryResponse`,
//! and the shared bytes of the resources with this stream's versions beside them.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    delta::Response,
    set::{Own, Version},
};

/// gRPC's prefix: a flag (not compressed) and the length.
const PREFIX: usize = 5;

// Field numbers of envoy.service.discovery.v3.DeltaDiscoveryResponse ...
const RESOURCES: u8 = 2;
const TYPE_URL: u8 = 4;
const NONCE: u8 = 5;
const REMOVED: u8 = 6;
const CONTROL_PLANE: u8 = 7;
// ... of its Resource ...
const RESOURCE_VERSION: u8 = 1;
const RESOURCE_ANY: u8 = 2;
const RESOURCE_NAME: u8 = 3;
// ... of google.protobuf.Any ...
const ANY_TYPE: u8 = 1;
const ANY_VALUE: u8 = 2;
// ... and of envoy.config.core.v3.ControlPlane.
const IDENTIFIER: u8 = 1;

/// The frame of a response. Templates are filled with `own`; `identifier` names this control plane instance.
pub fn encode(response: &Response, own: &Own, identifier: &str) -> Bytes {
    let type_url = response.type_url.as_str();
    let nonce = response.nonce.to_string();
    // Filled first: lengths stand before contents.
    let values: Vec<Bytes> = response.resources.iter().map(|r| r.rendered.value(own)).collect();
    let any_len = |value: &Bytes| field_len(type_url.len()) + optional_len(value.len());
    let resource_len =
        |name: &str, value: &Bytes| field_len(Version::TEXT_LEN) + field_len(any_len(value)) + optional_len(name.len());

    let resources = response.resources.iter().zip(&values);
    let length = resources.clone().map(|(r, v)| field_len(resource_len(&r.rendered.name, v))).sum::<usize>()
        + field_len(type_url.len())
        + field_len(nonce.len())
        + response.removed.iter().map(|name| field_len(name.len())).sum::<usize>()
        + field_len(optional_len(identifier.len()));

    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(0);
    out.put_u32(length as u32);
    for (resource, value) in resources {
        let name = &resource.rendered.name;
        header(&mut out, RESOURCES, resource_len(name, value));
        field(&mut out, RESOURCE_VERSION, &resource.version.to_text());
        header(&mut out, RESOURCE_ANY, any_len(value));
        field(&mut out, ANY_TYPE, type_url.as_bytes());
        optional(&mut out, ANY_VALUE, value);
        optional(&mut out, RESOURCE_NAME, name.as_bytes());
    }
    field(&mut out, TYPE_URL, type_url.as_bytes());
    field(&mut out, NONCE, nonce.as_bytes());
    for name in &response.removed {
        field(&mut out, REMOVED, name.as_bytes());
    }
    header(&mut out, CONTROL_PLANE, optional_len(identifier.len()));
    optional(&mut out, IDENTIFIER, identifier.as_bytes());
    debug_assert_eq!(out.len(), PREFIX + length, "lengths and contents disagree");
    out.freeze()
}

/// Bytes of a length-delimited field: one for the tag (all numbers are below 16), then length and content.
fn field_len(content: usize) -> usize {
    1 + prost::length_delimiter_len(content) + content
}

/// The same for a field that is left out when it is empty.
fn optional_len(content: usize) -> usize {
    if content == 0 { 0 } else { field_len(content) }
}

fn header(out: &mut BytesMut, number: u8, length: usize) {
    out.put_u8((number << 3) | 2);
    let mut rest = length;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

fn field(out: &mut BytesMut, number: u8, content: &[u8]) {
    header(out, number, content.len());
    out.put_slice(content);
}

fn optional(out: &mut BytesMut, number: u8, content: &[u8]) {
    if !content.is_empty() {
        field(out, number, content);
    }
}

#[cfg(test)]
mod tests;
