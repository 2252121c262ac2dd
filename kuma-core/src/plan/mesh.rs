//! Everything of one mesh that plans read, as projections, taken from the state from scratch.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    DataplaneFacts, Destination, Destinations, Names, PolicyHead, PolicyView, RuleContext, Serving, endpoints,
};
use crate::{
    ir::Endpoints,
    kri::Kri,
    policies::{MeshCircuitBreaker, MeshHTTPRoute, MeshRetry, MeshTCPRoute, MeshTimeout, policy::Policy},
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
        }
    }

    /// Heads of the HTTP routes, for policies of earlier releases that address them.
    pub fn route_heads(&self) -> Vec<Arc<PolicyHead>> {
        self.http_routes.iter().map(|r| r.head.clone()).collect()
    }
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
    /// Who serves them, by KRI of the whole destination.
    pub serving: BTreeMap<Kri, Arc<Serving>>,
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
            let destination = Destination::of_service(&service);
            out.serving.insert(destination.kri.clone(), Arc::new(Serving::of(&service)));
            out.destinations.insert(Arc::new(destination));
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
        let Some(serving) = self.serving.get(&cluster.whole()) else { return Endpoints::default() };
        serving
            .port(&cluster.section)
            .map(|port| endpoints(serving, port, self.dataplanes.values()))
            .unwrap_or_default()
    }
}
