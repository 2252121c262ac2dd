//! A class, that is the policies that match a proxy, in order, with its traits, decides all of its outbounds: whatever
//! else differs between two proxies of one class, what both reach at one address is one and the same unit.
#![expect(clippy::unwrap_used, reason = "what is generated here is valid")]

mod generated;

use std::{collections::BTreeMap, sync::Arc};

use generated::{PROTOCOLS, dataplane, policy, service, stored};
use kuma_core::{
    plan::{
        MatchedPolicies, MatchedSet, MeshFacts, Names, NodeFacts, OutboundPolicies, OutboundRules, PlanSettings,
        ProxyFacts, ProxyTraits, ReachInputs, outbound, outbound_inputs, plan_proxy, reach,
    },
    policies::policy::Policy,
    state::MeshState,
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

/// Resources of a mesh, and how many proxies are in it.
fn mesh() -> impl Strategy<Value = (Vec<Value>, usize)> {
    (vec(dataplane(), 2..7), vec(policy(), 0..8)).prop_map(|(dataplanes, policies)| {
        let count = dataplanes.len();
        let mut documents = vec![json!({"type": "Mesh", "name": "default"})];
        documents.extend(PROTOCOLS.iter().enumerate().map(|(number, protocol)| service(number, protocol)));
        for (prefix, list) in [("d", dataplanes), ("p", policies)] {
            documents.extend(list.into_iter().enumerate().map(|(number, mut document)| {
                document["name"] = json!(format!("{prefix}{number}"));
                document
            }));
        }
        (documents, count)
    })
}

/// Names of matched policies, in order, by kind; and the traits.
type Class = (Vec<Vec<String>>, ProxyTraits);

fn class(matched: &MatchedSet, traits: ProxyTraits) -> Class {
    fn names<P: Policy>(list: &MatchedPolicies<P>) -> Vec<String> {
        list.policies.iter().map(|m| m.policy.head.meta.name.to_string()).collect()
    }
    let kinds = vec![
        names(&matched.http_routes),
        names(&matched.tcp_routes),
        names(&matched.timeouts),
        names(&matched.breakers),
        names(&matched.retries),
        names(&matched.access_logs),
    ];
    (kinds, traits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn proxies_of_one_class_share_their_outbounds((documents, count) in mesh()) {
        let state = MeshState::of(documents.into_iter().map(stored));
        let facts = MeshFacts::of(&state, "default", &Names::default());
        let settings = PlanSettings::default();
        let context = facts.rule_context();
        let mut rules_of: BTreeMap<Class, OutboundRules> = BTreeMap::new();
        let mut units: BTreeMap<(Class, String), Value> = BTreeMap::new();
        for number in 0..count {
            let name: Arc<str> = format!("d{number}").into();
            let proxy = ProxyFacts::new(facts.dataplanes.get(&name).unwrap().clone(), &NodeFacts::default());
            let matched = MatchedSet::find(&facts, &proxy, false);
            let class = class(&matched, proxy.traits);
            let plan = plan_proxy(&facts, &settings, &proxy, false);
            // Whoever comes first makes the rules for all.
            let rules = rules_of.entry(class.clone()).or_insert_with(|| OutboundRules::build(&OutboundPolicies::of(&matched), &context));
            for reference in reach(&ReachInputs::of(&proxy, &facts.destinations), &facts.destinations) {
                let inputs = outbound_inputs(&reference, rules, &context, settings.internal(proxy.traits.ipv6)).unwrap();
                let name = reference.destination.to_string();
                let unit = outbound(&inputs);
                prop_assert_eq!(unit.as_ref(), plan.outbounds.get(&*name).map(AsRef::as_ref), "{} of d{}", name, number);
                let clusters: Vec<_> = unit.iter().flat_map(kuma_core::ir::Outbound::clusters).map(|c| plan.clusters.get(&c)).collect();
                prop_assert!(clusters.iter().all(Option::is_some), "{name} of d{number} names a cluster that is not there");
                // The unit with its clusters, printed: what was made for another member of the class.
                let printed = json!([unit, clusters]);
                let known = units.entry((class.clone(), format!("{reference:?}"))).or_insert_with(|| printed.clone());
                prop_assert_eq!(&*known, &printed, "{} of d{}", name, number);
            }
            // No cluster without somebody who asks for it, and each with endpoints.
            let mut used: Vec<_> = plan.outbounds.values().flat_map(|u| u.clusters()).collect();
            used.sort();
            used.dedup();
            prop_assert_eq!(&used, &plan.clusters.keys().cloned().collect::<Vec<_>>());
            prop_assert_eq!(&used, &plan.endpoints.keys().cloned().collect::<Vec<_>>());
        }
    }
}
