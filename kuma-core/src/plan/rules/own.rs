//! The one conf that a proxy has by policies with a single `default`.

use std::sync::Arc;

use super::{super::PolicyHead, super::merge::merge_confs};
use crate::{
    plan::PolicyView,
    policies::policy::{Conf, Policy},
};

/// Merged `default` of all matched policies of a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxyConf<C> {
    /// The conf.
    pub conf: Arc<C>,
    /// Policies that it stems from, lowest precedence first.
    pub origins: Arc<[Arc<PolicyHead>]>,
}

impl<C: Conf> ProxyConf<C> {
    /// Merges the matched policies, lowest precedence first. `None` if none of them has a `default`.
    pub fn build<P: Policy<Own = C>>(policies: &[Arc<PolicyView<P>>]) -> Option<Self> {
        let having: Vec<_> = policies.iter().filter_map(|p| Some((p.head.clone(), p.own.as_ref()?))).collect();
        if having.is_empty() {
            return None;
        }
        Some(Self {
            conf: Arc::new(merge_confs(having.iter().map(|(_, conf)| &***conf))),
            origins: having.into_iter().map(|(head, _)| head).collect(),
        })
    }
}
