//! One proxy among the policies of its mesh: everything that the policies of each kind say about it.

use std::{collections::BTreeMap, sync::Arc};

use kuma_core::{
    kri::Kri,
    plan::{
        DataplaneFacts, InboundRules, ListenAt, MatchedPolicies, MeshFacts, Names, PolicyHead, ProxyConf, RuleOrigin,
        RuleTarget, ToRules, views,
    },
    policies::policy::Policy,
    registry::{Kind, Role, WithPolicy},
    resource::{Key, Resource},
    resources::Dataplane,
    state::MeshState,
};
use serde_json::Value;

/// What stands in for the address of a proxy whose name only DNS knows: matching does not look at it.
const SOME_ADDRESS: &str = "0.0.0.0";

/// A proxy and its mesh.
pub(super) struct Scene<'a> {
    pub(super) state: &'a MeshState,
    pub(super) resource: &'a Resource<Dataplane>,
    pub(super) facts: MeshFacts,
    /// `None` for a Dataplane without networking, which no policy concerns.
    pub(super) proxy: Option<Arc<DataplaneFacts>>,
}

/// What the policies of one kind say about a proxy.
pub(super) struct KindRules {
    pub(super) kind: Kind,
    /// Policies that select the proxy, lowest precedence first.
    pub(super) policies: Vec<Arc<PolicyHead>>,
    pub(super) warnings: Vec<String>,
    /// About destinations and routes, by KRI.
    pub(super) to: BTreeMap<Kri, ToConf>,
    /// About inbounds and zone listeners; those without rules are left out.
    pub(super) inbounds: BTreeMap<ListenAt, Vec<InboundConf>>,
    /// About the proxy itself.
    pub(super) own: Option<(Value, Vec<Arc<PolicyHead>>)>,
}

/// A conf about a destination.
pub(super) struct ToConf {
    pub(super) target: RuleTarget,
    pub(super) conf: Value,
    /// The conf says nothing.
    pub(super) empty: bool,
    pub(super) origins: Arc<[RuleOrigin]>,
    pub(super) by_matches: Arc<BTreeMap<Arc<str>, RuleOrigin>>,
}

/// A rule of an inbound.
pub(super) struct InboundConf {
    pub(super) condition: Option<Value>,
    pub(super) conf: Value,
    pub(super) origin: RuleOrigin,
}

impl<'a> Scene<'a> {
    pub(super) fn of(state: &'a MeshState, resource: &'a Resource<Dataplane>) -> Self {
        let names = names(resource);
        Self {
            state,
            resource,
            facts: MeshFacts::of(state, &resource.meta.mesh, &Names::default()),
            proxy: DataplaneFacts::of(resource, &names).map(Arc::new),
        }
    }

    /// What the policies of each kind say, in the order in which kinds are applied.
    pub(super) fn rules(&self) -> Vec<KindRules> {
        let Some(proxy) = &self.proxy else { return Vec::new() };
        policy_kinds().filter_map(|kind| kind.with_policy(OfKind { scene: self, proxy, kind })).collect()
    }

    /// What a rule is about, with the labels of a Mesh, which planning has no use for.
    fn shown(&self, target: &RuleTarget) -> RuleTarget {
        let mesh = Kind::by_name(target.kind)
            .filter(|kind| *kind == Kind::Mesh)
            .and_then(|kind| self.state.get(&Key::new(kind, "", target.name.clone())));
        let labels = mesh.map_or_else(|| target.labels.clone(), |mesh| mesh.meta.labels.clone());
        RuleTarget { labels, ..target.clone() }
    }
}

/// Facts of a proxy for matching alone.
pub(super) fn facts_of(resource: &Resource<Dataplane>) -> Option<DataplaneFacts> {
    DataplaneFacts::of(resource, &names(resource))
}

/// Kinds of policies in the order in which they are applied.
pub(super) fn policy_kinds() -> impl Iterator<Item = Kind> {
    let order = |kind: &Kind| match kind.descriptor().role {
        Role::Policy(targets) => Some(targets.order),
        _ => None,
    };
    let mut kinds: Vec<(u16, Kind)> = Kind::ALL.iter().filter_map(|k| Some((order(k)?, *k))).collect();
    kinds.sort_unstable();
    kinds.into_iter().map(|(_, kind)| kind)
}

/// Every name of the Dataplane resolves, to nothing in particular.
fn names(resource: &Resource<Dataplane>) -> Names {
    let networking = resource.spec().networking.as_ref();
    let hosts = networking
        .into_iter()
        .flat_map(|n| std::iter::once(n.address.as_str()).chain(n.listeners.iter().map(|l| l.address.as_str())));
    Names(hosts.map(|host| (host.into(), SOME_ADDRESS.into())).collect())
}

struct OfKind<'a> {
    scene: &'a Scene<'a>,
    proxy: &'a DataplaneFacts,
    kind: Kind,
}

impl WithPolicy for OfKind<'_> {
    type Out = KindRules;

    fn run<P: Policy>(self) -> KindRules {
        let Self { scene, proxy, kind } = self;
        let all = views::<P>(scene.state, &proxy.key.mesh);
        let routes = scene.facts.policies.route_heads();
        let matched = MatchedPolicies::find(&all, proxy, &routes, false);
        let policies = matched.views();
        let to = ToRules::<P::To>::build(&policies, &scene.facts.rule_context());
        let to = to.iter().map(|(kri, rule)| {
            let conf = ToConf {
                target: scene.shown(&rule.target),
                conf: json(&*rule.conf),
                empty: *rule.conf == P::To::default(),
                origins: rule.origins.clone(),
                by_matches: rule.by_matches.clone(),
            };
            (kri.clone(), conf)
        });
        let mut inbounds = BTreeMap::new();
        let addresses = proxy.inbound_addresses().map(|(_, at)| at);
        for at in addresses.chain(proxy.listeners.iter().map(|l| l.at.clone())) {
            let rules = InboundRules::<P::In>::build(matched.at(&at));
            let rules: Vec<InboundConf> = rules
                .rules
                .iter()
                .map(|rule| InboundConf {
                    condition: rule.condition.as_ref().map(json),
                    conf: json(&*rule.conf),
                    origin: rule.origin.clone(),
                })
                .collect();
            if !rules.is_empty() {
                inbounds.insert(at, rules);
            }
        }
        let own = ProxyConf::<P::Own>::build(&policies).map(|own| (json(&*own.conf), own.origins.to_vec()));
        KindRules {
            kind,
            policies: policies.iter().map(|p| p.head.clone()).collect(),
            warnings: matched.warnings.clone(),
            to: to.collect(),
            inbounds,
            own,
        }
    }
}

fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
