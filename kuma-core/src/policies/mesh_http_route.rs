//! MeshHTTPRoute: where HTTP requests to a destination go, and how they are changed on the way.

mod plan;
mod routes;

pub use plan::{HttpRouteConf, match_hash};
pub use routes::{HttpRouteRule, HttpRules, RouteFilter, header_test, mirror_fraction, routes};

mod validate;

use serde::{Deserialize, Serialize};

use super::{
    schemas,
    target::{BackendRef, TargetRef},
};
use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync, Targets},
    resource::{NoStatus, Spec},
    resources::IntOrString,
    schema::{IntegerRules, Schema, TextRules, int_in, list, list_min, object, one_of, opt, req, some_text, text},
    validate::{Path, Violations},
};

/// Spec of a MeshHTTPRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshHTTPRoute {
    /// Proxies it applies to; absent is the whole mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Outbound items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<HttpRouteTo>>,
}

/// An outbound item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRouteTo {
    /// Destination whose traffic is routed.
    pub target_ref: TargetRef,
    /// Not used any more; must be empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// Rules; within one policy the first that matches wins.
    pub rules: Vec<HttpRule>,
}

/// A rule: conditions and what to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpRule {
    /// One of which must hold.
    pub matches: Vec<HttpMatch>,
    /// What to do.
    #[serde(rename = "default")]
    pub conf: HttpRuleConf,
}

/// What to do with a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpRuleConf {
    /// Changes, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filters: Option<Vec<HttpFilter>>,
    /// Weighted destinations; absent is the destination itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_refs: Option<Vec<BackendRef>>,
}

/// Conditions on a request; what is given must all hold. The field order is the order of the hashed text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpMatch {
    /// On the path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathMatch>,
    /// On the method, upper case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// On query parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_params: Option<Vec<QueryMatch>>,
    /// On headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<HeaderMatch>>,
}

/// Condition on the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathMatch {
    /// Path, prefix or expression.
    pub value: String,
    /// `Exact`, `PathPrefix` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Condition on a query parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueryMatch {
    /// `Exact` or `RegularExpression`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the parameter.
    pub name: String,
    /// Value or expression.
    pub value: String,
}

/// Condition on a header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderMatch {
    /// `Exact` (the default), `Present`, `RegularExpression`, `Absent` or `Prefix`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the header, lower case.
    pub name: String,
    /// Value, prefix or expression.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// A change of the request or the response; the field that `type` names is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpFilter {
    /// `RequestHeaderModifier`, `ResponseHeaderModifier`, `RequestRedirect`, `URLRewrite` or `RequestMirror`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Changes request headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_header_modifier: Option<HeaderModifier>,
    /// Changes response headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_header_modifier: Option<HeaderModifier>,
    /// Answers with a redirect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_redirect: Option<RequestRedirect>,
    /// Rewrites host or path.
    #[serde(rename = "urlRewrite", skip_serializing_if = "Option::is_none")]
    pub url_rewrite: Option<UrlRewrite>,
    /// Sends a copy elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_mirror: Option<RequestMirror>,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderModifier {
    /// Overwrites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<Vec<HeaderValue>>,
    /// Appends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Vec<HeaderValue>>,
    /// Removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<Vec<String>>,
}

/// A header and its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderValue {
    /// Name, lower case.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestRedirect {
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// New host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// New path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// New port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// 301, 302, 303, 307 or 308.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u32>,
}

/// A new path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathRewrite {
    /// `ReplaceFullPath` or `ReplacePrefixMatch`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The whole new path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_full_path: Option<String>,
    /// What replaces the matched prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace_prefix_match: Option<String>,
}

/// Rewriting of host or path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UrlRewrite {
    /// New host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// New path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    /// Host of the endpoint; must not be set by users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_to_backend_hostname: Option<bool>,
}

/// A copy of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestMirror {
    /// Share of the requests, percent; absent is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentage: Option<IntOrString>,
    /// Where the copy goes.
    pub backend_ref: BackendRef,
}

fn match_schema() -> Schema {
    let query =
        object([req("type", one_of(["Exact", "RegularExpression"])), req("name", some_text()), req("value", text())]);
    object([
        opt(
            "path",
            object([req("type", one_of(["Exact", "PathPrefix", "RegularExpression"])), req("value", some_text())]),
        ),
        opt("method", one_of(["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"])),
        opt("queryParams", list(query)),
        opt("headers", schemas::header_matches()),
    ])
}

fn filter_schema() -> Schema {
    let hostname = || {
        Schema::Text(TextRules {
            min: Some(1),
            max: Some(253),
            pattern: Some(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
            ..TextRules::default()
        })
    };
    let path = || {
        object([
            req("type", one_of(["ReplaceFullPath", "ReplacePrefixMatch"])),
            opt("replaceFullPath", text()),
            opt("replacePrefixMatch", text()),
        ])
    };
    let status = IntegerRules { one_of: vec![301, 302, 303, 307, 308], ..IntegerRules::default() };
    object([
        req(
            "type",
            one_of([
                "RequestHeaderModifier",
                "ResponseHeaderModifier",
                "RequestRedirect",
                "URLRewrite",
                "RequestMirror",
            ]),
        ),
        opt("requestHeaderModifier", schemas::header_modifier()),
        opt("responseHeaderModifier", schemas::header_modifier()),
        opt(
            "requestRedirect",
            object([
                opt("scheme", one_of(["http", "https"])),
                opt("hostname", hostname()),
                opt("path", path()),
                opt("port", int_in(1, 65535)),
                opt("statusCode", Schema::Integer(status)).or(302),
            ]),
        ),
        opt(
            "urlRewrite",
            object([opt("hostname", hostname()), opt("path", path()), opt("hostToBackendHostname", Schema::Bool)]),
        ),
        opt("requestMirror", object([opt("percentage", Schema::IntOrText), req("backendRef", schemas::backend_ref())])),
    ])
}

impl Spec for MeshHTTPRoute {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::MeshHTTPRoute,
        name: "MeshHTTPRoute",
        path: "meshhttproutes",
        alias: None,
        cli: Some("meshhttproute"),
        display: "Mesh HTTP Route",
        display_plural: "Mesh HTTP Routes",
        short: Some("mhttpr"),
        scope: Scope::Mesh,
        shape: Shape::SpecStatus,
        sync: Sync::Both,
        role: Role::Policy(Targets { order: 100, to: true, rules: false, own: false }),
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        let rule = object([
            req("matches", list_min(1, match_schema())),
            req(
                "default",
                object([opt("filters", list(filter_schema())), opt("backendRefs", list(schemas::backend_ref()))]),
            ),
        ]);
        Some(object([
            schemas::top_ref(),
            opt("to", list(object([schemas::out_ref(), opt("hostnames", list(text())), req("rules", list(rule))]))),
        ]))
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        validate::spec(self, at, out);
    }
}
