//! Whom a change concerns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::{Render, class::ClassDelta, classes::ClassId, cohort::CohortKey, proxy::Proxy, reaches::ReachDelta},
    MeshEngine,
};
use crate::{
    ir::Name,
    plan::{Policies, PolicyChange, PolicyHead, selects},
    policies::target::TargetKind,
    registry::Kind,
};

impl<R: Render> MeshEngine<R> {
    /// Proxies whose matching may differ, or whose inbounds are told something else.
    pub(super) fn concerned(&self, policies: &[PolicyChange], routes: &[Arc<PolicyHead>]) -> BTreeSet<Name> {
        let telling: Vec<&PolicyChange> = policies.iter().filter(|p| p.moves || p.inbound).collect();
        if telling.is_empty() {
            return BTreeSet::new();
        }
        // Policies of earlier releases select what routes select.
        let facts = self.projections.as_ref().map(|p| &p.facts.policies);
        let by_route = |head: &Arc<PolicyHead>| head.top.kind == TargetKind::MeshHTTPRoute;
        let through_routes = telling.iter().any(|p| {
            p.old.iter().chain(&p.new).any(by_route)
                || (p.kind == Kind::MeshHTTPRoute && facts.is_some_and(Policies::address_routes))
        });
        let heads: Vec<&Arc<PolicyHead>> = telling.iter().flat_map(|p| p.old.iter().chain(&p.new)).collect();
        let selected = |proxy: &Proxy<R::Unit>| {
            proxy.planned.as_ref().is_some_and(|planned| {
                let dataplane = &planned.facts.dataplane;
                heads.iter().any(|head| matches!(selects(head, dataplane, routes), Ok(Some(_))))
            })
        };
        let proxies = self.proxies.iter().filter(|(_, proxy)| through_routes || selected(proxy));
        proxies.map(|(name, _)| name.clone()).collect()
    }

    /// Proxies that listen themselves on addresses that became virtual, or are so no longer.
    pub(super) fn listening_on(&self, addresses: &BTreeSet<Name>) -> Vec<Name> {
        if addresses.is_empty() {
            return Vec::new();
        }
        let listens = |proxy: &Proxy<R::Unit>| {
            let planned = proxy.planned.as_ref();
            planned
                .is_some_and(|p| p.facts.dataplane.inbound_addresses().any(|(_, at)| addresses.contains(&at.address)))
        };
        self.proxies.iter().filter(|(_, proxy)| listens(proxy)).map(|(name, _)| name.clone()).collect()
    }

    /// Proxies that reach others by their own addresses.
    pub(super) fn with_direct_access(&self) -> Vec<Name> {
        let reaches = |proxy: &Proxy<R::Unit>| {
            let redirect = proxy.planned.as_ref().and_then(|p| p.facts.dataplane.redirect.as_ref());
            redirect.is_some_and(|r| !r.direct_access.is_empty())
        };
        self.proxies.iter().filter(|(_, proxy)| reaches(proxy)).map(|(name, _)| name.clone()).collect()
    }

    /// Proxies whose DNS records may differ.
    pub(super) fn with_hostnames_of(&self, reaches: &ReachDelta) -> Vec<Name> {
        let cohorts = self.cohorts.iter().filter(|((_, reach), _)| reaches.hostnames.contains(reach));
        cohorts.flat_map(|(_, cohort)| cohort.members.iter().cloned()).collect()
    }

    /// Proxies of classes that are told something else of traffic to no destination of the mesh.
    pub(super) fn leaving_otherwise(&self, classes: &BTreeMap<ClassId, ClassDelta>) -> Vec<Name> {
        let told = |class: &ClassId| classes.get(class).is_some_and(|delta| delta.leaving);
        let cohorts = self.cohorts.iter().filter(|((class, _), _)| told(class));
        cohorts.flat_map(|(_, cohort)| cohort.members.iter().cloned()).collect()
    }

    /// Who reads endpoints that changed.
    pub(super) fn readers(&self, changed: Vec<(Name, BTreeSet<CohortKey>)>) -> BTreeMap<Name, Vec<Name>> {
        let mut readers: BTreeMap<Name, Vec<Name>> = BTreeMap::new();
        for (cluster, cohorts) in changed {
            let members = cohorts.iter().filter_map(|key| self.cohorts.get(key)).flat_map(|c| &c.members);
            for member in members {
                readers.entry(member.clone()).or_default().push(cluster.clone());
            }
        }
        readers
    }
}
