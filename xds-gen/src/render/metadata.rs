//! Metadata of listeners and endpoints: labels by filter name.

use std::collections::BTreeMap;

use prost_types::{Struct, Value, value::Kind};

use super::proto::core::Metadata;

/// Key under which listeners carry labels.
const TAGS: &str = "io.kuma.tags";
/// Key under which load balancing looks for labels of endpoints.
pub(super) const LOAD_BALANCING: &str = "envoy.lb";
/// Key under which transport sockets are chosen by labels of endpoints.
const SOCKET_MATCH: &str = "envoy.transport_socket_match";

/// Texts as a protobuf struct.
pub(super) fn texts<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Struct {
    let text = |v: V| Value { kind: Some(Kind::StringValue(v.as_ref().to_owned())) };
    Struct { fields: pairs.into_iter().map(|(k, v)| (k.as_ref().to_owned(), text(v))).collect() }
}

/// Labels of a listener.
pub(super) fn tags<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Metadata {
    by_filter([(TAGS, texts(pairs))])
}

/// The name of a resource, for listeners that have no labels.
pub(super) fn name_tag(name: &str) -> Metadata {
    tags([("kuma.io/unified-name", name)])
}

/// Labels of an endpoint; none at all if there are no labels.
pub(super) fn endpoint(labels: Struct) -> Option<Metadata> {
    if labels.fields.is_empty() {
        return None;
    }
    Some(by_filter([(LOAD_BALANCING, labels.clone()), (SOCKET_MATCH, labels)]))
}

/// Metadata with these entries.
pub(super) fn by_filter<const N: usize>(entries: [(&str, Struct); N]) -> Metadata {
    let filter_metadata: BTreeMap<_, _> = entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    Metadata { filter_metadata, ..Default::default() }
}
