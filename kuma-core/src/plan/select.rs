//! Which policies concern a proxy, which of its inbounds, and in which order they count.

use std::{cmp::Reverse, sync::Arc};

use super::{DataplaneFacts, ListenAt, NameRule, PolicyHead, PolicyOrigin, PolicyRole, PolicyView, labels_match};
use crate::{
    meta::label,
    policies::{
        policy::Policy,
        target::{TargetKind, TargetRef},
    },
};

/// What a policy selects of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// Inbounds and zone proxy listeners, each once, in declared order.
    pub inbounds: Vec<ListenAt>,
    /// The proxy as that of a delegated gateway.
    pub gateway: bool,
}

impl Selected {
    fn is_empty(&self) -> bool {
        self.inbounds.is_empty() && !self.gateway
    }

    fn add(&mut self, other: Self) {
        for at in other.inbounds {
            if !self.inbounds.contains(&at) {
                self.inbounds.push(at);
            }
        }
        self.gateway |= other.gateway;
    }
}

/// A policy whose target cannot be told; shown to users as a warning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A kind that earlier releases knew, or one that selects no proxies.
    #[error("unsupported targetRef kind '{}'", .0.name())]
    Kind(TargetKind),
    /// The route that it addresses does not exist.
    #[error("couldn't resolve MeshHTTPRoute targetRef with labels {0:?}")]
    Route(crate::meta::Labels),
}

/// What a policy selects of a proxy; `None` if nothing. `routes` are the MeshHTTPRoutes of the mesh, which only
/// policies of earlier releases address.
pub fn selects(
    policy: &PolicyHead,
    proxy: &DataplaneFacts,
    routes: &[Arc<PolicyHead>],
) -> Result<Option<Selected>, SelectError> {
    if !zone_gate(policy, proxy) || !namespace_gate(policy, proxy) {
        return Ok(None);
    }
    let found = match policy.top.kind {
        TargetKind::Mesh => of_sections(proxy, None),
        TargetKind::Dataplane => by_dataplane(&policy.top, proxy),
        TargetKind::MeshHTTPRoute => by_route(policy, proxy, routes)?,
        other => return Err(SelectError::Kind(other)),
    };
    Ok((!found.is_empty()).then_some(found))
}

/// A policy of a zone concerns proxies of that zone only, unless it is a producer's.
fn zone_gate(policy: &PolicyHead, proxy: &DataplaneFacts) -> bool {
    let origin = proxy.label(label::ORIGIN);
    if policy.role == PolicyRole::Producer || origin.is_empty() || origin == "global" {
        return true;
    }
    let zone = policy.meta.zone();
    if policy.origin != PolicyOrigin::Zone || zone.is_empty() {
        return true;
    }
    let proxy_zone = proxy.label(label::ZONE);
    origin == "zone" && (proxy_zone.is_empty() || proxy_zone == zone)
}

/// A consumer's or workload owner's policy concerns its own namespace only.
fn namespace_gate(policy: &PolicyHead, proxy: &DataplaneFacts) -> bool {
    !policy.namespaced()
        || (!policy.meta.namespace().is_empty() && policy.meta.namespace() == proxy.label(label::NAMESPACE))
}

fn by_dataplane(target: &TargetRef, proxy: &DataplaneFacts) -> Selected {
    let matches = target
        .labels
        .as_ref()
        .is_none_or(|wanted| labels_match(wanted, &proxy.labels, &proxy.key.name, NameRule::OrStorageName));
    if matches { of_sections(proxy, section(target)) } else { Selected::default() }
}

fn by_route(policy: &PolicyHead, proxy: &DataplaneFacts, routes: &[Arc<PolicyHead>]) -> Result<Selected, SelectError> {
    let wanted = policy.top.labels.clone().unwrap_or_default();
    let named: Vec<_> = routes_named(policy, &wanted, routes).collect();
    if named.is_empty() {
        return Err(SelectError::Route(wanted));
    }
    let mut found = Selected::default();
    for route in named {
        // A route that addresses a route leads nowhere.
        if route.top.kind != TargetKind::MeshHTTPRoute
            && let Some(selected) = selects(route, proxy, &[])?
        {
            found.add(selected);
        }
    }
    Ok(found)
}

