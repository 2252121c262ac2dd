//! Where routes send traffic: references to destinations, resolved to clusters.

use std::sync::Arc;

use super::{Destination, DestinationKind, Destinations, NameRule, labels_match};
use crate::{
    ir::{self, Denominator, Fraction, Protocol},
    kri::Kri,
    meta::{Labels, Meta, label},
    policies::{
        HttpFilter, HttpRouteConf, HttpRouteRule, HttpRules, RouteFilter, TcpRule, match_hash, mirror_fraction,
        target::BackendRef,
    },
};

use super::ToRule;

/// A cluster and its share of the traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendSplit {
    /// KRI of the destination with the section as it was referred to: the cluster's name.
    pub cluster: Kri,
    /// Weight, greater than 0.
    pub weight: u32,
    /// The destination is an external service.
    pub external: bool,
}

impl BackendSplit {
    /// All traffic to one destination.
    pub fn all(cluster: Kri) -> Self {
        let external = &*cluster.short == DestinationKind::MeshExternalService.short();
        Self { cluster, weight: 100, external }
    }

    /// As it stands in a route.
    pub fn ir(&self) -> ir::Split {
        ir::Split { cluster: self.cluster.to_string().into(), weight: self.weight, auto_host_rewrite: self.external }
    }
}

/// Backends of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backends {
    /// The rule names backends; otherwise the destination itself takes the requests.
    pub declared: bool,
    /// Those that can be sent to.
    pub splits: Vec<BackendSplit>,
    /// Weight of those that cannot: requests for them fail.
    pub unresolved: u64,
}

impl Backends {
    /// Share of the requests that fail.
    pub fn unresolved_fraction(&self) -> Fraction {
        let resolved: u64 = self.splits.iter().map(|s| u64::from(s.weight)).sum();
        exact_fraction(self.unresolved, self.unresolved + resolved)
    }
}

/// A share as Envoy writes it, with the smallest denominator that is exact, else rounded to a millionth.
pub fn exact_fraction(part: u64, whole: u64) -> Fraction {
    let whole = u128::from(whole.max(1));
    let part = u128::from(part).min(whole);
    for (size, denominator) in [(100, Denominator::Hundred), (10_000, Denominator::TenThousand)] {
        if (part * size).is_multiple_of(whole) {
            return Fraction { numerator: (part * size / whole) as u32, denominator };
        }
    }
    let millionths = (part * 1_000_000 + whole / 2) / whole;
    Fraction { numerator: millionths as u32, denominator: Denominator::Million }
}

/// A destination's port that a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// KRI of the destination with the section as it was referred to.
    pub cluster: Kri,
    /// Protocol of the port.
    pub protocol: Protocol,
}

/// A question to the destinations of the mesh: the oldest of a kind with these labels. Whoever kept an answer asks
/// again when something that it is about comes, goes or changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendQuestion {
    /// Kind.
    pub kind: DestinationKind,
    /// Labels that it must have.
    pub labels: Labels,
}

impl BackendQuestion {
    /// What a reference of `policy` asks; `None` if it can mean nothing.
    pub fn of(reference: &BackendRef, policy: &Meta) -> Option<Self> {
        let kind = DestinationKind::of_target(reference.kind)?;
        let mut labels = reference.labels.clone()?;
        let namespace = policy.namespace();
        if !namespace.is_empty() && labels.contains_key(label::DISPLAY_NAME) {
            labels.entry(label::NAMESPACE.to_owned()).or_insert_with(|| namespace.to_owned());
        }
        Some(Self { kind, labels })
    }

    /// Whether this destination can be the answer.
    pub fn about(&self, destination: &Destination) -> bool {
        self.kind == destination.kind
            && labels_match(&self.labels, &destination.labels, &destination.name, NameRule::OrStorageName)
    }
}

