//! The inbound unit: a listener for traffic to the application, and the cluster that leads to it.

use std::sync::Arc;

use super::{InboundFacts, InboundRules, ProxyTraits};
use crate::{
    duration::GoDuration,
    ir::{Application, CidrText, ClusterTuning, Forward, HttpInbound, HttpListenerTimeouts, Inbound, InboundFilter},
    policies::{AccessLogs, CircuitBreakers, MeshAccessLog, MeshCircuitBreaker, MeshTimeout, Timeouts, policy::Policy},
};

/// Everything that an inbound depends on. Equal inputs, equal inbounds: this is what results are kept by.
#[derive(Clone, Debug, PartialEq)]
pub struct InboundInputs {
    /// The inbound of the Dataplane.
    pub facts: Arc<InboundFacts>,
    /// Traffic is redirected.
    pub redirected: bool,
    /// `enableReusePort`.
    pub reuse_port: bool,
    /// Which client addresses count as internal.
    pub internal: Arc<[CidrText]>,
    /// Timeouts.
    pub timeouts: InboundRules<Timeouts>,
    /// Circuit breakers.
    pub breakers: InboundRules<CircuitBreakers>,
    /// Access logs.
    pub access_logs: InboundRules<AccessLogs>,
}

impl InboundInputs {
    /// Inputs before any policy.
    pub fn bare(facts: Arc<InboundFacts>, traits: &ProxyTraits, internal: Arc<[CidrText]>) -> Self {
        Self {
            facts,
            redirected: traits.redirected,
            reuse_port: traits.reuse_port,
            internal,
            timeouts: InboundRules::default(),
            breakers: InboundRules::default(),
            access_logs: InboundRules::default(),
        }
    }
}

/// Inbounds wait twice as long as outbounds, so that the client gives up first.
const CONNECT: GoDuration = GoDuration::from_secs(10);
const IDLE: GoDuration = GoDuration::from_hours(2);
const STREAM_IDLE: GoDuration = GoDuration::from_hours(1);

/// The inbound with what policies say about it; `None` for one that stands for "no service port".
pub fn inbound(inputs: &InboundInputs) -> Option<Inbound> {
    let mut out = bare_inbound(inputs)?;
    MeshAccessLog::inbound(&inputs.access_logs, &inputs.facts, &mut out);
    MeshTimeout::inbound(&inputs.timeouts, &inputs.facts, &mut out);
    MeshCircuitBreaker::inbound(&inputs.breakers, &inputs.facts, &mut out);
    Some(out)
}

/// The inbound before any policy; `None` for one that stands for "no service port".
pub fn bare_inbound(inputs: &InboundInputs) -> Option<Inbound> {
    let facts = &inputs.facts;
    if facts.serviceless() {
        return None;
    }
    let http = facts.protocol.is_http();
    let filter = if http {
        InboundFilter::Http(HttpInbound {
            forward: Forward { timeout: Some(GoDuration::ZERO), ..Forward::default() },
            timeouts: HttpListenerTimeouts {
                idle: Some(IDLE),
                stream_idle: Some(STREAM_IDLE),
                ..HttpListenerTimeouts::default()
            },
            internal: inputs.internal.clone(),
        })
    } else {
        InboundFilter::Tcp { idle: Some(IDLE) }
    };
    Some(Inbound {
        name: format!("self_inbound_dp_{}", facts.section).into(),
        address: facts.address.clone(),
        port: facts.port,
        bind: inputs.redirected.then_some(false),
        reuse_port: inputs.reuse_port,
        protocol: facts.protocol,
        application: Application {
            address: facts.application.clone(),
            port: facts.application_port,
            bind_source: inputs.redirected,
        },
        filter,
        logs: Vec::new(),
        tuning: ClusterTuning { connect: Some(CONNECT), idle: http.then_some(IDLE), ..ClusterTuning::default() },
    })
}
