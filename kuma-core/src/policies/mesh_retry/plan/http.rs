//! Retries of HTTP requests.

use super::{back_off, rate_limited};
use crate::{
    ir::{HeaderCondition, HeaderTest, RetryHostPredicate, RetryPolicy},
    meta::{Labels, label},
    policies::{HeaderMatch, HttpRetry, mesh_http_route::header_test},
};

const DEFAULT_CONDITIONS: &str = "gateway-error,connect-failure,refused-stream";

/// How often priorities are computed anew if nothing is said.
const UPDATE_FREQUENCY: i32 = 2;

/// Retry policy of a route; `None` retries nothing.
pub(super) fn policy(conf: &HttpRetry) -> Option<RetryPolicy> {
    if conf.num_retries == Some(0) {
        return None;
    }
    let mut out = RetryPolicy {
        num_retries: conf.num_retries,
        per_try_timeout: conf.per_try_timeout,
        back_off: conf.back_off.as_ref().map(back_off),
        rate_limited: conf.rate_limited_back_off.as_ref().map(rate_limited),
        host_selection_attempts: conf.host_selection_max_attempts,
        response_headers: headers(conf.retriable_response_headers.as_deref()),
        ..RetryPolicy::default()
    };
    let mut conditions: Vec<&str> = Vec::new();
    for item in conf.retry_on.iter().flatten() {
        if let Some(method) = item.strip_prefix("HttpMethod") {
            let value = HeaderTest::Exact(method.to_ascii_uppercase().into());
            out.request_headers.push(HeaderCondition { name: ":method".into(), value });
        } else if let Ok(code) = item.parse() {
            out.status_codes.push(code);
        } else if let Some(condition) = condition(item) {
            conditions.push(condition);
        }
    }
    if conditions.is_empty() {
        conditions.push(DEFAULT_CONDITIONS);
    }
    if !out.status_codes.is_empty() {
        conditions.push("retriable-status-codes");
    }
    out.retry_on = conditions.join(",");
    out.request_headers.extend(headers(conf.retriable_request_headers.as_deref()));
    for selection in conf.host_selection.iter().flatten() {
        match selection.predicate.as_str() {
            "OmitPreviousHosts" => out.host_predicates.push(RetryHostPredicate::PreviousHosts),
            "OmitHostsWithTags" => {
                let mut tags: Labels = selection.tags.clone().unwrap_or_default();
                // Endpoints do not show this tag.
                tags.remove(label::SERVICE);
                out.host_predicates.push(RetryHostPredicate::WithTags(tags));
            }
            "OmitPreviousPriorities" => {
                out.previous_priorities = Some(selection.update_frequency.unwrap_or(UPDATE_FREQUENCY));
            }
            _ => {}
        }
    }
    Some(out)
}

fn headers(matches: Option<&[HeaderMatch]>) -> Vec<HeaderCondition> {
    let condition = |m: &HeaderMatch| HeaderCondition { name: m.name.as_str().into(), value: header_test(m) };
    matches.into_iter().flatten().map(condition).collect()
}

fn condition(name: &str) -> Option<&'static str> {
    Some(match name {
        "5xx" => "5xx",
        "GatewayError" => "gateway-error",
        "Reset" => "reset",
        "Retriable4xx" => "retriable-4xx",
        "ConnectFailure" => "connect-failure",
        "EnvoyRatelimited" => "envoy-ratelimited",
        "RefusedStream" => "refused-stream",
        "Http3PostConnectFailure" => "http3-post-connect-failure",
        _ => return None,
    })
}
