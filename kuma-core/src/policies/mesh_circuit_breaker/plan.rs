//! What MeshCircuitBreaker says about units.

use super::{CircuitBreakers, MeshCircuitBreaker};
use crate::policies::{
    policy::{Conf, Never, Policy, RuleItem, Stage, ToItem},
    target::TargetRef,
};

impl Conf for CircuitBreakers {}

impl Policy for MeshCircuitBreaker {
    type To = CircuitBreakers;
    type In = CircuitBreakers;
    type Own = Never;
    const STAGE: Stage = Stage::Tune;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<CircuitBreakers>> {
        let item = |i: &super::CircuitBreakerTo| ToItem { target: i.target_ref.clone(), conf: i.conf.clone() };
        self.to.iter().flatten().map(item).collect()
    }

    fn rule_items(&self) -> Vec<RuleItem<CircuitBreakers>> {
        let item = |r: &super::CircuitBreakerRule| RuleItem { matches: Vec::new(), conf: r.conf.clone() };
        self.rules.iter().flatten().map(item).collect()
    }
}
