//! Rules of targetRefs, backendRefs and matches, shared by all policies.

use super::{BackendRef, Match, TargetRef};
use crate::{
    names,
    validate::{Path, Violations, text},
};

/// Destinations of policies about a destination of any kind.
pub const DESTINATIONS: &[&str] = &["Mesh", "MeshService", "MeshExternalService", "MeshMultiZoneService"];
/// Destinations of policies about a destination or a route.
pub const DESTINATIONS_AND_ROUTES: &[&str] =
    &["Mesh", "MeshService", "MeshExternalService", "MeshMultiZoneService", "MeshHTTPRoute"];
/// Destinations that can be routed to.
pub const SERVICES: &[&str] = &["MeshService", "MeshExternalService", "MeshMultiZoneService"];
/// What the top level of a policy can name.
pub const TOP: &[&str] = &["Mesh", "Dataplane"];

/// What a targetRef may be in one place.
#[derive(Clone, Copy, Debug, Default)]
pub struct TargetRules<'a> {
    /// Kinds that the place takes.
    pub supported: &'a [&'a str],
    /// Text for other kinds instead of the usual one.
    pub unsupported: Option<&'a str>,
    /// The policy has inbound rules, so a Dataplane may have a `sectionName`.
    pub inbound: bool,
}

/// Checks `spec.targetRef`; an absent one is fine.
pub fn top(target: Option<&TargetRef>, at: &Path, inbound: bool, out: &mut Violations) {
    if let Some(target) = target {
        target_ref(target, &at.field("targetRef"), TargetRules { supported: TOP, unsupported: None, inbound }, out);
    }
}

/// Checks `spec.to[].targetRef` against the kinds that the policy takes there.
pub fn destination(target: &TargetRef, at: &Path, supported: &[&str], out: &mut Violations) {
    target_ref(target, &at.field("targetRef"), TargetRules { supported, ..TargetRules::default() }, out);
}

/// Checks one targetRef at `at`.
pub fn target_ref(target: &TargetRef, at: &Path, rules: TargetRules<'_>, out: &mut Violations) {
    let kind = target.kind.name();
    if kind.is_empty() {
        return out.add(&at.field("kind"), text::DEFINED);
    }
    if !rules.supported.contains(&kind) {
        let message = rules.unsupported.map_or_else(|| format!("value '{kind}' is not supported"), ToOwned::to_owned);
        return out.add(&at.field("kind"), message);
    }
    let labels = target.labels.as_ref().is_some_and(|l| !l.is_empty());
    let section = target.section_name.as_ref().is_some_and(|s| !s.is_empty());
    match kind {
        "Mesh" => {
            if labels {
                out.add(&at.field("labels"), "must not be set with kind Mesh");
            }
            if section {
                out.add(&at.field("sectionName"), "must not be set with kind Mesh");
            }
        }
        "Dataplane" if section && !rules.inbound => {
            out.add(&at.field("sectionName"), "can only be used with inbound policies");
        }
        "MeshService" | "MeshMultiZoneService" | "MeshExternalService" | "MeshHTTPRoute" => {
            if section && matches!(kind, "MeshExternalService" | "MeshHTTPRoute") {
                out.add(&at.field("sectionName"), format!("must not be set with kind {kind}"));
            }
            if !labels {
                out.add(&at.field("labels"), format!("must be set when kind is {kind}"));
            }
        }
        // Also a kind that was removed: a caller who lists it wants nothing more to be checked.
        _ => {}
    }
}

/// Checks a destination with a weight.
pub fn backend_ref(backend: &BackendRef, at: &Path, out: &mut Violations) {
    let target =
        TargetRef { kind: backend.kind, labels: backend.labels.clone(), section_name: backend.section_name.clone() };
    target_ref(&target, at, TargetRules { supported: SERVICES, ..TargetRules::default() }, out);
    if backend.kind.name() == "MeshMultiZoneService" && backend.port.is_none() {
        out.add(&at.field("port"), "must be defined with kind MeshMultiZoneService");
    }
    if backend.weight.is_some_and(|w| w > u64::from(u32::MAX)) {
        out.add(&at.field("weight"), "must be in inclusive range [0, 4294967295]");
    }
}

/// Checks what all inbound policies ask of a match.
pub fn lenient_match(condition: &Match, at: &Path, out: &mut Violations) {
    if let Some(id) = &condition.spiffe_id
        && let Some(fault) = names::spiffe_id_fault(&id.value)
    {
        out.add(&at.field("spiffeID"), format!("must be a valid Spiffe ID: {fault}"));
    }
    if let Some(sni) = &condition.sni {
        let at = at.field("sni");
        match sni.kind.as_str() {
            "Exact" => {}
            "" => out.add(&at.field("type"), text::SET),
            other => out.add(&at.field("type"), format!("unrecognized type {other:?}, supported values are: Exact")),
        }
        if sni.value.is_empty() {
            out.add(&at.field("value"), text::SET);
        } else {
            for fault in names::dns1123_subdomain(&sni.value) {
                out.add(&at.field("value"), fault);
            }
        }
    }
}

/// Checks matches of a policy that wants each of them to say something.
pub fn strict_matches(matches: Option<&[Match]>, at: &Path, out: &mut Violations) {
    for (i, condition) in matches.unwrap_or_default().iter().enumerate() {
        let at = at.field("matches").index(i);
        if condition.spiffe_id.is_none() && condition.sni.is_none() {
            out.add(&at, "must specify at least one of 'spiffeID' or 'sni'");
            continue;
        }
        if let Some(id) = &condition.spiffe_id {
            let at = at.field("spiffeID").field("type");
            match id.kind.as_str() {
                "Exact" | "Prefix" => {}
                "" => out.add(&at, text::SET),
                other => out.add(&at, format!("unrecognized type {other:?}, supported values are: Exact, Prefix")),
            }
        }
        lenient_match(condition, &at, out);
    }
}
