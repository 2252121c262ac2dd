//! Rules about destinations: one merged conf per resource (or port of it) that some `to` item names.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{RuleOrigin, add_origin};
use crate::{
    kri::Kri,
    meta::Labels,
    plan::{
        Destination, DestinationKind, Destinations, NameRule, PolicyHead, PolicyView, labels_match,
        merge::merge_confs,
        select::{precedence, routes_named, section},
    },
    policies::{
        MeshHTTPRoute,
        policy::{Conf, Policy},
        target::{TargetKind, TargetRef},
    },
};

/// What `to` items can name: the resources of one mesh.
#[derive(Clone, Copy, Debug)]
pub struct RuleContext<'a> {
    /// Name of the mesh, if the Mesh itself exists.
    pub mesh: Option<&'a Arc<str>>,
    /// Its destinations.
    pub destinations: &'a Destinations,
    /// Its HTTP routes.
    pub routes: &'a [Arc<PolicyView<MeshHTTPRoute>>],
}

/// Short name in the KRI of a Mesh.
const MESH_SHORT: &str = "m";

/// KRI under which rules about a whole mesh are kept.
pub fn mesh_kri(mesh: &Arc<str>) -> Kri {
    let empty: Arc<str> = "".into();
    Kri {
        short: MESH_SHORT.into(),
        mesh: empty.clone(),
        zone: empty.clone(),
        namespace: empty.clone(),
        name: mesh.clone(),
        section: empty,
    }
}

/// A resource that a rule is about, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleTarget {
    /// Type name.
    pub kind: &'static str,
    /// Mesh; empty for the Mesh itself.
    pub mesh: Arc<str>,
    /// Storage name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: Arc<Labels>,
}

/// Merged conf about one resource or one port of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToRule<C> {
    /// The resource.
    pub target: RuleTarget,
    /// The conf.
    pub conf: Arc<C>,
    /// Items that it stems from, lowest precedence first.
    pub origins: Arc<[RuleOrigin]>,
    /// For kinds with conditions of their own: hash of a condition to the last item that has it.
    pub by_matches: Arc<BTreeMap<Arc<str>, RuleOrigin>>,
    /// All that was merged, in order: what a rule is known again by.
    parts: Arc<[RuleOrigin]>,
}

impl<C: Conf> ToRule<C> {
    /// What plans read of a rule is the same.
    fn says_the_same(&self, other: &Self) -> bool {
        let merged_once = Arc::ptr_eq(&self.conf, &other.conf) && Arc::ptr_eq(&self.parts, &other.parts);
        merged_once || (self.conf == other.conf && self.origins == other.origins && self.by_matches == other.by_matches)
    }
}

/// What rules came to say something else about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// The mesh as a whole: every destination without a rule of its own.
    pub mesh: bool,
    /// Destinations and routes, whole.
    pub kris: BTreeSet<Kri>,
}

impl Touched {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        !self.mesh && self.kris.is_empty()
    }

    /// Whether what is said about this destination, or a port of it, may differ.
    pub fn concerns(&self, destination: &Kri) -> bool {
        self.mesh || (!self.kris.is_empty() && self.kris.contains(&destination.whole()))
    }

    /// Adds what differs between two tables of one kind.
    pub fn add_difference<C: Conf>(&mut self, old: &ToRules<C>, new: &ToRules<C>) {
        if Arc::ptr_eq(&old.rules, &new.rules) {
            return;
        }
        let changed = new.rules.iter().filter(|(kri, rule)| old.exact(kri).is_none_or(|o| !o.says_the_same(rule)));
        let gone = old.rules.keys().filter(|kri| new.exact(kri).is_none());
        for kri in changed.map(|(kri, _)| kri).chain(gone) {
            if *kri.short == *MESH_SHORT {
                self.mesh = true;
            } else {
                self.kris.insert(kri.whole());
            }
        }
    }
}

/// Whether some item of these policies names this destination.
pub fn names_destination<P: Policy>(policies: &[Arc<PolicyView<P>>], destination: &Destination) -> bool {
    let of_item = |target: &TargetRef| {
        DestinationKind::of_target(target.kind) == Some(destination.kind)
            && target.labels.as_ref().is_some_and(|wanted| {
                labels_match(wanted, &destination.labels, &destination.name, NameRule::StoredLabel)
            })
    };
    policies.iter().any(|p| p.head.top.kind == TargetKind::MeshHTTPRoute || p.to.iter().any(|i| of_item(&i.target)))
}