/// Routes whose stored labels hold those that a policy of an earlier release names.
pub(super) fn routes_named<'a>(
    policy: &'a PolicyHead,
    wanted: &'a crate::meta::Labels,
    routes: &'a [Arc<PolicyHead>],
) -> impl Iterator<Item = &'a Arc<PolicyHead>> {
    routes.iter().filter(move |route| {
        labels_match(wanted, &route.meta.labels, &route.meta.name, NameRule::StoredLabel)
            && (!policy.namespaced() || policy.meta.namespace() == route.meta.namespace())
    })
}

fn of_sections(proxy: &DataplaneFacts, section: Option<&str>) -> Selected {
    let wanted = |name: &str| section.is_none_or(|s| s == name);
    let mut found = Selected { inbounds: Vec::new(), gateway: proxy.gateway };
    let inbounds = proxy.inbound_addresses().filter(|(i, _)| wanted(&i.section)).map(|(_, at)| at);
    let listeners = proxy.listeners.iter().filter(|l| wanted(&l.section)).map(|l| l.at.clone());
    for at in inbounds.chain(listeners) {
        if !found.inbounds.contains(&at) {
            found.inbounds.push(at);
        }
    }
    found
}

/// Section of a reference; an empty text is none.
pub(super) fn section(target: &TargetRef) -> Option<&str> {
    target.section_name.as_deref().filter(|s| !s.is_empty())
}

/// Position of a policy's target, origin and role in the order of precedence. Lower counts first and is overridden.
pub(super) fn precedence(head: &PolicyHead) -> (u8, bool, PolicyOrigin, PolicyRole) {
    let sectioned = head.top.kind == TargetKind::Dataplane && section(&head.top).is_some();
    (head.top.kind.rank(), sectioned, head.origin, head.role)
}

/// A policy that selects a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Matched<P: Policy> {
    /// The policy.
    pub policy: Arc<PolicyView<P>>,
    /// What it selects.
    pub selected: Selected,
}

/// Policies of one kind that select a proxy, lowest precedence first, and warnings for their authors.
#[derive(Clone, Debug, PartialEq)]
pub struct MatchedPolicies<P: Policy> {
    /// Sorted.
    pub policies: Vec<Matched<P>>,
    /// One text per policy whose target cannot be told.
    pub warnings: Vec<String>,
}

impl<P: Policy> Default for MatchedPolicies<P> {
    fn default() -> Self {
        Self { policies: Vec::new(), warnings: Vec::new() }
    }
}

impl<P: Policy> MatchedPolicies<P> {
    /// Finds and sorts the policies that select `proxy`. Shadow policies take part only if asked for.
    pub fn find<'a>(
        policies: impl IntoIterator<Item = &'a Arc<PolicyView<P>>>,
        proxy: &DataplaneFacts,
        routes: &[Arc<PolicyHead>],
        shadow: bool,
    ) -> Self {
        let mut out = Self::default();
        for policy in policies {
            if policy.head.shadow && !shadow {
                continue;
            }
            match selects(&policy.head, proxy, routes) {
                Ok(Some(selected)) => out.policies.push(Matched { policy: policy.clone(), selected }),
                Ok(None) => {}
                Err(error) => {
                    let meta = &policy.head.meta;
                    let text = error.to_string();
                    out.warnings.push(format!(
                        "unable to resolve TargetRef on policy: mesh:{} name:{} error:{text:?}",
                        meta.mesh, meta.name
                    ));
                }
            }
        }
        out.policies.sort_by(|a, b| whole_order(&a.policy.head).cmp(&whole_order(&b.policy.head)));
        out
    }

    /// The policies, lowest precedence first: what a class consists of.
    pub fn views(&self) -> Vec<Arc<PolicyView<P>>> {
        self.policies.iter().map(|m| m.policy.clone()).collect()
    }

    /// Those that select the listener at this address.
    pub fn at<'a>(&'a self, at: &'a ListenAt) -> impl Iterator<Item = &'a Arc<PolicyView<P>>> {
        self.policies.iter().filter(|m| m.selected.inbounds.contains(at)).map(|m| &m.policy)
    }
}

