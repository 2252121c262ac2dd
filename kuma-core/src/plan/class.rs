//! What a class of proxies shares: the policies about destinations that select it, and what these say.

use std::sync::Arc;

use super::{
    Destination, MatchedSet, Policies, PolicyView, RuleContext, ToRules, Touched, find_view, names_destination,
    names_routes,
};
use crate::{
    policies::{
        AccessLogs, CircuitBreakers, HttpRouteConf, MeshAccessLog, MeshCircuitBreaker, MeshHTTPRoute, MeshRetry,
        MeshTCPRoute, MeshTimeout, Retries, TcpRule, Timeouts, policy::Policy,
    },
    registry::Kind,
};

/// Policies with items about destinations that select a class, by kind, lowest precedence first.
#[derive(Clone, Debug, Default)]
pub struct OutboundPolicies {
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

/// Which policies these are, by kind and storage name, in their order: what a class is known by.
pub type PolicyNames = Vec<(Kind, Arc<str>)>;

impl OutboundPolicies {
    /// Those among the policies that select a proxy.
    pub fn of(matched: &MatchedSet) -> Self {
        Self {
            http_routes: about_destinations(matched.http_routes.views()),
            tcp_routes: about_destinations(matched.tcp_routes.views()),
            timeouts: about_destinations(matched.timeouts.views()),
            breakers: about_destinations(matched.breakers.views()),
            retries: about_destinations(matched.retries.views()),
            access_logs: about_destinations(matched.access_logs.views()),
        }
    }

    /// Their names.
    pub fn names(&self) -> PolicyNames {
        fn of<P: Policy>(policies: &[Arc<PolicyView<P>>]) -> impl Iterator<Item = (Kind, Arc<str>)> {
            policies.iter().map(|p| (p.head.kind, p.head.meta.name.clone()))
        }
        of(&self.http_routes)
            .chain(of(&self.tcp_routes))
            .chain(of(&self.timeouts))
            .chain(of(&self.breakers))
            .chain(of(&self.retries))
            .chain(of(&self.access_logs))
            .collect()
    }

    /// The same policies as they are now; those that are gone are left out.
    pub fn refreshed(&self, all: &Policies) -> Self {
        Self {
            http_routes: refreshed(&self.http_routes, &all.http_routes),
            tcp_routes: refreshed(&self.tcp_routes, &all.tcp_routes),
            timeouts: refreshed(&self.timeouts, &all.timeouts),
            breakers: refreshed(&self.breakers, &all.breakers),
            retries: refreshed(&self.retries, &all.retries),
            access_logs: refreshed(&self.access_logs, &all.access_logs),
        }
    }
}

fn about_destinations<P: Policy>(mut policies: Vec<Arc<PolicyView<P>>>) -> Vec<Arc<PolicyView<P>>> {
    policies.retain(|p| !p.to.is_empty());
    policies
}

fn refreshed<P: Policy>(some: &[Arc<PolicyView<P>>], all: &[Arc<PolicyView<P>>]) -> Vec<Arc<PolicyView<P>>> {
    some.iter().filter_map(|p| find_view(all, &p.head.meta.name).cloned()).collect()
}

/// Rules about destinations that hold for one class of proxies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundRules {
    /// HTTP routes.
    pub http: ToRules<HttpRouteConf>,
    /// TCP routes.
    pub tcp: ToRules<TcpRule>,
    /// Timeouts.
    pub timeouts: ToRules<Timeouts>,
    /// Circuit breakers.
    pub breakers: ToRules<CircuitBreakers>,
    /// Retries.
    pub retries: ToRules<Retries>,
    /// Access logs.
    pub access_logs: ToRules<AccessLogs>,
}

/// What changed around a class since its rules were built, besides its own policies.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The Mesh itself came or went.
    pub mesh: bool,
    /// Destinations as they were and as they are.
    pub destinations: &'a [Arc<Destination>],
    /// Some HTTP route is another.
    pub routes: bool,
}

impl OutboundRules {
    /// Rules from matched policies.
    pub fn build(policies: &OutboundPolicies, context: &RuleContext<'_>) -> Self {
        Self {
            http: ToRules::build(&policies.http_routes, context),
            tcp: ToRules::build(&policies.tcp_routes, context),
            timeouts: ToRules::build(&policies.timeouts, context),
            breakers: ToRules::build(&policies.breakers, context),
            retries: ToRules::build(&policies.retries, context),
            access_logs: ToRules::build(&policies.access_logs, context),
        }
    }

    /// What is written about traffic to no destination of the mesh; `None` if no policy says anything.
    pub fn access_logs_of_leaving(&self) -> Option<Arc<AccessLogs>> {
        self.access_logs.of_mesh().map(|rule| rule.conf.clone())
    }

    /// Rules from `new` policies where `self` was built from `old` ones, and what they say otherwise than before.
    /// `built` counts the tables that had to be built.
    pub fn rebuild(
        &self,
        (old, new): (&OutboundPolicies, &OutboundPolicies),
        context: &RuleContext<'_>,
        around: &Around<'_>,
        built: &mut u64,
    ) -> (Self, Touched) {
        let mut touched = Touched::default();
        let mut table = Rebuild { context, around, touched: &mut touched, built };
        let rules = Self {
            http: table.of(&self.http, &old.http_routes, &new.http_routes),
            tcp: table.of(&self.tcp, &old.tcp_routes, &new.tcp_routes),
            timeouts: table.of(&self.timeouts, &old.timeouts, &new.timeouts),
            breakers: table.of(&self.breakers, &old.breakers, &new.breakers),
            retries: table.of(&self.retries, &old.retries, &new.retries),
            access_logs: table.of(&self.access_logs, &old.access_logs, &new.access_logs),
        };
        (rules, touched)
    }
}

/// One round of rebuilding, kind after kind.
struct Rebuild<'a> {
    context: &'a RuleContext<'a>,
    around: &'a Around<'a>,
    touched: &'a mut Touched,
    built: &'a mut u64,
}

impl Rebuild<'_> {
    fn of<P: Policy>(
        &mut self,
        rules: &ToRules<P::To>,
        old: &[Arc<PolicyView<P>>],
        new: &[Arc<PolicyView<P>>],
    ) -> ToRules<P::To> {
        let same = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| Arc::ptr_eq(a, b));
        let around = self.around.mesh
            || (self.around.routes && names_routes(new))
            || self.around.destinations.iter().any(|d| names_destination(new, d));
        if same && !around {
            return rules.clone();
        }
        *self.built += 1;
        let rebuilt = rules.rebuild(new, self.context);
        self.touched.add_difference(rules, &rebuilt);
        rebuilt
    }
}