/// Whether some of these policies read HTTP routes, to find what they are about.
pub fn names_routes<P: Policy>(policies: &[Arc<PolicyView<P>>]) -> bool {
    let route = TargetKind::MeshHTTPRoute;
    policies.iter().any(|p| p.head.top.kind == route || p.to.iter().any(|i| i.target.kind == route))
}

/// Rules of one policy kind about destinations, by KRI (with section where an item names a port).
#[derive(Clone, Debug, PartialEq)]
pub struct ToRules<C> {
    rules: Arc<BTreeMap<Kri, ToRule<C>>>,
}

impl<C> Default for ToRules<C> {
    fn default() -> Self {
        Self { rules: Arc::default() }
    }
}

/// An item of `to` of some policy, ready to be sorted and merged.
#[derive(Clone, Debug)]
pub struct ToEntry<C> {
    /// The policy.
    pub policy: Arc<PolicyHead>,
    /// Index of the item.
    pub index: usize,
    /// What it names.
    pub target: TargetRef,
    /// Its conf.
    pub conf: Arc<C>,
}

/// The items of all policies, lowest precedence first; the order of items within a policy is kept.
pub fn sorted_entries<P: Policy>(
    policies: &[Arc<PolicyView<P>>],
    routes: &[Arc<PolicyView<MeshHTTPRoute>>],
) -> Vec<ToEntry<P::To>> {
    let mut entries: Vec<ToEntry<P::To>> = policies
        .iter()
        .flat_map(|policy| {
            policy.to.iter().enumerate().flat_map(move |(index, item)| {
                let conf = Arc::new(item.conf.clone());
                targets(policy, &item.target, routes).into_iter().map(move |target| ToEntry {
                    policy: policy.head.clone(),
                    index,
                    target,
                    conf: conf.clone(),
                })
            })
        })
        .collect();
    entries.sort_by(|a, b| entry_order(a).cmp(&entry_order(b)));
    entries
}

/// What an item is about: its own target, or, for a policy of an earlier release that addresses HTTP routes, the
/// destination of every rule of these routes.
fn targets<P: Policy>(
    policy: &PolicyView<P>,
    own: &TargetRef,
    routes: &[Arc<PolicyView<MeshHTTPRoute>>],
) -> Vec<TargetRef> {
    let top = &policy.head.top;
    if top.kind != TargetKind::MeshHTTPRoute {
        return vec![own.clone()];
    }
    let wanted = top.labels.clone().unwrap_or_default();
    let heads: Vec<Arc<PolicyHead>> = routes.iter().map(|r| r.head.clone()).collect();
    let named: BTreeSet<Kri> = routes_named(&policy.head, &wanted, &heads).map(|h| h.kri.clone()).collect();
    routes
        .iter()
        .filter(|r| named.contains(&r.head.kri))
        .flat_map(|r| r.to.iter())
        .filter(|item| !item.conf.rules.is_empty())
        .map(|item| item.target.clone())
        .collect()
}

fn entry_order<C>(entry: &ToEntry<C>) -> impl Ord + '_ {
    let sectioned = entry.target.kind == TargetKind::MeshService && section(&entry.target).is_some();
    (precedence(&entry.policy), entry.target.kind.rank(), sectioned, Reverse(entry.policy.meta.display_name()))
}

