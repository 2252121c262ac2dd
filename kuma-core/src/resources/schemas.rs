//! Schemas that several kinds share.

use crate::schema::{IntFormat, IntegerRules, Schema, TextRules, int_of, list, object, one_of, opt, req, text};

/// `{matchLabels}`.
pub(crate) fn label_selector() -> Schema {
    object([opt("matchLabels", Schema::Labels)])
}

/// A protobuf `uint32`.
pub(super) fn unsigned() -> Schema {
    Schema::Integer(IntegerRules { min: Some(0), ..IntegerRules::default() })
}

/// Conditions of a status.
pub(crate) fn conditions() -> Schema {
    let bounded = |min, max, pattern| Schema::Text(TextRules { min, max: Some(max), pattern, ..TextRules::default() });
    list(object([
        req(
            "type",
            bounded(
                None,
                316,
                Some(
                    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                ),
            ),
        ),
        req("status", one_of(["True", "False", "Unknown"])),
        req("reason", bounded(Some(1), 1024, Some(r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"))),
        req("message", bounded(None, 32768, None)),
    ]))
}

fn generator_ref() -> Schema {
    object([req("coreName", text())])
}

/// Hostnames of a destination's status.
pub(super) fn addresses() -> Schema {
    list(object([opt("hostname", text()), opt("origin", text()), opt("hostnameGeneratorRef", generator_ref())]))
}

/// What generators said, in a destination's status.
pub(super) fn hostname_generators() -> Schema {
    list(object([req("hostnameGeneratorRef", generator_ref()), opt("conditions", conditions())]))
}

/// Virtual addresses of a destination's status.
pub(super) fn vips() -> Schema {
    list(object([opt("ip", text())]))
}

/// Counts of proxies, none of which must be there.
pub(super) fn proxy_counts() -> Schema {
    let count = || int_of(IntFormat::Unnamed);
    object([opt("connected", count()), opt("healthy", count()), opt("total", count())])
}
