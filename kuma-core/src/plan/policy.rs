//! Projection of a policy: what matching and merging read, taken from the resource once.

use std::sync::Arc;

use crate::{
    kri::Kri,
    meta::{Meta, label},
    policies::{
        policy::{Policy, RuleItem, ToItem},
        target::TargetRef,
    },
    registry::Kind,
    resource::Resource,
};

/// Whom a policy was written for; higher wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyRole {
    /// By the owner of the mesh.
    System,
    /// By the owner of a service, for its clients.
    Producer,
    /// By the owner of clients, for services of others.
    Consumer,
    /// By the owner of a workload, for itself.
    WorkloadOwner,
}

/// Where a policy comes from; higher wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyOrigin {
    /// From Global.
    Global,
    /// Nobody said.
    Unknown,
    /// From a zone.
    Zone,
}

/// What matching and sorting read of a policy.
#[derive(Clone, Debug)]
pub struct PolicyHead {
    /// Kind.
    pub kind: Kind,
    /// Its KRI.
    pub kri: Kri,
    /// Mesh, name, labels; shown as the origin of a conf.
    pub meta: Meta,
    /// Role.
    pub role: PolicyRole,
    /// Origin.
    pub origin: PolicyOrigin,
    /// It shows in previews only.
    pub shadow: bool,
    /// Proxies that it addresses; the whole mesh if it says nothing.
    pub top: TargetRef,
}

impl PartialEq for PolicyHead {
    /// Times and versions do not count: a write of the same content is no change.
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.meta.mesh == other.meta.mesh
            && self.meta.name == other.meta.name
            && self.meta.labels == other.meta.labels
            && self.top == other.top
    }
}

impl PolicyHead {
    /// Head of a policy with this metadata.
    pub fn new(kind: Kind, meta: &Meta, top: Option<&TargetRef>) -> Self {
        let role = match meta.label(label::POLICY_ROLE) {
            Some("producer") => PolicyRole::Producer,
            Some("consumer") => PolicyRole::Consumer,
            Some("workload-owner") => PolicyRole::WorkloadOwner,
            _ => PolicyRole::System,
        };
        let origin = match meta.label(label::ORIGIN) {
            Some("global") => PolicyOrigin::Global,
            Some("zone") => PolicyOrigin::Zone,
            _ => PolicyOrigin::Unknown,
        };
        Self {
            kind,
            kri: Kri::with_short(kind.descriptor().short.unwrap_or_default(), meta),
            meta: meta.clone(),
            role,
            origin,
            shadow: meta.label(label::EFFECT) == Some("shadow"),
            top: top.cloned().unwrap_or_default(),
        }
    }

    /// It concerns its own namespace only.
    pub fn namespaced(&self) -> bool {
        matches!(self.role, PolicyRole::Consumer | PolicyRole::WorkloadOwner)
    }
}

/// A policy with its confs at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyView<P: Policy> {
    /// What matching and sorting read.
    pub head: Arc<PolicyHead>,
    /// Items of `to`; their index is the rule index.
    pub to: Arc<[ToItem<P::To>]>,
    /// Items of `rules`; their index is the rule index.
    pub rules: Arc<[RuleItem<P::In>]>,
    /// The single `default`.
    pub own: Option<Arc<P::Own>>,
}

impl<P: Policy> PolicyView<P> {
    /// View of a stored policy.
    pub fn of(policy: &Resource<P>) -> Self {
        let spec = policy.spec();
        Self {
            head: Arc::new(PolicyHead::new(P::DESCRIPTOR.kind, &policy.meta, spec.target_ref())),
            to: spec.to_items().into(),
            rules: spec.rule_items().into(),
            own: spec.own_conf().map(Arc::new),
        }
    }
}