/// What an entry names in the mesh: resources, or ports of them.
fn resolve<C>(entry: &ToEntry<C>, context: &RuleContext<'_>) -> Vec<(Kri, RuleTarget)> {
    let target = &entry.target;
    if target.kind == TargetKind::Mesh {
        let target =
            |mesh: &Arc<str>| RuleTarget { kind: "Mesh", mesh: "".into(), name: mesh.clone(), labels: Arc::default() };
        return context.mesh.map(|mesh| (mesh_kri(mesh), target(mesh))).into_iter().collect();
    }
    let Some(wanted) = &target.labels else { return Vec::new() };
    if target.kind == TargetKind::MeshHTTPRoute {
        let named = context
            .routes
            .iter()
            .map(|r| &r.head)
            .filter(|head| labels_match(wanted, &head.meta.labels, &head.meta.name, NameRule::StoredLabel));
        return named
            .map(|head| {
                let target = RuleTarget {
                    kind: head.kind.name(),
                    mesh: head.meta.mesh.clone(),
                    name: head.meta.name.clone(),
                    labels: head.meta.labels.clone(),
                };
                (head.kri.clone(), target)
            })
            .collect();
    }
    let Some(kind) = DestinationKind::of_target(target.kind) else { return Vec::new() };
    context
        .destinations
        .matching(kind, wanted, NameRule::StoredLabel)
        .filter_map(|destination| {
            let kri = match section(target) {
                None => destination.kri.clone(),
                Some(section) => destination.kri.section(destination.port_named(section)?.section.clone()),
            };
            let target = RuleTarget {
                kind: kind.name(),
                mesh: destination.kri.mesh.clone(),
                name: destination.name.clone(),
                labels: destination.labels.clone(),
            };
            Some((kri, target))
        })
        .collect()
}

impl<C: Conf> ToRules<C> {
    /// Rules from the matched policies of a kind.
    pub fn build<P: Policy<To = C>>(policies: &[Arc<PolicyView<P>>], context: &RuleContext<'_>) -> Self {
        Self::default().rebuild(policies, context)
    }

    /// The same, with what `self` merged before from the same items taken over instead of merged again.
    pub fn rebuild<P: Policy<To = C>>(&self, policies: &[Arc<PolicyView<P>>], context: &RuleContext<'_>) -> Self {
        // A view has a head of its own, so that the head's address tells whether an item is still what it was; the
        // old rules keep these heads alive.
        let part = |policy: &Arc<PolicyHead>, index: usize| (Arc::as_ptr(policy), index);
        let before: HashMap<Vec<_>, &ToRule<C>> =
            self.rules.values().map(|r| (r.parts.iter().map(|p| part(&p.policy, p.index)).collect(), r)).collect();
        let entries = sorted_entries(policies, context.routes);
        let mut targets: BTreeMap<Kri, RuleTarget> = BTreeMap::new();
        let mut naming: BTreeMap<Kri, Vec<usize>> = BTreeMap::new();
        for (index, entry) in entries.iter().enumerate() {
            for (kri, target) in resolve(entry, context) {
                naming.entry(kri.clone()).or_default().push(index);
                targets.insert(kri, target);
            }
        }
        let mesh = context.mesh.map(mesh_kri);
        let of_mesh: &[usize] = mesh.as_ref().and_then(|m| naming.get(m)).map_or(&[], Vec::as_slice);
        // Many destinations that one selector names share one merged conf.
        let mut merged: BTreeMap<Vec<usize>, ToRule<C>> = BTreeMap::new();
        let mut rules = BTreeMap::new();
        for (kri, target) in targets {
            let mut relevant: BTreeSet<usize> = naming.get(&kri).into_iter().flatten().copied().collect();
            relevant.extend(of_mesh);
            if !kri.section.is_empty() {
                relevant.extend(naming.get(&kri.whole()).into_iter().flatten());
            }
            let relevant: Vec<usize> = relevant.into_iter().collect();
            let of = |index: &usize| entries.get(*index);
            let shared = merged.entry(relevant).or_insert_with_key(|indices| {
                let parts: Vec<_> = indices.iter().filter_map(of).map(|e| part(&e.policy, e.index)).collect();
                before
                    .get(&parts)
                    .map_or_else(|| merged_rule(indices.iter().filter_map(of), target.clone()), |r| (*r).clone())
            });
            rules.insert(kri, ToRule { target, ..shared.clone() });
        }
        Self { rules: Arc::new(rules) }
    }