/// Key of the order of whole policies. Of equal ones, the lexicographically smaller name comes later and so wins.
pub fn whole_order(head: &PolicyHead) -> impl Ord + '_ {
    (precedence(head), Reverse(head.meta.display_name()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        plan::fixture::{dataplane, matched, policy},
        policies::{MeshRetry, MeshTimeout},
    };

    fn timeout(name: &str, target: Value, extra: &[(&str, &str)]) -> Arc<PolicyView<MeshTimeout>> {
        let spec =
            json!({"targetRef": target, "to": [{"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s"}}]});
        policy(name, spec, extra)
    }

    fn on_inbound(name: &str, target: Value) -> Arc<PolicyView<MeshTimeout>> {
        policy(name, json!({"targetRef": target, "rules": [{"default": {"idleTimeout": "1s"}}]}), &[])
    }

    fn web() -> DataplaneFacts {
        let inbound = json!([{"port": 8080, "name": "http", "protocol": "http"}, {"port": 9000, "protocol": "tcp"}]);
        dataplane(json!({"app": "web"}), json!({"inbound": inbound}), &[])
    }

    #[test]
    fn narrower_targets_then_zones_then_roles_then_smaller_names_win() {
        let labels = json!({"kind": "Dataplane", "labels": {"app": "web"}});
        let policies = [
            on_inbound("section", json!({"kind": "Dataplane", "labels": {"app": "web"}, "sectionName": "http"})),
            timeout("b-labels", labels.clone(), &[]),
            timeout("a-every-dataplane", json!({"kind": "Dataplane"}), &[]),
            timeout(
                "consumer",
                json!({"kind": "Mesh"}),
                &[(label::POLICY_ROLE, "consumer"), (label::NAMESPACE, "shop")],
            ),
            timeout("producer", json!({"kind": "Mesh"}), &[(label::POLICY_ROLE, "producer")]),
            timeout("zone", Value::Null, &[]),
            timeout("somewhere", Value::Null, &[(label::ORIGIN, "")]),
            timeout("global", labels, &[(label::ORIGIN, "global")]),
            timeout("global-a", Value::Null, &[(label::ORIGIN, "global")]),
            timeout("global-b", Value::Null, &[(label::ORIGIN, "global")]),
        ];
        let proxy = dataplane(
            json!({"app": "web"}),
            json!({"inbound": [{"port": 8080, "name": "http", "protocol": "http"}]}),
            &[(label::NAMESPACE, "shop")],
        );
        let wanted = [
            "global-b",
            "global-a",
            "somewhere",
            "zone",
            "producer",
            "consumer", // of the mesh
            "global",
            "b-labels",
            "a-every-dataplane", // of Dataplanes, with and without labels alike
            "section",
        ];
        assert_eq!(matched(&policies, &proxy), wanted);
        let reversed: Vec<_> = policies.iter().rev().cloned().collect();
        assert_eq!(matched(&reversed, &proxy), wanted);
    }

    #[test]
    fn a_zone_keeps_its_policies_to_itself_unless_they_are_a_producers() {
        let elsewhere = [(label::ZONE, "east")];
        let policies = [
            timeout("east", Value::Null, &elsewhere),
            timeout("produced", Value::Null, &[elsewhere[0], (label::POLICY_ROLE, "producer")]),
            timeout("from-global", Value::Null, &[elsewhere[0], (label::ORIGIN, "global")]),
            timeout("without-zone", Value::Null, &[(label::ZONE, "")]),
        ];
        assert_eq!(matched(&policies, &web()), ["from-global", "without-zone", "produced"]);
        // A proxy that nobody calls local is not kept apart.
        let inbound = json!({"inbound": [{"port": 1, "protocol": "tcp"}]});
        for origin in ["", "global"] {
            let proxy = dataplane(json!({}), inbound.clone(), &[(label::ORIGIN, origin)]);
            assert_eq!(matched(&policies, &proxy).len(), 4, "{origin:?}");
        }
    }

    #[test]
    fn owners_speak_for_their_namespace() {
        let of = |name, role, namespace| {
            timeout(name, Value::Null, &[(label::POLICY_ROLE, role), (label::NAMESPACE, namespace)])
        };
        let policies = [
            of("system", "system", "kuma-system"),
            of("consumer", "consumer", "shop"),
            of("owner", "workload-owner", "shop"),
            of("nowhere", "consumer", ""),
        ];
        let inbound = json!({"inbound": [{"port": 1, "protocol": "tcp"}]});
        let at = |namespace| dataplane(json!({}), inbound.clone(), &[(label::NAMESPACE, namespace)]);
        assert_eq!(matched(&policies, &at("shop")), ["system", "consumer", "owner"]);
        assert_eq!(matched(&policies, &at("")), ["system"]);
    }

    #[test]
    fn labels_are_all_to_be_there_and_the_name_counts_as_one() {
        let select = |labels: Value| timeout("p", json!({"kind": "Dataplane", "labels": labels}), &[]);
        let chosen = |labels: Value| !matched(&[select(labels)], &web()).is_empty();
        assert!(chosen(json!({})));
        assert!(chosen(json!({"app": "web", "kuma.io/display-name": "dp"})));
        assert!(chosen(json!({"app": "web", "absent": ""})));
        assert!(!chosen(json!({"app": "web", "team": "a"})));
        let unnamed = dataplane(json!({}), json!({"gateway": {}}), &[(label::DISPLAY_NAME, "")]);
        assert_eq!(matched(&[select(json!({"kuma.io/display-name": "dp"}))], &unnamed), ["p"]);
    }

    #[test]
    fn a_section_selects_one_inbound_and_the_gateway_whatever_it_says() {
        let at = |section: &str, proxy: &DataplaneFacts| {
            let policy = on_inbound("p", json!({"kind": "Dataplane", "sectionName": section}));
            let found = selects(&policy.head, proxy, &[]).unwrap();
            found.map(|f| (f.inbounds.iter().map(|i| i.port).collect::<Vec<_>>(), f.gateway))
        };
        assert_eq!(at("http", &web()), Some((vec![8080], false)));
        assert_eq!(at("9000", &web()), Some((vec![9000], false)));
        assert_eq!(at("8080", &web()), None, "a port with a name is not known by its number");
        let gateway = dataplane(json!({}), json!({"gateway": {"type": "DELEGATED"}}), &[]);
        assert_eq!(at("http", &gateway), Some((vec![], true)));
    }

    #[test]
    fn a_proxy_without_any_part_is_selected_by_nothing() {
        let bare = dataplane(json!({}), json!({}), &[]);
        assert!(matched(&[timeout("p", Value::Null, &[])], &bare).is_empty());
    }

    #[test]
    fn shadows_take_part_on_request_and_what_selects_nothing_is_reported() {
        let shadow = timeout("s", Value::Null, &[(label::EFFECT, "shadow")]);
        assert!(matched(std::slice::from_ref(&shadow), &web()).is_empty());
        assert_eq!(MatchedPolicies::find(&[shadow], &web(), &[], true).policies.len(), 1);

        let mut old = (*policy::<MeshRetry>("old", json!({"to": []}), &[])).clone();
        let mut head = (*old.head).clone();
        head.top.kind = TargetKind::of("MeshSubset");
        old.head = Arc::new(head);
        let found = MatchedPolicies::find(&[Arc::new(old)], &web(), &[], false);
        assert_eq!(
            found.warnings,
            [
                r#"unable to resolve TargetRef on policy: mesh:default name:old error:"unsupported targetRef kind 'MeshSubset'""#
            ]
        );
    }
}
