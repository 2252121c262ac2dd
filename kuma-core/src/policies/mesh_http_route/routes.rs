//! Envoy routes of an HTTP outbound, from merged rules whose backends are resolved.

use std::{cmp::Reverse, sync::Arc};

use super::{
    HeaderMatch, HeaderModifier, HttpMatch, PathMatch, PathRewrite, QueryMatch, RequestMirror, RequestRedirect,
    UrlRewrite, match_hash,
};
use crate::{
    ir::{
        Forward, Fraction, HeaderAddition, HeaderChanges, HeaderCondition, HeaderTest, Mirror, Name, PathCondition,
        QueryCondition, QueryTest, Redirect, RedirectPath, RegexRewrite, Route, RouteAction, RouteMatch, Split,
    },
    kri::Kri,
    plan::{Backends, exact_fraction},
    resources::IntOrString,
};

/// Merged rules about one destination, ready to become routes: references are resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpRules {
    /// In the order of precedence.
    pub rules: Vec<HttpRouteRule>,
}

/// A rule: conditions, changes, and where the requests go.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpRouteRule {
    /// KRI of the policy that the conditions stem from, with section `rule_<index of the item>`.
    pub route: Kri,
    /// Conditions, one of which must hold.
    pub matches: Vec<HttpMatch>,
    /// Changes, in order.
    pub filters: Vec<RouteFilter>,
    /// Where the requests go.
    pub backends: Backends,
}

/// A change of a request or a response.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteFilter {
    /// Changes request headers.
    RequestHeaders(HeaderModifier),
    /// Changes response headers.
    ResponseHeaders(HeaderModifier),
    /// Answers with a redirect.
    Redirect(RequestRedirect),
    /// Rewrites host or path.
    Rewrite(UrlRewrite),
    /// Sends a copy elsewhere.
    Mirror {
        /// Cluster that gets the copy.
        cluster: Kri,
        /// Share of the requests; `None` is all.
        fraction: Option<Fraction>,
    },
}

impl HttpRules {
    /// Some rule sends requests to a port that speaks HTTP.
    pub fn reach_http(&self) -> bool {
        self.rules.iter().any(|r| !r.backends.splits.is_empty())
    }

    /// Names of the routes and the KRIs of the policies that they stem from.
    pub fn route_kris(&self) -> impl Iterator<Item = (Name, &Kri)> {
        self.rules.iter().map(|r| (r.route.to_string().into(), &r.route))
    }

    /// Clusters that rules send to, mirrors included.
    pub fn clusters(&self) -> impl Iterator<Item = &Kri> {
        self.rules.iter().flat_map(|rule| {
            let mirrors = rule.filters.iter().filter_map(|f| match f {
                RouteFilter::Mirror { cluster, .. } => Some(cluster),
                _ => None,
            });
            rule.backends.splits.iter().map(|s| &s.cluster).chain(mirrors)
        })
    }
}

/// Routes of an outbound. `own` is the destination itself: where a rule without backends sends requests, and, if it
/// speaks HTTP, where requests go that no rule takes.
pub fn routes(rules: &HttpRules, own: &Split, own_is_http: bool) -> Vec<Route> {
    let mut matched: Vec<(&HttpMatch, &HttpRouteRule)> =
        rules.rules.iter().flat_map(|rule| rule.matches.iter().map(move |m| (m, rule))).collect();
    matched.sort_by_cached_key(|(m, _)| specificity(m));
    let mut out: Vec<Route> = Vec::new();
    for (condition, rule) in &matched {
        let name: Name = rule.route.to_string().into();
        add_routes(&mut out, &name, condition, rule, own, own_is_http);
    }
    let all = catch_all();
    if own_is_http && !matched.iter().any(|(m, _)| plain(m) == all) {
        let name = match_hash(std::slice::from_ref(&all));
        out.push(Route {
            name: Some(name),
            matches: RouteMatch::default(),
            action: RouteAction::Forward(Box::new(forward(vec![own.clone()]))),
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
        });
    }
    out
}

fn catch_all() -> HttpMatch {
    let path = PathMatch { value: "/".to_owned(), kind: "PathPrefix".to_owned() };
    HttpMatch { path: Some(path), ..HttpMatch::default() }
}

/// The same condition with empty lists left out.
fn plain(condition: &HttpMatch) -> HttpMatch {
    HttpMatch {
        path: condition.path.clone(),
        method: condition.method.clone(),
        query_params: condition.query_params.clone().filter(|q| !q.is_empty()),
        headers: condition.headers.clone().filter(|h| !h.is_empty()),
    }
}

