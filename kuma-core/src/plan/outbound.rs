//! The outbound unit: a listener towards one port of a destination.

use std::sync::Arc;

use super::{BackendSplit, Destination, TcpBackends, ToRules};
use crate::{
    ir::{self, CidrText, HttpListenerTimeouts, HttpOutbound, Listen, Outbound, OutboundFilter, Protocol, TcpOutbound},
    kri::Kri,
    policies::{
        AccessLogs, HttpRules, MeshAccessLog, MeshRetry, MeshTimeout, Retries, Timeouts,
        policy::{Conf, OutboundAt, OutboundConfs, Policy},
        routes,
    },
};

/// Everything that an outbound depends on. Equal inputs, equal outbounds: this is what results are kept by.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundInputs {
    /// KRI of the destination with the section as it was referred to.
    pub destination: Kri,
    /// Protocol of the port.
    pub protocol: Protocol,
    /// Where it listens.
    pub listen: Listen,
    /// HTTP rules about the destination; `None` where no policy has any.
    pub http: Option<Arc<HttpRules>>,
    /// Where a TCP policy sends connections; `None` where no policy says anything.
    pub tcp: Option<Arc<TcpBackends>>,
    /// Timeouts.
    pub timeouts: OutboundConfs<Timeouts>,
    /// Retries.
    pub retries: OutboundConfs<Retries>,
    /// Access logs.
    pub access_logs: OutboundConfs<AccessLogs>,
    /// Which client addresses count as internal.
    pub internal: Arc<[CidrText]>,
}

impl OutboundInputs {
    /// Clusters that the listener may name: the destination's own and those of its routes.
    pub fn clusters(&self) -> impl Iterator<Item = &Kri> {
        let http = self.http.iter().flat_map(|h| h.clusters());
        let tcp = self.tcp.iter().flat_map(|t| t.splits.iter().map(|s| &s.cluster));
        std::iter::once(&self.destination).chain(http).chain(tcp)
    }
}

/// Protocol of the port that an outbound leads to; `None` if the destination has no such port, so that there is no
/// outbound.
pub fn outbound_protocol(destination: &Destination, section: &str) -> Option<Protocol> {
    destination.port(section).map(|p| p.protocol)
}

/// Confs of one kind that concern an outbound, from the rules of its class. `http` are the HTTP rules about the
/// destination, whose routes may have confs of their own.
pub fn outbound_confs<C: Conf>(rules: &ToRules<C>, destination: &Kri, http: Option<&HttpRules>) -> OutboundConfs<C> {
    let routes = http.into_iter().flat_map(HttpRules::route_kris);
    OutboundConfs {
        service: rules.service_conf(destination),
        routes: routes.filter_map(|(name, kri)| Some((name, rules.route_conf(kri)?))).collect(),
    }
}

/// The listener; `None` if nothing that it could send to exists.
pub fn outbound(inputs: &OutboundInputs) -> Option<Outbound> {
    let (filter, aside) = match (tcp_filter(inputs), http_filter(inputs)) {
        (Some(tcp), http) => (tcp, http),
        (None, http) => (http?, None),
    };
    let sends_to = filter.clusters();
    let mut spare = aside.map(|f| f.clusters()).unwrap_or_default();
    spare.retain(|name| !sends_to.contains(name));
    spare.sort();
    spare.dedup();
    let listen = inputs.listen.clone();
    let mut out = Outbound { name: inputs.destination.to_string().into(), listen, filter, logs: Vec::new(), spare };
    let at = OutboundAt { destination: &inputs.destination, protocol: inputs.protocol };
    MeshAccessLog::outbound(&inputs.access_logs, at, &mut out);
    MeshTimeout::outbound(&inputs.timeouts, at, &mut out);
    MeshRetry::outbound(&inputs.retries, at, &mut out);
    Some(out)
}

/// TCP serves what does not speak HTTP. Where it does, a TCP policy counts only as long as there is no HTTP policy.
fn tcp_filter(inputs: &OutboundInputs) -> Option<OutboundFilter> {
    let splits: Vec<ir::Split> = match &inputs.tcp {
        _ if inputs.protocol.is_http() && inputs.http.is_some() => return None,
        // A policy that names nothing that exists is as good as none that can be followed.
        Some(backends) if !backends.known => return None,
        // Where what it names takes nothing (weight 0, say) connections are closed.
        Some(backends) => backends.splits.iter().map(BackendSplit::ir).collect(),
        None if inputs.protocol.is_http() => return None,
        None => vec![BackendSplit::all(inputs.destination.clone()).ir()],
    };
    // A TCP proxy has no host to rewrite.
    let splits = splits.into_iter().map(|s| ir::Split { auto_host_rewrite: false, ..s }).collect();
    Some(OutboundFilter::Tcp(TcpOutbound { splits, ..TcpOutbound::default() }))
}

fn http_filter(inputs: &OutboundInputs) -> Option<OutboundFilter> {
    let is_http = inputs.protocol.is_http();
    let none = HttpRules::default();
    let rules = inputs.http.as_deref().unwrap_or(&none);
    if !is_http && !rules.reach_http() {
        return None;
    }
    let own = BackendSplit::all(inputs.destination.clone()).ir();
    Some(OutboundFilter::Http(HttpOutbound {
        protocol: inputs.protocol,
        routes: routes(rules, &own, is_http),
        timeouts: HttpListenerTimeouts::default(),
        internal: inputs.internal.clone(),
        ..HttpOutbound::default()
    }))
}
