//! Rules of MeshRetry. The paths have a segment `conf` that the document has not; clients know them so.

use super::{BackOff, GrpcRetry, HostPredicate, HttpRetry, MeshRetry, RateLimitedBackOff, Retries};
use crate::{
    meta::Labels,
    policies::target::{TargetKind, validate as target},
    validate::{Path, Violations, text},
};

const CONDITIONS: &[&str] = &[
    "5xx",
    "GatewayError",
    "Reset",
    "Retriable4xx",
    "ConnectFailure",
    "EnvoyRatelimited",
    "RefusedStream",
    "Http3PostConnectFailure",
    "HttpMethodConnect",
    "HttpMethodDelete",
    "HttpMethodGet",
    "HttpMethodHead",
    "HttpMethodOptions",
    "HttpMethodPatch",
    "HttpMethodPost",
    "HttpMethodPut",
    "HttpMethodTrace",
];
const GRPC_CODES: &[&str] = &["Canceled", "DeadlineExceeded", "Internal", "ResourceExhausted", "Unavailable"];

pub(super) fn spec(spec: &MeshRetry, at: &Path, out: &mut Violations) {
    target::top(spec.target_ref.as_ref(), at, false, out);
    // Such objects can be left over from earlier releases; the schema refuses them on write.
    let of_route = spec.target_ref.as_ref().is_some_and(|t| t.kind == TargetKind::MeshHTTPRoute);
    let supported = if of_route { &["Mesh", "MeshExternalService"][..] } else { target::DESTINATIONS_AND_ROUTES };
    for (i, item) in spec.to.iter().flatten().enumerate() {
        let at = at.field("to").index(i);
        target::destination(&item.target_ref, &at, supported, out);
        retries(&item.conf, &at.field("default").field("conf"), out);
    }
}

fn retries(conf: &Retries, at: &Path, out: &mut Violations) {
    if *conf == Retries::default() {
        return out.add(at, "at least one of the 'tcp', 'http', 'grpc' must be specified");
    }
    if let Some(tcp) = &conf.tcp {
        let at = at.field("tcp");
        match tcp.max_connect_attempt {
            None => out.add(&at, text::NOT_EMPTY),
            Some(0) => out.add(&at.field("maxConnectAttempt"), text::POSITIVE),
            Some(_) => {}
        }
    }
    if let Some(conf) = &conf.http {
        http(conf, &at.field("http"), out);
    }
    if let Some(conf) = &conf.grpc {
        grpc(conf, &at.field("grpc"), out);
    }
}

fn http(conf: &HttpRetry, at: &Path, out: &mut Violations) {
    if (HttpRetry { host_selection_max_attempts: None, ..conf.clone() }) == HttpRetry::default() {
        return out.add(at, text::NOT_EMPTY);
    }
    back_off(conf.back_off.as_ref(), at, out);
    rate_limited(conf.rate_limited_back_off.as_ref(), at, out);
    known_items(conf.retry_on.as_deref(), at, |item| CONDITIONS.contains(&item) || is_status(item), out);
    host_selection(conf.host_selection.as_deref().unwrap_or_default(), &at.field("hostSelection"), out);
}

fn grpc(conf: &GrpcRetry, at: &Path, out: &mut Violations) {
    if *conf == GrpcRetry::default() {
        return out.add(at, text::NOT_EMPTY);
    }
    back_off(conf.back_off.as_ref(), at, out);
    rate_limited(conf.rate_limited_back_off.as_ref(), at, out);
    known_items(conf.retry_on.as_deref(), at, |item| GRPC_CODES.contains(&item), out);
}

fn back_off(conf: Option<&BackOff>, at: &Path, out: &mut Violations) {
    if conf.is_some_and(|conf| *conf == BackOff::default()) {
        out.add(&at.field("backOff"), text::NOT_EMPTY);
    }
}

fn rate_limited(conf: Option<&RateLimitedBackOff>, at: &Path, out: &mut Violations) {
    let Some(conf) = conf else { return };
    let at = at.field("rateLimitedBackOff");
    if conf.max_interval.is_some_and(|interval| !interval.is_positive()) {
        out.add(&at.field("maxInterval"), text::DEFINED_AND_POSITIVE);
    }
    let headers = conf.reset_headers.as_deref().unwrap_or_default();
    if headers.is_empty() {
        out.add(&at.field("resetHeaders"), text::DEFINED);
    }
    for (i, header) in headers.iter().enumerate() {
        if header.name.is_empty() {
            out.add(&at.field("resetHeaders").index(i).field("name"), text::DEFINED);
        }
    }
}

fn known_items(items: Option<&[String]>, at: &Path, known: impl Fn(&str) -> bool, out: &mut Violations) {
    for (i, item) in items.unwrap_or_default().iter().enumerate() {
        if !known(item) {
            out.add(&at.field("retryOn").index(i), format!("unknown item '{item}'"));
        }
    }
}

/// A status code that HTTP has a name for.
fn is_status(text: &str) -> bool {
    text.len() == 3
        && text.parse::<u16>().is_ok_and(|code| {
            matches!(code,
                100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429 | 431 | 451
                | 500..=508 | 510 | 511)
        })
}

fn host_selection(predicates: &[HostPredicate], at: &Path, out: &mut Violations) {
    let mut priorities_seen = false;
    for (i, item) in predicates.iter().enumerate() {
        let at = at.index(i);
        match item.predicate.as_str() {
            "OmitPreviousHosts" => {}
            "OmitHostsWithTags" => {
                if item.tags.as_ref().is_none_or(Labels::is_empty) {
                    out.add(&at.field("tags"), text::DEFINED);
                }
            }
            "OmitPreviousPriorities" => {
                if priorities_seen {
                    out.add(&at.field("predicate"), "OmitPreviousPriorities must only be specified once");
                }
                priorities_seen = true;
                if item.update_frequency.is_none_or(|n| n <= 0) {
                    out.add(&at.field("updateFrequency"), text::DEFINED_AND_POSITIVE);
                }
            }
            other => out.add(&at.field("predicate"), format!("unknown predicate type '{other}'")),
        }
    }
}
