//! Rules of MeshHTTPRoute.

use std::collections::BTreeSet;

use super::{
    HeaderModifier, HttpFilter, HttpMatch, HttpRule, MeshHTTPRoute, PathMatch, PathRewrite, RequestRedirect, UrlRewrite,
};
use crate::{
    names,
    policies::target::validate as target,
    validate::{Path, Violations, text},
};

pub(super) fn spec(spec: &MeshHTTPRoute, at: &Path, out: &mut Violations) {
    target::top(spec.target_ref.as_ref(), at, false, out);
    for (i, item) in spec.to.iter().flatten().enumerate() {
        let at = at.field("to").index(i);
        target::destination(&item.target_ref, &at, target::SERVICES, out);
        for (j, item) in item.rules.iter().enumerate() {
            rule(item, &at.field("rules").index(j), out);
        }
        if !item.hostnames.is_empty() {
            out.add(&at.field("hostnames"), text::NOT_DEFINED);
        }
    }
}

fn rule(rule: &HttpRule, at: &Path, out: &mut Violations) {
    for (i, item) in rule.matches.iter().enumerate() {
        condition(item, &at.field("matches").index(i), out);
    }
    let at = at.field("default");
    let all_prefixes = rule.matches.iter().all(|m| m.path.as_ref().is_some_and(|p| p.kind == "PathPrefix"));
    for (i, item) in rule.conf.filters.iter().flatten().enumerate() {
        filter(item, &at.field("filters").index(i), all_prefixes, out);
    }
    for (i, item) in rule.conf.backend_refs.iter().flatten().enumerate() {
        target::backend_ref(item, &at.field("backendRefs").index(i), out);
    }
}

fn condition(item: &HttpMatch, at: &Path, out: &mut Violations) {
    if let Some(item) = &item.path {
        path(item, &at.field("path").field("value"), out);
    }
    let mut seen = BTreeSet::new();
    for (i, item) in item.query_params.iter().flatten().enumerate() {
        if !seen.insert(&item.name) {
            let at = at.field("queryParams").index(i).field("name");
            out.add(&at, format!("multiple entries for name {}", item.name));
        }
    }
    for (i, item) in item.headers.iter().flatten().enumerate() {
        if matches!(item.kind.as_deref(), Some("Present" | "Absent")) && !item.value.is_empty() {
            out.add(&at.field("headers").index(i).field("value"), text::NOT_DEFINED);
        }
    }
}

fn path(path: &PathMatch, at: &Path, out: &mut Violations) {
    let value = &path.value;
    if path.kind == "PathPrefix" && value.len() > 1 && value.ends_with('/') {
        out.add(at, "does not need a trailing slash because only a `/`-separated prefix or an entire path is matched");
    }
    if matches!(path.kind.as_str(), "PathPrefix" | "Exact") && !value.starts_with('/') {
        out.add(at, "must be an absolute path");
    }
}

fn filter(item: &HttpFilter, at: &Path, all_prefixes: bool, out: &mut Violations) {
    match item.kind.as_str() {
        "RequestHeaderModifier" => {
            let at = at.field("requestHeaderModifier");
            with(item.request_header_modifier.as_ref(), &at, out, |m, out| headers(m, &at, out));
        }
        "ResponseHeaderModifier" => {
            let at = at.field("responseHeaderModifier");
            with(item.response_header_modifier.as_ref(), &at, out, |m, out| headers(m, &at, out));
        }
        "RequestRedirect" => {
            let at = at.field("requestRedirect");
            with(item.request_redirect.as_ref(), &at, out, |r: &RequestRedirect, out| {
                rewrite_path(r.path.as_ref(), &at, all_prefixes, out);
                hostname(r.hostname.as_deref(), &at, out);
            });
        }
        "URLRewrite" => {
            let at = at.field("urlRewrite");
            with(item.url_rewrite.as_ref(), &at, out, |r, out| url_rewrite(r, &at, all_prefixes, out));
        }
        "RequestMirror" => {
            let at = at.field("requestMirror");
            with(item.request_mirror.as_ref(), &at, out, |mirror, out| {
                target::backend_ref(&mirror.backend_ref, &at.field("backendRef"), out);
            });
        }
        // The schema refuses other types.
        _ => {}
    }
}

/// Checks the part of a filter that its type asks for, or says that it is missing.
fn with<T>(part: Option<&T>, at: &Path, out: &mut Violations, check: impl FnOnce(&T, &mut Violations)) {
    match part {
        Some(part) => check(part, out),
        None => out.add(at, text::DEFINED),
    }
}

fn headers(modifier: &HeaderModifier, at: &Path, out: &mut Violations) {
    if modifier.set.is_none() && modifier.add.is_none() && modifier.remove.is_none() {
        return out.add(at, "must have at least one defined: set, add, remove");
    }
    let named = |list: &'static str| move |(i, name): (usize, &String)| (list, i, name.clone());
    let set = modifier.set.iter().flatten().map(|h| &h.name).enumerate().map(named("set"));
    let add = modifier.add.iter().flatten().map(|h| &h.name).enumerate().map(named("add"));
    let remove = modifier.remove.iter().flatten().enumerate().map(named("remove"));
    let mut seen = BTreeSet::new();
    for (list, i, name) in set.chain(add).chain(remove) {
        if !seen.insert(name) {
            out.add(&at.field(list).index(i).field("name"), "duplicate header name");
        }
    }
}

fn url_rewrite(rewrite: &UrlRewrite, at: &Path, all_prefixes: bool, out: &mut Violations) {
    rewrite_path(rewrite.path.as_ref(), at, all_prefixes, out);
    hostname(rewrite.hostname.as_deref(), at, out);
    if rewrite.host_to_backend_hostname == Some(true) {
        let at = at.field("hostToBackendHostname");
        out.add(&at, "must not be set");
        if rewrite.hostname.is_some() {
            out.add(&at, "cannot be set together with hostname");
        }
    }
}

fn rewrite_path(path: Option<&PathRewrite>, at: &Path, all_prefixes: bool, out: &mut Violations) {
    if path.is_some_and(|p| p.replace_prefix_match.is_some()) && !all_prefixes {
        let at = at.field("path").field("replacePrefixMatch");
        out.add(&at, "can only appear if all matches match a path prefix");
    }
}

fn hostname(hostname: Option<&str>, at: &Path, out: &mut Violations) {
    let Some(hostname) = hostname else { return };
    let at = at.field("hostname");
    if names::is_ip(hostname) {
        return out.add(&at, "cannot be an IP address");
    }
    for fault in names::dns1123_subdomain(hostname) {
        out.add(&at, fault);
    }
}
