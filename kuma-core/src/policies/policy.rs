//! What every policy kind says about itself: whom it addresses, its confs, and how they shape or tune units.
//!
//! Matching, precedence and merging are written once (in [`crate::plan`]); a kind only names its parts. A hook fills
//! slots of one unit, from arguments that are all it may depend on.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::target::{Match, TargetRef};
use crate::{
    ir,
    kri::Kri,
    plan::{InboundFacts, InboundRules},
    resource::Spec,
};

/// How the confs of a kind merge, beyond the common rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeRules {
    /// A list whose items merge by key.
    pub keyed: Option<KeyedList>,
}

impl MergeRules {
    /// The common rules alone.
    pub const PLAIN: Self = Self { keyed: None };
}

/// A top-level list of a conf whose items merge where their keys are equal. Within one conf the first item wins, so
/// the list is merged in reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedList {
    /// Field that holds the list.
    pub list: &'static str,
    /// Field of an item that is its key.
    pub key: &'static str,
    /// Field of an item that is merged.
    pub value: &'static str,
}

/// A configuration that merges with others of its kind.
pub trait Conf: Serialize + DeserializeOwned + Clone + Debug + Default + PartialEq + Send + Sync + 'static {
    /// How it merges.
    const MERGE: MergeRules = MergeRules::PLAIN;

    /// Hashes of the conditions in it, for kinds whose rules are shown by the condition that they stem from.
    fn match_hashes(&self) -> Vec<Arc<str>> {
        Vec::new()
    }
}

/// The conf of a part that a kind does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Never {}

impl Conf for Never {}

/// An item of `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct ToItem<C> {
    /// Destination.
    pub target: TargetRef,
    /// What applies to it.
    pub conf: C,
}

/// An item of `rules`.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleItem<C> {
    /// Conditions, one of which must hold; none always holds.
    pub matches: Vec<Match>,
    /// What applies then.
    pub conf: C,
}

/// When a policy works on a unit. Policies that tune never see each other's slots, so their order cannot matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Decides which listeners, routes and clusters exist.
    Shape,
    /// Fills slots on what exists.
    Tune,
}

/// Confs that concern one outbound: the one of its destination and those of routes that have their own.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundConfs<C> {
    /// Of the destination; `None` where no policy says anything.
    pub service: Option<Arc<C>>,
    /// Of routes, by the name of the route; only routes whose conf is not that of the destination.
    pub routes: BTreeMap<ir::Name, Arc<C>>,
}

impl<C> Default for OutboundConfs<C> {
    fn default() -> Self {
        Self { service: None, routes: BTreeMap::new() }
    }
}

impl<C> OutboundConfs<C> {
    /// Conf of a route: its own, else that of the destination.
    pub fn of_route(&self, name: &str) -> Option<&Arc<C>> {
        self.routes.get(name).or(self.service.as_ref())
    }
}

/// The port of a destination that an outbound leads to.
#[derive(Clone, Copy, Debug)]
pub struct OutboundAt<'a> {
    /// KRI of the destination with the section as it was referred to.
    pub destination: &'a Kri,
    /// Protocol of the port.
    pub protocol: ir::Protocol,
}

/// A targetRef policy.
pub trait Policy: Spec {
    /// Conf of a `to` item.
    type To: Conf;
    /// Conf of a `rules` item.
    type In: Conf;
    /// The single `default`.
    type Own: Conf;
    /// When it works on units.
    const STAGE: Stage;

    /// `spec.targetRef`, if given.
    fn target_ref(&self) -> Option<&TargetRef>;

    /// `spec.to`, in order.
    fn to_items(&self) -> Vec<ToItem<Self::To>> {
        Vec::new()
    }

    /// `spec.rules`, in order.
    fn rule_items(&self) -> Vec<RuleItem<Self::In>> {
        Vec::new()
    }

    /// `spec.default`.
    fn own_conf(&self) -> Option<Self::Own> {
        None
    }

    /// Tunes an outbound listener.
    fn outbound(confs: &OutboundConfs<Self::To>, at: OutboundAt<'_>, out: &mut ir::Outbound) {
        let _ = (confs, at, out);
    }

    /// Tunes the cluster of a destination's port of `protocol`. `None` where no policy says anything.
    fn cluster(conf: Option<&Self::To>, protocol: ir::Protocol, out: &mut ir::ClusterTuning) {
        let _ = (conf, protocol, out);
    }

    /// Tunes an inbound listener and its cluster.
    fn inbound(rules: &InboundRules<Self::In>, at: &InboundFacts, out: &mut ir::Inbound) {
        let _ = (rules, at, out);
    }

    /// Tunes the listeners of traffic to no destination of the mesh. `conf` is that of the mesh as a whole; `None`
    /// where no policy says anything.
    fn leaving(conf: Option<&Self::To>, out: &mut ir::ProxyWide) {
        let _ = (conf, out);
    }
}
