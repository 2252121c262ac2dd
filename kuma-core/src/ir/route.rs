//! HTTP routes: match, action, and what policies tune on them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Name, Split};
use crate::{duration::GoDuration, meta::Labels};

/// One Envoy route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Name; `None` on the route of an inbound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Which requests it takes.
    pub matches: RouteMatch,
    /// What happens to them.
    pub action: RouteAction,
    /// Changes of request headers.
    #[serde(default, skip_serializing_if = "HeaderChanges::is_empty")]
    pub request_headers: HeaderChanges,
    /// Changes of response headers.
    #[serde(default, skip_serializing_if = "HeaderChanges::is_empty")]
    pub response_headers: HeaderChanges,
}

/// Condition of a route; everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RouteMatch {
    /// On the path.
    pub path: PathCondition,
    /// On headers, `:method` among them, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderCondition>,
    /// On query parameters, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryCondition>,
    /// Only this share of the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
}

/// Condition on the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PathCondition {
    /// Begins with.
    Prefix(Arc<str>),
    /// Equals.
    Exact(Arc<str>),
    /// Matches an expression (RE2).
    Regex(Arc<str>),
}

impl Default for PathCondition {
    fn default() -> Self {
        Self::Prefix("/".into())
    }
}

/// Condition on a header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderCondition {
    /// Header name.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: HeaderTest,
}

/// What a header must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeaderTest {
    /// Equals.
    Exact(Arc<str>),
    /// Begins with.
    Prefix(Arc<str>),
    /// Matches an expression (RE2).
    Regex(Arc<str>),
    /// Is there (`true`) or not (`false`).
    Present(bool),
}

/// Condition on a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryCondition {
    /// Parameter name.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: QueryTest,
}

/// What a query parameter must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum QueryTest {
    /// Equals.
    Exact(Arc<str>),
    /// Matches an expression (RE2).
    Regex(Arc<str>),
}

/// A share, as Envoy writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fraction {
    /// Of the denominator.
    pub numerator: u32,
    /// Hundred, ten thousand or a million.
    pub denominator: Denominator,
}

/// Denominators that Envoy knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Denominator {
    /// Percent.
    #[default]
    Hundred,
    /// Basis points.
    TenThousand,
    /// Parts per million.
    Million,
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteAction {
    /// Goes to a cluster.
    Forward(Box<Forward>),
    /// Is answered with a redirect.
    Redirect(Redirect),
    /// Is answered with a bare status.
    Respond {
        /// HTTP status.
        status: u16,
    },
}

/// A forwarded request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Forward {
    /// Where to; one split is written without weight.
    pub splits: Vec<Split>,
    /// `timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<GoDuration>,
    /// `idleTimeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<GoDuration>,
    /// `retryPolicy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Arc<RetryPolicy>>,
    /// `prefixRewrite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_rewrite: Option<Arc<str>>,
    /// `regexRewrite`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex_rewrite: Option<RegexRewrite>,
    /// `hostRewriteLiteral`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_rewrite: Option<Arc<str>>,
    /// `requestMirrorPolicies`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
}

/// Substitution in the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegexRewrite {
    /// Expression (RE2).
    pub pattern: Arc<str>,
    /// Replacement.
    pub substitution: Arc<str>,
}

/// A copy of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// Where it goes.
    pub cluster: Name,
    /// Share of requests; `None` is all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<Fraction>,
}

/// A redirect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// New scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Arc<str>>,
    /// New host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// New port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// New path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<RedirectPath>,
    /// HTTP status: 301, 302, 303, 307, 308.
    pub status: u16,
}

/// New path of a redirect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RedirectPath {
    /// The whole path.
    Full(Arc<str>),
    /// What replaces the matched prefix.
    Prefix(Arc<str>),
    /// Substitution.
    Regex(RegexRewrite),
}

/// Changes of headers, in the order in which Envoy is told: overwriting ones first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HeaderChanges {
    /// Additions, each overwriting or appending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<HeaderAddition>,
    /// Names to remove.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Arc<str>>,
}

impl HeaderChanges {
    /// Nothing changes.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

/// A header that is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderAddition {
    /// Name.
    pub name: Arc<str>,
    /// Value.
    pub value: Arc<str>,
    /// Replaces what is there; else appends.
    pub overwrite: bool,
}

/// When and how a request is tried again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryPolicy {
    /// Comma separated conditions.
    pub retry_on: String,
    /// How often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_retries: Option<u32>,
    /// Of one try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<GoDuration>,
    /// Pause between tries: first, longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back_off: Option<RetryBackOff>,
    /// Pause that the upstream asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limited: Option<RateLimitedRetry>,
    /// Status codes that are tried again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status_codes: Vec<u32>,
    /// Conditions on request headers, one of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_headers: Vec<HeaderCondition>,
    /// Conditions on response headers, one of which must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub response_headers: Vec<HeaderCondition>,
    /// Endpoints to avoid, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_predicates: Vec<RetryHostPredicate>,
    /// After how many tries priorities are computed anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_priorities: Option<i32>,
    /// How often to pick another endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_selection_attempts: Option<i64>,
}

/// Pause between tries; both written only where given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBackOff {
    /// First pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<GoDuration>,
    /// Longest pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<GoDuration>,
}

/// Pause that the upstream asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateLimitedRetry {
    /// Headers, with whether they hold a Unix time (else seconds).
    pub headers: Vec<(Arc<str>, bool)>,
    /// Longest pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<GoDuration>,
}

/// Which endpoints a retry avoids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetryHostPredicate {
    /// Those that were tried.
    PreviousHosts,
    /// Those with these tags.
    WithTags(Labels),
}

impl Route {
    /// Clusters that this route sends to, mirrors included.
    pub fn clusters(&self) -> impl Iterator<Item = Name> + '_ {
        let forward = match &self.action {
            RouteAction::Forward(forward) => Some(forward),
            _ => None,
        };
        forward
            .into_iter()
            .flat_map(|f| f.splits.iter().map(|s| s.cluster.clone()).chain(f.mirrors.iter().map(|m| m.cluster.clone())))
    }
}
