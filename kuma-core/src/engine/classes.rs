//! All classes of a mesh.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    Render,
    class::{Class, ClassChange, ClassDelta, ClassKey},
    planned::Planner,
};
use crate::{
    ir::{CidrText, Name},
    plan::{MeshFacts, OutboundPolicies},
    registry::Kind,
};

/// Identity of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ClassId(u64);

/// Classes by what they are known by.
pub(super) struct Classes<U> {
    ids: HashMap<ClassKey, ClassId>,
    all: BTreeMap<ClassId, Class<U>>,
    next: u64,
}

impl<U> Default for Classes<U> {
    fn default() -> Self {
        Self { ids: HashMap::new(), all: BTreeMap::new(), next: 0 }
    }
}

impl<U: Clone> Classes<U> {
    /// The class of proxies that these policies select; a new one takes over what it can from class `like`.
    pub(super) fn id<R: Render<Unit = U>>(
        &mut self,
        policies: OutboundPolicies,
        (ipv6, internal): (bool, Arc<[CidrText]>),
        like: Option<ClassId>,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> ClassId {
        let key = ClassKey { policies: policies.names(), ipv6 };
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let like = like.and_then(|id| self.all.get(&id));
        let class = Class::new(policies, internal, like, facts, planner);
        self.next += 1;
        let id = ClassId(self.next);
        self.ids.insert(key, id);
        self.all.insert(id, class);
        id
    }

    /// A class.
    pub(super) fn get(&self, id: ClassId) -> Option<&Class<U>> {
        self.all.get(&id)
    }

    /// A class, to plan for it.
    pub(super) fn get_mut(&mut self, id: ClassId) -> Option<&mut Class<U>> {
        self.all.get_mut(&id)
    }

    /// Takes in what changed: policies by name, and what lies around them. Tells what differs, class by class.
    pub(super) fn update<R: Render<Unit = U>>(
        &mut self,
        changed: &BTreeSet<(Kind, Name)>,
        change: &ClassChange<'_>,
        facts: &MeshFacts,
        planner: &mut Planner<R>,
    ) -> BTreeMap<ClassId, ClassDelta> {
        let mut deltas = BTreeMap::new();
        for (key, id) in &self.ids {
            let Some(class) = self.all.get_mut(id) else { continue };
            let own = !changed.is_empty() && key.policies.iter().any(|policy| changed.contains(policy));
            if !own && !change.mesh && change.destinations.is_empty() && !change.routes {
                continue;
            }
            let policies = if own { class.policies().refreshed(&facts.policies) } else { class.policies().clone() };
            let delta = class.update(policies, change, facts, planner);
            if !delta.is_empty() {
                deltas.insert(*id, delta);
            }
        }
        deltas
    }

    /// Forgets classes without members.
    pub(super) fn retain(&mut self, used: &BTreeSet<ClassId>) {
        self.all.retain(|id, _| used.contains(id));
        self.ids.retain(|_, id| used.contains(id));
    }

    /// All, to prune them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ClassId, &mut Class<U>)> {
        self.all.iter_mut().map(|(id, class)| (*id, class))
    }
}