    /// All rules, by KRI.
    pub fn iter(&self) -> impl Iterator<Item = (&Kri, &ToRule<C>)> {
        self.rules.iter()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule about exactly this resource or port.
    pub fn exact(&self, kri: &Kri) -> Option<&ToRule<C>> {
        self.rules.get(kri)
    }

    /// The rule about the mesh as a whole.
    pub fn of_mesh(&self) -> Option<&ToRule<C>> {
        let (kri, rule) = self.rules.range(mesh_kri(&"".into())..).next()?;
        (*kri.short == *MESH_SHORT).then_some(rule)
    }

    /// The rule that holds for a destination's port: its own, else that of the destination, else that of the mesh.
    pub fn compute(&self, kri: &Kri) -> Option<&ToRule<C>> {
        self.exact(kri)
            .or_else(|| if kri.section.is_empty() { None } else { self.exact(&kri.whole()) })
            .or_else(|| self.exact(&mesh_kri(&kri.mesh)))
    }

    /// The conf that holds for a destination's port, by the same order; a conf that says nothing is passed over.
    pub fn service_conf(&self, kri: &Kri) -> Option<Arc<C>> {
        self.first_telling([kri, &kri.whole(), &mesh_kri(&kri.mesh)])
    }

    /// The conf of a route by its own; `None` if the route has none, so that the destination's holds.
    pub fn route_conf(&self, route: &Kri) -> Option<Arc<C>> {
        self.first_telling([route, &route.whole()])
    }

    fn first_telling<'a>(&self, ids: impl IntoIterator<Item = &'a Kri>) -> Option<Arc<C>> {
        ids.into_iter().filter_map(|id| self.exact(id)).map(|r| &r.conf).find(|c| ***c != C::default()).cloned()
    }
}

