//! Rules of one inbound: conditions on the client, most specific first. They are not merged with each other.

use std::{cmp::Reverse, sync::Arc};

use super::{super::merge::merge_confs, RuleOrigin};
use crate::{
    plan::{PolicyView, select},
    policies::{
        policy::{Conf, Policy},
        target::Match,
    },
};

/// A rule of an inbound.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundRule<C> {
    /// Condition; `None` always holds.
    pub condition: Option<Match>,
    /// What applies.
    pub conf: Arc<C>,
    /// Where it stems from.
    pub origin: RuleOrigin,
}

/// Rules of one inbound, most specific first.
#[derive(Clone, Debug)]
pub struct InboundRules<C> {
    /// The rules.
    pub rules: Arc<[InboundRule<C>]>,
    catch_all: Option<Arc<C>>,
}

impl<C> Default for InboundRules<C> {
    fn default() -> Self {
        Self { rules: Arc::new([]), catch_all: None }
    }
}

impl<C: PartialEq> PartialEq for InboundRules<C> {
    /// What listeners depend on: conditions and confs, not where they stem from.
    fn eq(&self, other: &Self) -> bool {
        let pair = |r: &InboundRule<C>| (r.condition.clone(), r.conf.clone());
        self.rules.len() == other.rules.len() && self.rules.iter().zip(&*other.rules).all(|(a, b)| pair(a) == pair(b))
    }
}

impl<C: Conf> InboundRules<C> {
    /// Rules of an inbound, from the policies that select it, in any order.
    pub fn build<'a, P: Policy<In = C>>(policies: impl IntoIterator<Item = &'a Arc<PolicyView<P>>>) -> Self {
        let mut entries: Vec<_> = policies
            .into_iter()
            .flat_map(|policy| policy.rules.iter().enumerate().map(move |(index, item)| (policy, index, item)))
            .collect();
        entries.sort_by(|(a, ..), (b, ..)| {
            let key = |p: &Arc<PolicyView<P>>| select::precedence(&p.head);
            key(a).cmp(&key(b)).then_with(|| b.head.meta.display_name().cmp(a.head.meta.display_name()))
        });
        let mut rules = Vec::new();
        for (policy, index, item) in entries {
            let conf = Arc::new(item.conf.clone());
            let rule = |condition: Option<Match>| InboundRule {
                condition,
                conf: conf.clone(),
                origin: RuleOrigin { policy: policy.head.clone(), index },
            };
            if item.matches.is_empty() {
                rules.push(rule(None));
            } else {
                rules.extend(item.matches.iter().map(|m| rule(Some(m.clone()))));
            }
        }
        let all: Vec<&C> = rules.iter().filter(|r| r.condition.is_none()).map(|r| &*r.conf).collect();
        let catch_all = (!all.is_empty()).then(|| Arc::new(merge_confs(all)));
        rules.sort_by_key(|r| Reverse(specificity(r.condition.as_ref())));
        Self { rules: rules.into(), catch_all }
    }

    /// What applies to every client: all rules without a condition, merged.
    pub fn catch_all(&self) -> Option<&Arc<C>> {
        self.catch_all.as_ref()
    }

    /// The conf that is the base of an inbound: that of every client, the default where there are no rules at all,
    /// and none where every rule has a condition.
    pub fn base(&self) -> Option<Arc<C>> {
        if self.rules.is_empty() { Some(Arc::default()) } else { self.catch_all.clone() }
    }
}

/// How narrow a condition is; the length of a prefix does not count.
fn specificity(condition: Option<&Match>) -> u8 {
    let Some(condition) = condition else { return 0 };
    let sni = u8::from(condition.sni.is_some());
    match condition.spiffe_id.as_ref().map(|s| s.kind.as_str()) {
        Some("Exact") => 4 + sni,
        Some(_) => 2 + sni,
        None => sni,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        plan::fixture::policy,
        policies::{MeshTimeout, Timeouts},
    };

    fn timeouts(name: &str, rules: Value) -> Arc<PolicyView<MeshTimeout>> {
        policy(name, json!({"rules": rules}), &[])
    }

    fn rule(matches: Value, request: &str) -> Value {
        json!({"matches": matches, "default": {"http": {"requestTimeout": request}}})
    }

    fn id(kind: &str) -> Value {
        json!({"type": kind, "value": "spiffe://default/web"})
    }

    #[test]
    fn narrow_conditions_come_first_and_each_match_is_a_rule() {
        let sni = json!({"type": "Exact", "value": "api.example"});
        let rules: InboundRules<Timeouts> = InboundRules::build(&[timeouts(
            "t",
            json!([
                {"default": {"http": {"requestTimeout": "1s"}}},
                rule(json!([{"sni": sni}]), "2s"),
                rule(json!([{"spiffeID": id("Prefix")}, {"spiffeID": id("Exact")}]), "3s"),
                rule(json!([{"spiffeID": id("Prefix"), "sni": sni}]), "4s"),
                rule(json!([{"spiffeID": id("Exact"), "sni": sni}]), "5s"),
            ]),
        )]);
        assert_eq!(rules.rules.iter().map(|r| r.origin.index).collect::<Vec<_>>(), [4, 2, 3, 2, 1, 0]);
        assert!(rules.rules[1].condition.as_ref().is_some_and(|c| c.spiffe_id.as_ref().unwrap().kind == "Exact"));
        assert!(rules.rules[5].condition.is_none());
    }

    #[test]
    fn what_has_no_condition_merges_and_the_smaller_name_wins() {
        let of = |name, conf: Value| timeouts(name, json!([{"default": conf}]));
        let rules: InboundRules<Timeouts> = InboundRules::build(&[
            of("a", json!({"idleTimeout": "1s"})),
            of("b", json!({"idleTimeout": "2s", "connectionTimeout": "2s"})),
        ]);
        let all = serde_json::to_value(&**rules.catch_all().unwrap()).unwrap();
        assert_eq!(all, json!({"idleTimeout": "1s", "connectionTimeout": "2s"}));
        assert_eq!(rules.rules.len(), 2);
    }

    #[test]
    fn no_rules_are_the_default_and_conditions_alone_are_none() {
        let none = InboundRules::<Timeouts>::default();
        assert_eq!(none.base().as_deref(), Some(&Timeouts::default()));
        let some: InboundRules<Timeouts> =
            InboundRules::build(&[timeouts("t", json!([rule(json!([{"spiffeID": id("Exact")}]), "1s")]))]);
        assert_eq!(some.base(), None);
    }
}
