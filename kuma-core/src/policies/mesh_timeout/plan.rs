//! What MeshTimeout says about units. It has a word even where no policy says anything: the documented defaults.

use std::sync::Arc;

use super::{MeshTimeout, Timeouts};
use crate::{
    duration::GoDuration,
    ir::{self, ClusterTuning, InboundFilter, OutboundFilter, Protocol, RouteAction},
    plan::{InboundFacts, InboundRules},
    policies::{
        policy::{Conf, Never, OutboundAt, OutboundConfs, Policy, RuleItem, Stage, ToItem},
        target::TargetRef,
    },
};

impl Conf for Timeouts {}

impl Timeouts {
    fn connection(&self) -> GoDuration {
        self.connection_timeout.unwrap_or(GoDuration::from_secs(5))
    }

    fn idle(&self) -> GoDuration {
        self.idle_timeout.unwrap_or(GoDuration::from_hours(1))
    }

    fn request(&self) -> GoDuration {
        self.http.as_ref().and_then(|h| h.request_timeout).unwrap_or(GoDuration::from_secs(15))
    }

    fn own_stream_idle(&self) -> Option<GoDuration> {
        self.http.as_ref().and_then(|h| h.stream_idle_timeout)
    }

    fn stream_idle(&self) -> GoDuration {
        self.own_stream_idle().unwrap_or(GoDuration::from_mins(30))
    }

    fn request_headers(&self) -> GoDuration {
        self.http.as_ref().and_then(|h| h.request_headers_timeout).unwrap_or_default()
    }

    /// Timeouts of a cluster. Those of connections and streams are written for HTTP without gRPC only.
    fn tune(&self, protocol: Protocol, out: &mut ClusterTuning) {
        out.connect = Some(self.connection());
        if matches!(protocol, Protocol::Http | Protocol::Http2) {
            let http = self.http.clone().unwrap_or_default();
            out.idle = Some(self.idle());
            out.max_connection = Some(http.max_connection_duration.unwrap_or_default());
            out.max_stream = Some(http.max_stream_duration.unwrap_or_default());
        }
    }
}

impl Policy for MeshTimeout {
    type To = Timeouts;
    type In = Timeouts;
    type Own = Never;
    const STAGE: Stage = Stage::Tune;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<Timeouts>> {
        let item = |i: &super::TimeoutTo| ToItem { target: i.target_ref.clone(), conf: i.conf.clone() };
        self.to.iter().flatten().map(item).collect()
    }

    fn rule_items(&self) -> Vec<RuleItem<Timeouts>> {
        let item =
            |r: &super::TimeoutRule| RuleItem { matches: r.matches.clone().unwrap_or_default(), conf: r.conf.clone() };
        self.rules.iter().flatten().map(item).collect()
    }

    fn outbound(confs: &OutboundConfs<Timeouts>, _: OutboundAt<'_>, out: &mut ir::Outbound) {
        let service: Arc<Timeouts> = confs.service.clone().unwrap_or_default();
        match &mut out.filter {
            OutboundFilter::Tcp(tcp) => tcp.idle = Some(service.idle()),
            OutboundFilter::Http(http) => {
                // Idle connections are closed by the cluster.
                http.timeouts.idle = Some(GoDuration::ZERO);
                http.timeouts.request_headers = Some(service.request_headers());
                for route in &mut http.routes {
                    let own = route.name.as_deref().and_then(|name| confs.routes.get(name)).unwrap_or(&service);
                    if let RouteAction::Forward(forward) = &mut route.action {
                        forward.timeout = Some(own.request());
                        forward.idle = Some(own.own_stream_idle().unwrap_or_else(|| service.stream_idle()));
                    }
                }
            }
        }
    }

    fn cluster(conf: Option<&Timeouts>, protocol: Protocol, out: &mut ClusterTuning) {
        conf.unwrap_or(&Timeouts::default()).tune(protocol, out);
    }

    fn inbound(rules: &InboundRules<Timeouts>, _: &InboundFacts, out: &mut ir::Inbound) {
        let Some(base) = rules.base() else { return };
        base.tune(out.protocol, &mut out.tuning);
        match &mut out.filter {
            InboundFilter::Tcp { idle } => *idle = Some(base.idle()),
            InboundFilter::Http(http) => {
                http.timeouts.idle = Some(GoDuration::ZERO);
                http.timeouts.request_headers = Some(base.request_headers());
                http.forward.timeout = Some(base.request());
                http.forward.idle = Some(base.stream_idle());
            }
        }
    }
}
