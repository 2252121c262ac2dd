//! The plan of one proxy, from scratch: what the incremental engine is compared with, and what previews show.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    ClusterInputs, DataplaneFacts, InboundFacts, InboundInputs, InboundRules, ListenAt, MatchedPolicies, MeshFacts,
    Names, NodeFacts, OutboundInputs, OutboundPolicies, OutboundRef, OutboundRules, PlanSettings, Policies, PolicyHead,
    ProxyFacts, ReachInputs, RuleContext, WideInputs, cluster, direct_access, dns, http_rules, inbound, outbound,
    outbound_confs, outbound_protocol, reach, tcp_backends, wide,
};
use crate::{
    ir::{CidrText, Name, ProxyIr},
    kri::Kri,
    policies::{MeshAccessLog, MeshCircuitBreaker, MeshHTTPRoute, MeshRetry, MeshTCPRoute, MeshTimeout},
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
    /// Access logs.
    pub access_logs: MatchedPolicies<MeshAccessLog>,
}

impl MatchedSet {
    /// Matches all policies of a mesh. Shadow policies take part only if asked for.
    pub fn find(facts: &MeshFacts, proxy: &ProxyFacts, shadow: bool) -> Self {
        Self::among(&facts.policies, &facts.policies.route_heads(), &proxy.dataplane, shadow)
    }

    /// The same, with the heads of the HTTP routes at hand.
    pub fn among(policies: &Policies, routes: &[Arc<PolicyHead>], dataplane: &DataplaneFacts, shadow: bool) -> Self {
        Self {
            http_routes: MatchedPolicies::find(&policies.http_routes, dataplane, routes, shadow),
            tcp_routes: MatchedPolicies::find(&policies.tcp_routes, dataplane, routes, shadow),
            timeouts: MatchedPolicies::find(&policies.timeouts, dataplane, routes, shadow),
            breakers: MatchedPolicies::find(&policies.breakers, dataplane, routes, shadow),
            retries: MatchedPolicies::find(&policies.retries, dataplane, routes, shadow),
            access_logs: MatchedPolicies::find(&policies.access_logs, dataplane, routes, shadow),
        }
    }
}

/// Inputs of an outbound; `None` if its destination or port does not exist.
pub fn outbound_inputs(
    reference: &OutboundRef,
    rules: &OutboundRules,
    context: &RuleContext<'_>,
    internal: Arc<[CidrText]>,
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
        access_logs: outbound_confs(&rules.access_logs, kri, http.as_deref()),
        http,
        internal,
    })
}

/// Inputs of the inbounds of a proxy, in declared order.
pub fn inbound_inputs(proxy: &ProxyFacts, matched: &MatchedSet, internal: &Arc<[CidrText]>) -> Vec<InboundInputs> {
    let inputs = |(facts, at): (&Arc<InboundFacts>, ListenAt)| InboundInputs {
        timeouts: InboundRules::build(matched.timeouts.at(&at)),
        breakers: InboundRules::build(matched.breakers.at(&at)),
        access_logs: InboundRules::build(matched.access_logs.at(&at)),
        ..InboundInputs::bare(facts.clone(), &proxy.traits, internal.clone())
    };
    proxy.dataplane.inbound_addresses().map(inputs).collect()
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
    let rules = OutboundRules::build(&OutboundPolicies::of(&matched), &context);
    let reached = reach(&ReachInputs::of(proxy, &facts.destinations), &facts.destinations);
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
    for inputs in inbound_inputs(proxy, &matched, &internal) {
        if let Some(unit) = inbound(&inputs) {
            out.inbounds.insert(unit.name.clone(), Arc::new(unit));
        }
    }
    out.wide = Arc::new(wide(&WideInputs {
        traits: proxy.traits,
        direct_access: direct_access(&proxy.dataplane, &proxy.traits, facts.dataplanes.values()),
        dns: dns(&proxy.dataplane, &proxy.traits, &reached, &facts.destinations).map(Arc::new),
        access_logs: rules.access_logs_of_leaving(),
    }));
    out
}
