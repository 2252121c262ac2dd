//! What MeshRetry says about units.

use super::{MeshRetry, Retries};
use crate::policies::{
    policy::{Conf, Never, Policy, Stage, ToItem},
    target::TargetRef,
};

impl Conf for Retries {}

impl Policy for MeshRetry {
    type To = Retries;
    type In = Never;
    type Own = Never;
    const STAGE: Stage = Stage::Tune;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<Retries>> {
        let item = |i: &super::RetryTo| ToItem { target: i.target_ref.clone(), conf: i.conf.clone() };
        self.to.iter().flatten().map(item).collect()
    }
}