/// What resolving an HTTP rule asks.
pub fn http_questions(rule: &ToRule<HttpRouteConf>) -> Vec<BackendQuestion> {
    let mut out = Vec::new();
    for item in &rule.conf.rules {
        let Some(origin) = rule.by_matches.get(&match_hash(&item.matches)) else { continue };
        let mirrors = item.conf.filters.iter().flatten().filter_map(|f| Some(&f.request_mirror.as_ref()?.backend_ref));
        let references = item.conf.backend_refs.iter().flatten().chain(mirrors);
        out.extend(references.filter_map(|r| BackendQuestion::of(r, &origin.policy.meta)));
    }
    out
}

/// What resolving a TCP rule asks.
pub fn tcp_questions(rule: &ToRule<TcpRule>) -> Vec<BackendQuestion> {
    let Some(origin) = rule.origins.last() else { return Vec::new() };
    let references = rule.conf.conf.backend_refs.iter().flatten();
    references.filter_map(|r| BackendQuestion::of(r, &origin.policy.meta)).collect()
}

/// Finds the destination that a reference of `policy` means.
fn backend_destination<'a>(
    reference: &BackendRef,
    policy: &Meta,
    destinations: &'a Destinations,
) -> Option<&'a Arc<Destination>> {
    let question = BackendQuestion::of(reference, policy)?;
    destinations.oldest(question.kind, &question.labels)
}

/// Finds the port that a reference of `policy` means. `None` if there is no such destination or port.
pub fn resolve_backend(reference: &BackendRef, policy: &Meta, destinations: &Destinations) -> Option<Backend> {
    let destination = backend_destination(reference, policy, destinations)?;
    let named = reference.section_name.clone().filter(|s| !s.is_empty());
    let section = named.or_else(|| reference.port.map(|p| p.to_string())).unwrap_or_default();
    let (section, port) = match destination.kind {
        DestinationKind::MeshService => {
            let port = destination.port(&section)?;
            (if section.is_empty() { port.section.clone() } else { section.into() }, port)
        }
        // These are known by one port; a reference without a section has a cluster without one.
        _ if section.is_empty() => (Arc::from(""), destination.ports.first()?),
        _ => (Arc::from(&*section), destination.port(&section)?),
    };
    Some(Backend { cluster: destination.kri.section(section), protocol: port.protocol })
}

fn weight(reference: &BackendRef) -> u64 {
    reference.weight.unwrap_or(1)
}

fn backends(
    references: &[BackendRef],
    policy: &Meta,
    destinations: &Destinations,
    fits: impl Fn(Protocol) -> bool,
) -> Backends {
    let mut out = Backends { declared: !references.is_empty(), ..Backends::default() };
    for reference in references {
        let weight = weight(reference);
        match resolve_backend(reference, policy, destinations).filter(|b| fits(b.protocol)) {
            Some(backend) if weight > 0 => out.splits.push(BackendSplit {
                weight: u32::try_from(weight).unwrap_or(u32::MAX),
                ..BackendSplit::all(backend.cluster)
            }),
            _ => out.unresolved += weight,
        }
    }
    out
}

/// Resolves the backends of the merged HTTP rules of a destination.
pub fn http_rules(rule: &ToRule<HttpRouteConf>, destinations: &Destinations) -> HttpRules {
    let rules = rule.conf.rules.iter().filter_map(|item| {
        // Every condition was counted when the rules were merged, so its origin is known.
        let origin = rule.by_matches.get(&match_hash(&item.matches))?;
        let meta = &origin.policy.meta;
        let references = item.conf.backend_refs.as_deref().unwrap_or_default();
        let filters = item.conf.filters.iter().flatten();
        Some(HttpRouteRule {
            route: origin.policy.kri.section(format!("rule_{}", origin.index)),
            matches: item.matches.clone(),
            filters: filters.filter_map(|f| filter(f, meta, destinations)).collect(),
            backends: backends(references, meta, destinations, Protocol::is_http),
        })
    });
    HttpRules { rules: rules.collect() }
}

