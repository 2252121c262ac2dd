//! Schemas that policies share: references, matches, headers.

use crate::schema::{
    Field, IntFormat, IntegerRules, Schema, TextRules, int, list, list_max, object, one_of, opt, req, text,
};

/// `spec.targetRef`: which proxies.
pub(super) fn top_ref() -> Field {
    opt(
        "targetRef",
        object([req("kind", one_of(["Mesh", "Dataplane"])), opt("labels", Schema::Labels), opt("sectionName", text())]),
    )
}

/// `spec.to[].targetRef`: which destinations.
pub(super) fn out_ref() -> Field {
    req(
        "targetRef",
        object([
            req(
                "kind",
                one_of(["Mesh", "MeshService", "MeshExternalService", "MeshMultiZoneService", "MeshHTTPRoute"]),
            ),
            opt("labels", Schema::Labels),
            opt("sectionName", text()),
        ]),
    )
}

/// A weighted destination.
pub(super) fn backend_ref() -> Schema {
    let weight =
        IntegerRules { min: Some(0), max: Some(4_294_967_295), format: IntFormat::Unnamed, ..IntegerRules::default() };
    object([
        req(
            "kind",
            one_of([
                "Mesh",
                "MeshService",
                "MeshExternalService",
                "MeshMultiZoneService",
                "MeshHTTPRoute",
                "Dataplane",
            ]),
        ),
        opt("labels", Schema::Labels),
        opt("sectionName", text()),
        opt("port", int()),
        opt("weight", Schema::Integer(weight)).or(1),
    ])
}

/// Conditions of an inbound rule.
pub(super) fn matches() -> Schema {
    list(object([
        opt("spiffeID", object([req("type", one_of(["Exact", "Prefix"])), req("value", text())])),
        opt("sni", object([req("type", one_of(["Exact"])), req("value", text())])),
    ]))
}

/// A header name: a lower-case token.
pub(super) fn header_name() -> Schema {
    Schema::Text(TextRules {
        min: Some(1),
        max: Some(256),
        pattern: Some(r"^[a-z0-9!#$%&'*+\-.^_\x60|~]+$"),
        ..TextRules::default()
    })
}

/// Conditions on headers.
pub(super) fn header_matches() -> Schema {
    list(object([
        opt("type", one_of(["Exact", "Present", "RegularExpression", "Absent", "Prefix"])).or("Exact"),
        req("name", header_name()),
        opt("value", text()),
    ]))
}

/// Changes of headers: `set`, `add` and `remove`.
pub(super) fn header_modifier() -> Schema {
    let values = || list_max(16, object([req("name", header_name()), req("value", text())]));
    object([opt("set", values()), opt("add", values()), opt("remove", list_max(16, text()))])
}
