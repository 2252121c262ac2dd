//! The plan of one proxy, from scratch: what the incremental engine is compared with, and what previews show.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ClusterInputs, InboundInputs, InboundRules, MatchedPolicies, MeshFacts, Names, NodeFacts, OutboundInputs,
    OutboundRef, PlanSettings, ProxyFacts, RuleContext, ToRules, WideInputs, cluster, direct_access, dns, http_rules,
    inbound, outbound, outbound_confs, outbound_protocol, reach, tcp_backends, wide,
};
use crate::{
    ir::{Name, ProxyIr},
    kri::Kri,
    policies::{
        CircuitBreakers, HttpRouteConf, MeshCircuitBreaker, MeshHTTPRoute, MeshRetry, MeshTCPRoute, MeshTimeout,
        Retries, TcpRule, Timeouts,
    },
    state::MeshState,
};

/// Policies that select one proxy, by kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatchedSet {
    /// HTTP routes.
    pub http_routes: MatchedPolicies<MeshHTTPRoute>,
    /// TCP routes.
    pub tcp_routes: MatchedPolicies<MeshTCPRoute>,
    /// Timeouts.
    pub timeouts: MatchedPolicies<MeshTimeout>,
    /// Circuit breakers.
    pub breakers: MatchedPolicies<MeshCircuitBreaker>,
    /// Retries.
    pub retries: MatchedPolicies<MeshRetry>,
}

impl MatchedSet {
    /// Matches all policies of a mesh. Shadow policies take part only if asked for.
    pub fn find(facts: &MeshFacts, proxy: &ProxyFacts, shadow: bool) -> Self {
        let routes = facts.policies.route_heads();
        let (policies, dataplane) = (&facts.policies, &*proxy.dataplane);
        Self {
            http_routes: MatchedPolicies::find(&policies.http_routes, dataplane, &routes, shadow),
            tcp_routes: MatchedPolicies::find(&policies.tcp_routes, dataplane, &routes, shadow),
            timeouts: MatchedPolicies::find(&policies.timeouts, dataplane, &routes, shadow),
            breakers: MatchedPolicies::find(&policies.breakers, dataplane, &routes, shadow),
            retries: MatchedPolicies::find(&policies.retries, dataplane, &routes, shadow),
        }
    }
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
}

impl OutboundRules {
    /// Rules from matched policies.
    pub fn build(matched: &MatchedSet, context: &RuleContext<'_>) -> Self {
        Self {
            http: ToRules::build(&matched.http_routes.views(), context),
            tcp: ToRules::build(&matched.tcp_routes.views(), context),
            timeouts: ToRules::build(&matched.timeouts.views(), context),
            breakers: ToRules::build(&matched.breakers.views(), context),
            retries: ToRules::build(&matched.retries.views(), context),
        }
    }
}

/// Inputs of an outbound; `None` if its destination or port does not exist.
pub fn outbound_inputs(
    reference: &OutboundRef,
    rules: &OutboundRules,
    context: &RuleContext<'_>,
    internal: Arc<[crate::ir::CidrText]>,
) -> Option<OutboundInputs> {
    let kri = &reference.destination;
    let destination = context.destinations.get(kri)?;
    let http = rules.http.compute(kri).map(|rule| Arc::new(http_rules(rule, context.destinations)));
    Some(OutboundInputs {
        destination: kri.clone(),
        protocol: outbound_protocol(destination, &kri.section)?,
        listen: reference.listen.clone(),
        tcp: rules.tcp.compute(kri).map(|rule| Arc::new(tcp_backends(rule, context.destinations))),
        timeouts: outbound_confs(&rules.timeouts, kri, http.as_deref()),
        retries: outbound_confs(&rules.retries, kri, http.as_deref()),
        http,
        internal,
    })
}

/// The whole configuration of a proxy. `None` if there is no such Dataplane, or its address is not known.
pub fn plan(
    state: &MeshState,
    settings: &PlanSettings,
    names: &Names,
    mesh: &str,
    dataplane: &str,
    node: &NodeFacts,
) -> Option<(ProxyFacts, ProxyIr)> {
    let facts = MeshFacts::of(state, mesh, names);
    let proxy = ProxyFacts::new(facts.dataplanes.get(dataplane)?.clone(), node);
    let ir = plan_proxy(&facts, settings, &proxy, false);
    Some((proxy, ir))
}

/// The whole configuration of a proxy, given the projections of its mesh. `shadow` lets shadow policies take part.
pub fn plan_proxy(facts: &MeshFacts, settings: &PlanSettings, proxy: &ProxyFacts, shadow: bool) -> ProxyIr {
    let internal = settings.internal(proxy.traits.ipv6);
    let matched = MatchedSet::find(facts, proxy, shadow);
    let context = facts.rule_context();
    let rules = OutboundRules::build(&matched, &context);
    let reached = reach(proxy, &facts.destinations);
    let mut out = ProxyIr::default();
    let mut named: BTreeMap<Name, Kri> = BTreeMap::new();
    for reference in &reached {
        let Some(inputs) = outbound_inputs(reference, &rules, &context, internal.clone()) else { continue };
        let Some(unit) = outbound(&inputs) else { continue };
        let used = unit.clusters();
        let known = inputs.clusters().map(|kri| (Name::from(kri.to_string()), kri));
        named.extend(known.filter(|(name, _)| used.contains(name)).map(|(name, kri)| (name, kri.clone())));
        out.outbounds.insert(unit.name.clone(), Arc::new(unit));
    }
    for (name, kri) in named {
        let destination = facts.destinations.get(&kri);
        let inputs = destination.and_then(|d| ClusterInputs::of(&kri, d, &rules.timeouts, &rules.breakers));
        if let Some(inputs) = inputs {
            out.clusters.insert(name.clone(), Arc::new(cluster(&inputs)));
            out.endpoints.insert(name, Arc::new(facts.endpoints(&kri)));
        }
    }
    for (inbound_facts, at) in proxy.dataplane.inbound_addresses() {
        let inputs = InboundInputs {
            timeouts: InboundRules::build(matched.timeouts.at(&at)),
            breakers: InboundRules::build(matched.breakers.at(&at)),
            ..InboundInputs::bare(inbound_facts.clone(), &proxy.traits, internal.clone())
        };
        if let Some(unit) = inbound(&inputs) {
            out.inbounds.insert(unit.name.clone(), Arc::new(unit));
        }
    }
    out.wide = Arc::new(wide(&WideInputs {
        traits: proxy.traits,
        direct_access: direct_access(&proxy.dataplane, &proxy.traits, facts.dataplanes.values()),
        dns: dns(&proxy.dataplane, &proxy.traits, &reached, &facts.destinations).map(Arc::new),
    }));
    out
}
