//! What MeshTCPRoute says about units.

use super::{MeshTCPRoute, TcpRule, TcpRuleConf};
use crate::policies::{
    policy::{Conf, Never, Policy, Stage, ToItem},
    target::{BackendRef, TargetRef},
};

impl Conf for TcpRule {}

impl Policy for MeshTCPRoute {
    type To = TcpRule;
    type In = Never;
    type Own = Never;
    const STAGE: Stage = Stage::Shape;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<TcpRule>> {
        let item = |i: &super::TcpRouteTo| ToItem {
            target: i.target_ref.clone(),
            conf: i.rules.first().cloned().unwrap_or_else(|| to_itself(&i.target_ref)),
        };
        self.to.iter().flatten().map(item).collect()
    }
}

/// An item without rules sends everything to the destination that it names.
fn to_itself(target: &TargetRef) -> TcpRule {
    let backend = BackendRef {
        kind: target.kind,
        labels: target.labels.clone(),
        section_name: target.section_name.clone(),
        port: None,
        weight: Some(1),
    };
    TcpRule { conf: TcpRuleConf { backend_refs: Some(vec![backend]) } }
}
