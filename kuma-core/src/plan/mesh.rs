//! Everything of one mesh that plans read, as projections, taken from the state from scratch.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    DataplaneFacts, Destination, DestinationKind, Destinations, Names, PolicyHead, PolicyView, RuleContext, Serving,
    endpoints,
};
use crate::{
    ir::Endpoints,
    kri::Kri,
    policies::{
        MeshAccessLog, MeshCircuitBreaker, MeshHTTPRoute, MeshRetry, MeshTCPRoute, MeshTimeout, policy::Policy,
        target::TargetKind,
    },
    registry::Kind,
    resource::Key,
    resources::{Dataplane, MeshService},
    state::MeshState,
};

/// Policies of one mesh, by kind, each list sorted by storage name.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// HTTP routes.
    pub http_routes: Vec<Arc<PolicyView<MeshHTTPRoute>>>,
    /// TCP routes.
    pub tcp_routes: Vec<Arc<PolicyView<MeshTCPRoute>>>,
    /// Timeouts.
    pub timeouts: Vec<Arc<PolicyView<MeshTimeout>>>,
    /// Circuit breakers.
    pub breakers: Vec<Arc<PolicyView<MeshCircuitBreaker>>>,
    /// Retries.
    pub retries: Vec<Arc<PolicyView<MeshRetry>>>,
    /// Access logs.
    pub access_logs: Vec<Arc<PolicyView<MeshAccessLog>>>,
}

impl Policies {
    /// Views of all policies of a mesh.
    pub fn of(state: &MeshState, mesh: &str) -> Self {
        Self {
            http_routes: views(state, mesh),
            tcp_routes: views(state, mesh),
            timeouts: views(state, mesh),
            breakers: views(state, mesh),
            retries: views(state, mesh),
            access_logs: views(state, mesh),
        }
    }

    /// Takes in what a policy is now; `None` if no plan can tell the difference.
    pub fn apply(&mut self, key: &Key, state: &MeshState) -> Option<PolicyChange> {
        match key.kind {
            Kind::MeshHTTPRoute => replace(&mut self.http_routes, key, state),
            Kind::MeshTCPRoute => replace(&mut self.tcp_routes, key, state),
            Kind::MeshTimeout => replace(&mut self.timeouts, key, state),
            Kind::MeshCircuitBreaker => replace(&mut self.breakers, key, state),
            Kind::MeshRetry => replace(&mut self.retries, key, state),
            Kind::MeshAccessLog => replace(&mut self.access_logs, key, state),
            _ => None,
        }
    }

    /// Some policy is of an earlier release and addresses HTTP routes.
    pub fn address_routes(&self) -> bool {
        fn any<P: Policy>(policies: &[Arc<PolicyView<P>>]) -> bool {
            policies.iter().any(|p| p.head.top.kind == TargetKind::MeshHTTPRoute)
        }
        any(&self.http_routes)
            || any(&self.tcp_routes)
            || any(&self.timeouts)
            || any(&self.breakers)
            || any(&self.retries)
            || any(&self.access_logs)
    }

    /// Heads of the HTTP routes, for policies of earlier releases that address them.
    pub fn route_heads(&self) -> Vec<Arc<PolicyHead>> {
        self.http_routes.iter().map(|r| r.head.clone()).collect()
    }
}

/// A policy that became another.
#[derive(Clone, Debug)]
pub struct PolicyChange {
    /// Kind.
    pub kind: Kind,
    /// What it was.
    pub old: Option<Arc<PolicyHead>>,
    /// What it is.
    pub new: Option<Arc<PolicyHead>>,
    /// It may select other proxies, or count in another order, or about nothing any more.
    pub moves: bool,
    /// It says something else to inbounds.
    pub inbound: bool,
}

