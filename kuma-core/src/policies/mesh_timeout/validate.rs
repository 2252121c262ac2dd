//! Rules of MeshTimeout.

use super::{MeshTimeout, TimeoutRule, Timeouts};
use crate::{
    duration::GoDuration,
    policies::target::{TargetKind, validate as target},
    validate::{Path, Violations, text},
};

const ROUTE: &str = "can't be specified when top-level TargetRef is referencing MeshHTTPRoute";

pub(super) fn spec(spec: &MeshTimeout, at: &Path, out: &mut Violations) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    let to = spec.to.as_deref().unwrap_or_default();
    target::top(spec.target_ref.as_ref(), at, !rules.is_empty(), out);
    if !rules.is_empty() && !to.is_empty() {
        out.add(at, "fields 'to' must be empty when 'rules' is defined");
    }
    if rules.is_empty() && to.is_empty() {
        out.add(at, text::TO_OR_RULES);
    }
    // Such objects can be left over from earlier releases; the schema refuses them on write.
    let of_route = spec.target_ref.as_ref().is_some_and(|t| t.kind == TargetKind::MeshHTTPRoute);
    let supported = if of_route { &["Mesh", "MeshExternalService"][..] } else { target::DESTINATIONS_AND_ROUTES };
    for (i, item) in to.iter().enumerate() {
        let at = at.field("to").index(i);
        target::destination(&item.target_ref, &at, supported, out);
        timeouts(&item.conf, &at.field("default"), of_route, out);
    }
    for (i, item) in rules.iter().enumerate() {
        let at = at.field("rules").index(i);
        target::strict_matches(item.matches.as_deref(), &at, out);
        unconditional(item, &at.field("default"), out);
        timeouts(&item.conf, &at.field("default"), of_route, out);
    }
}

/// Timeouts of connections cannot depend on who the client is: they begin before it is known.
fn unconditional(rule: &TimeoutRule, at: &Path, out: &mut Violations) {
    if !rule.matches.iter().flatten().any(|m| m.spiffe_id.is_some()) {
        return;
    }
    let conf = &rule.conf;
    let http = conf.http.clone().unwrap_or_default();
    for (field, value) in [
        ("connectionTimeout", conf.connection_timeout),
        ("idleTimeout", conf.idle_timeout),
        ("http.requestHeadersTimeout", http.request_headers_timeout),
        ("http.maxStreamDuration", http.max_stream_duration),
        ("http.maxConnectionDuration", http.max_connection_duration),
    ] {
        if value.is_some() {
            out.add(&at.field(field), text::NOT_BY_IDENTITY);
        }
    }
}

fn timeouts(conf: &Timeouts, at: &Path, of_route: bool, out: &mut Violations) {
    if *conf == Timeouts::default() {
        return out.add(at, "at least one timeout should be configured");
    }
    let mut check = |field: &str, value: Option<GoDuration>, not_of_route: bool, zero: bool| {
        let Some(value) = value else { return };
        let at = at.field(field);
        if of_route && not_of_route {
            out.add(&at, ROUTE);
        }
        if value.is_negative() || (value.is_zero() && !zero) {
            out.add(&at, if zero { text::NOT_NEGATIVE } else { text::POSITIVE_WHEN_DEFINED });
        }
    };
    check("connectionTimeout", conf.connection_timeout, true, false);
    check("idleTimeout", conf.idle_timeout, true, true);
    let Some(http) = &conf.http else { return };
    let main = [http.request_timeout, http.stream_idle_timeout, http.max_stream_duration, http.max_connection_duration];
    if main.iter().all(Option::is_none) {
        out.add(&at.field("http"), "at least one timeout in this section should be configured");
    }
    let mut check = |field: &str, value: Option<GoDuration>, not_of_route: bool| {
        let Some(value) = value else { return };
        let at = at.field("http").field(field);
        if of_route && not_of_route {
            out.add(&at, ROUTE);
        }
        if value.is_negative() {
            out.add(&at, text::NOT_NEGATIVE);
        }
    };
    check("requestTimeout", http.request_timeout, false);
    check("streamIdleTimeout", http.stream_idle_timeout, false);
    check("maxStreamDuration", http.max_stream_duration, true);
    check("maxConnectionDuration", http.max_connection_duration, true);
    check("requestHeadersTimeout", http.request_headers_timeout, false);
}