/// Sorts the most specific condition first: by path (exact, then longer prefixes, then longer expressions, then none),
/// by method, by number of headers, by number of query parameters.
fn specificity(condition: &HttpMatch) -> impl Ord + use<> {
    let path = condition.path.as_ref().map_or((3, Reverse(0)), |p| match p.kind.as_str() {
        "Exact" => (0, Reverse(0)),
        "PathPrefix" => (1, Reverse(p.value.len())),
        _ => (2, Reverse(p.value.len())),
    });
    let count = |n: Option<usize>| Reverse(n.unwrap_or(0));
    (
        path,
        condition.method.is_none(),
        count(condition.headers.as_ref().map(Vec::len)),
        count(condition.query_params.as_ref().map(Vec::len)),
    )
}

/// A path with the way in which a prefix of it can be replaced.
enum PathPart {
    /// No prefix: nothing to replace.
    Other(PathCondition),
    /// The prefix itself, as a whole path.
    Whole(Arc<str>),
    /// Everything below the prefix.
    Below(Arc<str>),
}

fn path_parts(path: Option<&PathMatch>) -> Vec<PathPart> {
    let Some(path) = path else { return vec![PathPart::Other(PathCondition::default())] };
    match path.kind.as_str() {
        "Exact" => vec![PathPart::Other(PathCondition::Exact(path.value.as_str().into()))],
        "RegularExpression" => vec![PathPart::Other(PathCondition::Regex(path.value.as_str().into()))],
        _ if path.value == "/" => vec![PathPart::Below("/".into())],
        _ => {
            // Envoy's own prefixes that end at a separator make `//path` of a prefix that is rewritten to `/`.
            let trimmed = path.value.strip_suffix('/').unwrap_or(&path.value);
            vec![PathPart::Whole(trimmed.into()), PathPart::Below(format!("{trimmed}/").into())]
        }
    }
}

fn add_routes(
    out: &mut Vec<Route>,
    name: &Name,
    condition: &HttpMatch,
    rule: &HttpRouteRule,
    own: &Split,
    own_is_http: bool,
) {
    for part in path_parts(condition.path.as_ref()) {
        let matches = RouteMatch {
            path: match &part {
                PathPart::Other(path) => path.clone(),
                PathPart::Whole(path) => PathCondition::Exact(path.clone()),
                PathPart::Below(prefix) => PathCondition::Prefix(prefix.clone()),
            },
            headers: header_conditions(condition),
            query: query_conditions(condition.query_params.as_deref().unwrap_or_default()),
            fraction: None,
        };
        let changes = Changes::of(&rule.filters, &part);
        let route = |matches: RouteMatch, action: RouteAction| Route {
            name: Some(name.clone()),
            matches,
            action,
            request_headers: changes.request.clone(),
            response_headers: changes.response.clone(),
        };
        if let Some(redirect) = &changes.redirect {
            out.push(route(matches, RouteAction::Redirect(redirect.clone())));
            continue;
        }
        let mut splits = rule.backends.splits.iter().map(crate::plan::BackendSplit::ir).collect::<Vec<_>>();
        if !rule.backends.declared && own_is_http {
            splits.push(own.clone());
        }
        if splits.is_empty() {
            out.push(route(matches, RouteAction::Respond { status: 500 }));
            continue;
        }
        if rule.backends.unresolved > 0 {
            let fraction = rule.backends.unresolved_fraction();
            let some = RouteMatch { fraction: Some(fraction), ..matches.clone() };
            out.push(route(some, RouteAction::Respond { status: 500 }));
        }
        let action = Forward { splits, ..changes.forward.clone() };
        out.push(route(matches, RouteAction::Forward(Box::new(action))));
    }
}

fn forward(splits: Vec<Split>) -> Forward {
    Forward { splits, ..Forward::default() }
}

fn header_conditions(condition: &HttpMatch) -> Vec<HeaderCondition> {
    let method = condition
        .method
        .iter()
        .map(|m| HeaderCondition { name: ":method".into(), value: HeaderTest::Exact(m.as_str().into()) });
    let mut out: Vec<HeaderCondition> = method.collect();
    for header in condition.headers.iter().flatten() {
        // Of several conditions on one header the first counts.
        if !out.iter().any(|o| *o.name == *header.name) {
            out.push(HeaderCondition { name: header.name.as_str().into(), value: header_test(header) });
        }
    }
    out
}

/// What a header must be.
pub fn header_test(header: &HeaderMatch) -> HeaderTest {
    match header.kind.as_deref() {
        Some("Present") => HeaderTest::Present(true),
        Some("Absent") => HeaderTest::Present(false),
        Some("RegularExpression") => HeaderTest::Regex(header.value.as_str().into()),
        // Envoy refuses an empty prefix; every value that is there begins with it.
        Some("Prefix") if header.value.is_empty() => HeaderTest::Present(true),
        Some("Prefix") => HeaderTest::Prefix(header.value.as_str().into()),
        _ => HeaderTest::Exact(header.value.as_str().into()),
    }
}

