//! What MeshTimeout says about units.

use super::{MeshTimeout, Timeouts};
use crate::policies::{
    policy::{Conf, Never, Policy, RuleItem, Stage, ToItem},
    target::TargetRef,
};

impl Conf for Timeouts {}

impl Policy for MeshTimeout {
    type To = Timeouts;
    type In = Timeouts;
    type Own = Never;
    const STAGE: Stage = Stage::Tune;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<Timeouts>> {
        let item = |i: &super::TimeoutTo| ToItem { target: i.target_ref.clone(), conf: i.conf.clone() };
        self.to.iter().flatten().map(item).collect()
    }

    fn rule_items(&self) -> Vec<RuleItem<Timeouts>> {
        let item =
            |r: &super::TimeoutRule| RuleItem { matches: r.matches.clone().unwrap_or_default(), conf: r.conf.clone() };
        self.rules.iter().flatten().map(item).collect()
    }
}