fn replace<P: Policy>(views: &mut Vec<Arc<PolicyView<P>>>, key: &Key, state: &MeshState) -> Option<PolicyChange> {
    let new = state.find::<P>(&key.mesh, &key.name).map(|p| Arc::new(PolicyView::of(&p)));
    let at = views.binary_search_by(|v| v.head.meta.name.cmp(&key.name));
    let old = at.ok().and_then(|at| views.get(at).cloned());
    if old == new {
        return None;
    }
    let change = PolicyChange {
        kind: key.kind,
        moves: match (&old, &new) {
            (Some(old), Some(new)) => old.head != new.head || old.to.is_empty() != new.to.is_empty(),
            _ => true,
        },
        inbound: old.as_ref().map(|p| &*p.rules).unwrap_or_default()
            != new.as_ref().map(|p| &*p.rules).unwrap_or_default(),
        old: old.map(|p| p.head.clone()),
        new: new.as_ref().map(|p| p.head.clone()),
    };
    match (at, new) {
        (Ok(at), Some(new)) => views[at] = new,
        (Ok(at), None) => {
            views.remove(at);
        }
        (Err(at), Some(new)) => views.insert(at, new),
        (Err(_), None) => {}
    }
    Some(change)
}

/// The view of a policy by storage name, in a list sorted by it.
pub fn find_view<'a, P: Policy>(views: &'a [Arc<PolicyView<P>>], name: &str) -> Option<&'a Arc<PolicyView<P>>> {
    views.binary_search_by(|v| (*v.head.meta.name).cmp(name)).ok().and_then(|at| views.get(at))
}

/// Views of all policies of a kind in a mesh, sorted by storage name.
pub fn views<P: Policy>(state: &MeshState, mesh: &str) -> Vec<Arc<PolicyView<P>>> {
    state.typed_in::<P>(mesh).map(|p| Arc::new(PolicyView::of(&p))).collect()
}

/// What plans read of one mesh.
#[derive(Clone, Debug, Default)]
pub struct MeshFacts {
    /// Name of the mesh, if the Mesh itself exists.
    pub mesh: Option<Arc<str>>,
    /// Destinations.
    pub destinations: Destinations,
    /// Who serves the MeshServices, by storage name.
    pub serving: BTreeMap<Arc<str>, Arc<Serving>>,
    /// Proxies with a known address, by storage name.
    pub dataplanes: BTreeMap<Arc<str>, Arc<DataplaneFacts>>,
    /// Policies.
    pub policies: Policies,
}

impl MeshFacts {
    /// Projections of a mesh.
    pub fn of(state: &MeshState, mesh: &str, names: &Names) -> Self {
        let mut out = Self {
            mesh: state.get(&Key::new(Kind::Mesh, "", mesh)).map(|m| m.meta.name.clone()),
            policies: Policies::of(state, mesh),
            ..Self::default()
        };
        for service in state.typed_in::<MeshService>(mesh) {
            out.serving.insert(service.meta.name.clone(), Arc::new(Serving::of(&service)));
            out.destinations.insert(Arc::new(Destination::of_service(&service)));
        }
        for dataplane in state.typed_in::<Dataplane>(mesh) {
            if let Some(facts) = DataplaneFacts::of(&dataplane, names) {
                out.dataplanes.insert(facts.key.name.clone(), Arc::new(facts));
            }
        }
        out
    }

    /// What `to` items can name.
    pub fn rule_context(&self) -> RuleContext<'_> {
        RuleContext { mesh: self.mesh.as_ref(), destinations: &self.destinations, routes: &self.policies.http_routes }
    }

    /// Who is behind a cluster, given the KRI that names it; empty if nobody is known.
    pub fn endpoints(&self, cluster: &Kri) -> Endpoints {
        self.endpoints_among(cluster, |_| self.dataplanes.values())
    }

    /// The same, with the proxies to choose from handed in, given the storage name of the service.
    pub fn endpoints_among<'a, I>(&self, cluster: &Kri, candidates: impl FnOnce(&Arc<str>) -> I) -> Endpoints
    where
        I: IntoIterator<Item = &'a Arc<DataplaneFacts>>,
    {
        let destination = self.destinations.get(cluster).filter(|d| d.kind == DestinationKind::MeshService);
        let serving = destination.and_then(|d| self.serving.get(&d.name));
        let port = serving.and_then(|s| Some((s, s.port(&cluster.section)?)));
        match (destination, port) {
            (Some(destination), Some((serving, port))) => endpoints(serving, port, candidates(&destination.name)),
            _ => Endpoints::default(),
        }
    }
}