fn merged_rule<'a, C: Conf>(entries: impl Iterator<Item = &'a ToEntry<C>>, target: RuleTarget) -> ToRule<C> {
    let entries: Vec<&ToEntry<C>> = entries.collect();
    let mut origins = Vec::new();
    let mut by_matches = BTreeMap::new();
    for entry in &entries {
        let origin = RuleOrigin { policy: entry.policy.clone(), index: entry.index };
        for hash in entry.conf.match_hashes() {
            by_matches.insert(hash, origin.clone());
        }
        add_origin(&mut origins, origin);
    }
    ToRule {
        target,
        conf: Arc::new(merge_confs(entries.iter().map(|e| &*e.conf))),
        origins: origins.into(),
        by_matches: Arc::new(by_matches),
        parts: entries.iter().map(|e| RuleOrigin { policy: e.policy.clone(), index: e.index }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        plan::fixture::{mesh, policy, service, stored},
        policies::{MeshTimeout, Timeouts},
        resources::MeshService,
    };

    fn idle(seconds: &str) -> Value {
        json!({"idleTimeout": seconds})
    }

    fn timeouts(name: &str, to: Value) -> Arc<PolicyView<MeshTimeout>> {
        policy(name, json!({"to": to}), &[])
    }

    fn rules(policies: &[Arc<PolicyView<MeshTimeout>>], mesh_exists: bool) -> ToRules<Timeouts> {
        let destinations: Destinations =
            [service("api", 0, &[("tier", "front")]), service("db", 1, &[])].into_iter().collect();
        let mesh: Arc<str> = "default".into();
        let context = RuleContext { mesh: mesh_exists.then_some(&mesh), destinations: &destinations, routes: &[] };
        ToRules::build(policies, &context)
    }

    fn kri(service: &str, section: &str) -> Kri {
        format!("kri_msvc_default_default__{service}_{section}").parse().unwrap()
    }

    fn told(rules: &ToRules<Timeouts>) -> Vec<(String, String)> {
        rules.iter().map(|(k, r)| (k.to_string(), r.conf.idle_timeout.unwrap_or_default().to_string())).collect()
    }

    fn select(labels: Value, conf: Value) -> Value {
        json!([{"targetRef": {"kind": "MeshService", "labels": labels}, "default": conf}])
    }

    #[test]
    fn a_port_has_what_was_said_of_it_of_its_service_and_of_the_mesh() {
        let to = json!([
            {"targetRef": {"kind": "MeshService", "labels": {"kuma.io/display-name": "api"}, "sectionName": "http"},
             "default": {"connectionTimeout": "3s"}},
            {"targetRef": {"kind": "MeshService", "labels": {"kuma.io/display-name": "api"}}, "default": idle("2s")},
            {"targetRef": {"kind": "Mesh"}, "default": {"idleTimeout": "1s", "http": {"requestTimeout": "9s"}}},
        ]);
        let rules = rules(&[timeouts("t", to)], true);
        let port = rules.compute(&kri("api", "http")).unwrap();
        let conf = serde_json::to_value(&*port.conf).unwrap();
        assert_eq!(conf, json!({"connectionTimeout": "3s", "idleTimeout": "2s", "http": {"requestTimeout": "9s"}}));
        assert_eq!(port.origins.iter().map(|o| o.index).collect::<Vec<_>>(), [2, 1, 0]);
        // A port that nobody names has the rule of its service, a service that nobody names that of the mesh.
        assert_eq!(rules.compute(&kri("api", "other")).unwrap().origins.len(), 2);
        assert_eq!(rules.compute(&kri("db", "http")).unwrap().origins.len(), 1);
        assert_eq!(rules.exact(&kri("db", "")), None);
    }

    #[test]
    fn one_selector_may_name_many_one_or_none() {
        let all = rules(&[timeouts("t", select(json!({"kuma.io/mesh": "default"}), idle("1s")))], true);
        let both = ["kri_msvc_default_default__api_", "kri_msvc_default_default__db_"];
        assert_eq!(told(&all).iter().map(|(k, _)| k.as_str()).collect::<Vec<_>>(), both);
        let one = rules(&[timeouts("t", select(json!({"tier": "front"}), idle("1s")))], true);
        assert_eq!(told(&one), [(both[0].to_owned(), "1s".to_owned())]);
        let nobody = rules(&[timeouts("t", select(json!({"tier": "back"}), idle("1s")))], true);
        assert!(nobody.is_empty());
        let port = json!([{"targetRef": {"kind": "MeshService", "labels": {"kuma.io/mesh": "default"}, "sectionName": "80"}, "default": idle("1s")}]);
        assert!(rules(&[timeouts("t", port)], true).is_empty(), "a port with a name is not known by its number");
    }

    #[test]
    fn a_mesh_that_is_not_there_has_no_rules() {
        let to = json!([{"targetRef": {"kind": "Mesh"}, "default": idle("1s")}]);
        assert!(rules(&[timeouts("t", to.clone())], false).is_empty());
        assert_eq!(told(&rules(&[timeouts("t", to)], true)), [("kri_m____default_".to_owned(), "1s".to_owned())]);
    }

    #[test]
    fn the_smaller_name_wins_and_within_a_policy_the_later_item() {
        let api = |conf| select(json!({"kuma.io/display-name": "api"}), conf);
        let policies = [timeouts("a", api(idle("1s"))), timeouts("b", api(idle("2s")))];
        assert_eq!(told(&rules(&policies, true))[0].1, "1s");
        let mut two = api(idle("3s"));
        two.as_array_mut().unwrap().extend(api(idle("4s")).as_array().unwrap().clone());
        assert_eq!(told(&rules(&[timeouts("c", two)], true))[0].1, "4s");
    }

    #[test]
    fn a_route_merges_with_the_mesh_alone() {
        let route = stored::<MeshHTTPRoute>(
            json!({"name": "r", "spec": {"to": [{
                "targetRef": {"kind": "MeshService", "labels": {"kuma.io/display-name": "api"}},
                "rules": [{"matches": [{"path": {"type": "Exact", "value": "/"}}], "default": {}}]}]}}),
            &[],
        );
        let api = stored::<MeshService>(json!({"name": "api", "spec": {"ports": [{"port": 80}]}}), &[]);
        let facts = mesh([route.erase(), api.erase()]);
        let to = json!([
            {"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "1s"}},
            {"targetRef": {"kind": "MeshService", "labels": {"kuma.io/mesh": "default"}}, "default": {"http": {"streamIdleTimeout": "2s"}}},
            {"targetRef": {"kind": "MeshHTTPRoute", "labels": {"kuma.io/display-name": "r"}}, "default": idle("3s")},
        ]);
        let rules: ToRules<Timeouts> = ToRules::build(&[timeouts("t", to)], &facts.rule_context());
        let route: Kri = "kri_mhttpr_default_default__r_rule_0".parse().unwrap();
        let conf = rules.route_conf(&route).unwrap();
        assert_eq!(serde_json::to_value(&*conf).unwrap(), json!({"connectionTimeout": "1s", "idleTimeout": "3s"}));
    }
}