fn query_conditions(params: &[QueryMatch]) -> Vec<QueryCondition> {
    let mut out: Vec<QueryCondition> = Vec::new();
    for param in params {
        if out.iter().any(|o| *o.name == *param.name) {
            continue;
        }
        let value = match param.kind.as_str() {
            "RegularExpression" => QueryTest::Regex(param.value.as_str().into()),
            _ => QueryTest::Exact(param.value.as_str().into()),
        };
        out.push(QueryCondition { name: param.name.as_str().into(), value });
    }
    out
}

/// All changes of one route.
#[derive(Default)]
struct Changes {
    request: HeaderChanges,
    response: HeaderChanges,
    redirect: Option<Redirect>,
    forward: Forward,
}

impl Changes {
    fn of(filters: &[RouteFilter], part: &PathPart) -> Self {
        let mut out = Self::default();
        for filter in filters {
            match filter {
                RouteFilter::RequestHeaders(modifier) => change_headers(modifier, &mut out.request),
                RouteFilter::ResponseHeaders(modifier) => change_headers(modifier, &mut out.response),
                RouteFilter::Redirect(redirect) => out.redirect = Some(redirected(redirect, part)),
                RouteFilter::Rewrite(rewrite) => rewrite_request(rewrite, part, &mut out.forward),
                RouteFilter::Mirror { cluster, fraction } => {
                    out.forward.mirrors.push(Mirror { cluster: cluster.to_string().into(), fraction: *fraction });
                }
            }
        }
        out
    }
}

fn change_headers(modifier: &HeaderModifier, out: &mut HeaderChanges) {
    let addition = |overwrite: bool| {
        move |h: &super::HeaderValue| HeaderAddition {
            name: h.name.as_str().into(),
            value: h.value.as_str().into(),
            overwrite,
        }
    };
    out.add.extend(modifier.set.iter().flatten().map(addition(true)));
    out.add.extend(modifier.add.iter().flatten().map(addition(false)));
    out.remove.extend(modifier.remove.iter().flatten().map(|name| Arc::from(name.as_str())));
}

/// The whole path, replaced.
fn whole_path(substitution: &str) -> RegexRewrite {
    RegexRewrite { pattern: ".*".into(), substitution: substitution.into() }
}

/// How a path changes: by replacing all of it, or the prefix that was matched.
enum NewPath {
    Regex(RegexRewrite),
    Prefix(Arc<str>),
}

fn new_path(rewrite: &PathRewrite, part: &PathPart) -> Option<NewPath> {
    if rewrite.kind == "ReplaceFullPath" {
        return Some(NewPath::Regex(whole_path(rewrite.replace_full_path.as_deref().unwrap_or_default())));
    }
    let prefix = rewrite.replace_prefix_match.as_deref().unwrap_or_default();
    match part {
        PathPart::Whole(_) => Some(NewPath::Regex(whole_path(prefix))),
        PathPart::Below(_) => Some(NewPath::Prefix(prefix.into())),
        PathPart::Other(_) => None,
    }
}

fn redirected(redirect: &RequestRedirect, part: &PathPart) -> Redirect {
    Redirect {
        scheme: redirect.scheme.as_deref().map(Into::into),
        host: redirect.hostname.as_deref().map(Into::into),
        port: redirect.port,
        path: redirect.path.as_ref().and_then(|p| new_path(p, part)).map(|p| match p {
            NewPath::Regex(regex) => RedirectPath::Regex(regex),
            NewPath::Prefix(prefix) => RedirectPath::Prefix(prefix),
        }),
        status: redirect.status_code.filter(|c| *c != 0).map_or(302, |c| u16::try_from(c).unwrap_or(302)),
    }
}

fn rewrite_request(rewrite: &UrlRewrite, part: &PathPart, out: &mut Forward) {
    if let Some(host) = &rewrite.hostname {
        out.host_rewrite = Some(host.as_str().into());
    }
    match rewrite.path.as_ref().and_then(|p| new_path(p, part)) {
        Some(NewPath::Regex(regex)) => out.regex_rewrite = Some(regex),
        Some(NewPath::Prefix(prefix)) => out.prefix_rewrite = Some(prefix),
        None => {}
    }
}

/// Share of the requests that are copied; `None` is all of them.
pub fn mirror_fraction(mirror: &RequestMirror) -> Option<Fraction> {
    let percent = match mirror.percentage.as_ref()? {
        IntOrString::Int(n) => *n as f64,
        IntOrString::Text(text) => text.trim().parse().ok()?,
    };
    let millionths = (percent.clamp(0.0, 100.0) * 10_000.0).round() as u64;
    Some(exact_fraction(millionths, 1_000_000))
}