fn filter(filter: &HttpFilter, policy: &Meta, destinations: &Destinations) -> Option<RouteFilter> {
    match filter.kind.as_str() {
        "RequestHeaderModifier" => filter.request_header_modifier.clone().map(RouteFilter::RequestHeaders),
        "ResponseHeaderModifier" => filter.response_header_modifier.clone().map(RouteFilter::ResponseHeaders),
        "RequestRedirect" => filter.request_redirect.clone().map(RouteFilter::Redirect),
        "URLRewrite" => filter.url_rewrite.clone().map(RouteFilter::Rewrite),
        "RequestMirror" => {
            let mirror = filter.request_mirror.as_ref()?;
            let backend = resolve_backend(&mirror.backend_ref, policy, destinations)?;
            (backend.protocol.is_http() && weight(&mirror.backend_ref) > 0)
                .then(|| RouteFilter::Mirror { cluster: backend.cluster, fraction: mirror_fraction(mirror) })
        }
        _ => None,
    }
}

/// Where a TCP policy sends the connections to a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpBackends {
    /// Some destination that the policy names exists.
    pub known: bool,
    /// Those that can be sent to.
    pub splits: Vec<BackendSplit>,
}

/// Resolves the backends of the merged TCP rule of a destination.
pub fn tcp_backends(rule: &ToRule<TcpRule>, destinations: &Destinations) -> TcpBackends {
    let Some(origin) = rule.origins.last() else { return TcpBackends::default() };
    let meta = &origin.policy.meta;
    let references = rule.conf.conf.backend_refs.as_deref().unwrap_or_default();
    TcpBackends {
        known: references.iter().any(|r| backend_destination(r, meta, destinations).is_some()),
        splits: backends(references, meta, destinations, |_| true).splits,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::plan::fixture::{destinations, service};

    fn resolved(reference: Value, namespace: &str) -> Option<String> {
        let shop = [(label::NAMESPACE, "shop"), ("tier", "front")];
        let all = destinations([service("new", 9, &[("tier", "front")]), service("old", 1, &shop)]);
        let labels = Labels::from([(label::NAMESPACE.to_owned(), namespace.to_owned())]);
        let policy = Meta::new("default", "p", labels);
        let reference: BackendRef = serde_json::from_value(reference).unwrap();
        resolve_backend(&reference, &policy, &all).map(|b| b.cluster.to_string())
    }

    #[test]
    fn the_oldest_is_meant_and_the_section_is_as_referred() {
        let reference = |more: Value| {
            let mut out = json!({"kind": "MeshService", "labels": {"tier": "front"}});
            out.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            resolved(out, "")
        };
        let old = |section: &str| Some(format!("kri_msvc_default_default_shop_old_{section}"));
        assert_eq!(reference(json!({})), old("http"));
        assert_eq!(reference(json!({"port": 80})), old("80"));
        assert_eq!(reference(json!({"port": 80, "sectionName": "http"})), old("http"));
        assert_eq!(reference(json!({"port": 81})), None);
        assert_eq!(reference(json!({"kind": "MeshExternalService"})), None);
    }

    #[test]
    fn a_name_is_looked_for_in_the_namespace_of_the_policy() {
        let by_name = |name: &str, namespace: &str| {
            resolved(json!({"kind": "MeshService", "labels": {"kuma.io/display-name": name}}), namespace)
        };
        assert!(by_name("old", "shop").is_some());
        assert!(by_name("new", "shop").is_none());
        assert!(by_name("old", "").is_some());
        // Labels without a name are not narrowed.
        assert!(resolved(json!({"kind": "MeshService", "labels": {"tier": "front"}}), "elsewhere").is_some());
    }

    #[test]
    fn shares_have_the_smallest_exact_denominator() {
        let share = |part, whole| {
            let fraction = exact_fraction(part, whole);
            (fraction.numerator, fraction.denominator)
        };
        assert_eq!(share(1, 4), (25, Denominator::Hundred));
        assert_eq!(share(1, 8), (1250, Denominator::TenThousand));
        assert_eq!(share(2, 3), (666_667, Denominator::Million));
        assert_eq!(share(7, 7), (100, Denominator::Hundred));
        assert_eq!(share(0, 0), (0, Denominator::Hundred));
    }
}
