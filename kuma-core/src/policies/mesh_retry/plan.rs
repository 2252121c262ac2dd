//! What MeshRetry says about units.

mod http;

use std::{collections::BTreeMap, sync::Arc};

use super::{BackOff, GrpcRetry, MeshRetry, RateLimitedBackOff, Retries};
use crate::{
    duration::GoDuration,
    ir::{self, OutboundFilter, Protocol, RateLimitedRetry, RetryBackOff, RetryPolicy, RouteAction},
    policies::{
        policy::{Conf, Never, OutboundAt, OutboundConfs, Policy, Stage, ToItem},
        target::TargetRef,
    },
};

impl Conf for Retries {}

impl Policy for MeshRetry {
    type To = Retries;
    type In = Never;
    type Own = Never;
    const STAGE: Stage = Stage::Tune;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<Retries>> {
        let item = |i: &super::RetryTo| ToItem { target: i.target_ref.clone(), conf: i.conf.clone() };
        self.to.iter().flatten().map(item).collect()
    }

    fn outbound(confs: &OutboundConfs<Retries>, at: OutboundAt<'_>, out: &mut ir::Outbound) {
        let protocol = at.protocol;
        match &mut out.filter {
            OutboundFilter::Tcp(tcp) => {
                if protocol == Protocol::Tcp {
                    let tcp_retry = confs.service.as_ref().and_then(|c| c.tcp.as_ref());
                    tcp.max_connect_attempts = tcp_retry.and_then(|t| t.max_connect_attempt);
                }
            }
            OutboundFilter::Http(http) => {
                let policy = |conf: &Retries| policy(conf, protocol).map(Arc::new);
                let service = confs.service.as_deref().and_then(policy);
                let own: BTreeMap<_, _> =
                    confs.routes.iter().filter_map(|(name, conf)| Some((name, policy(conf)?))).collect();
                for route in &mut http.routes {
                    let own = route.name.as_ref().and_then(|name| own.get(name));
                    if let RouteAction::Forward(forward) = &mut route.action {
                        forward.retry = own.or(service.as_ref()).cloned();
                    }
                }
            }
        }
    }
}

/// Retry policy of routes to a port of this protocol; `None` retries nothing.
fn policy(conf: &Retries, protocol: Protocol) -> Option<RetryPolicy> {
    match protocol {
        Protocol::Http => http::policy(conf.http.as_ref()?),
        Protocol::Grpc => grpc_policy(conf.grpc.as_ref()?),
        _ => None,
    }
}

/// First pause of gRPC retries if nothing is said.
const BASE_INTERVAL: GoDuration = GoDuration::from_millis(25);

fn grpc_policy(conf: &GrpcRetry) -> Option<RetryPolicy> {
    if conf.num_retries == Some(0) {
        return None;
    }
    let conditions: Vec<&str> = conf.retry_on.iter().flatten().filter_map(|c| grpc_condition(c)).collect();
    let retry_on = if conditions.is_empty() {
        "cancelled,connect-failure,gateway-error,refused-stream,reset,resource-exhausted,unavailable".to_owned()
    } else {
        conditions.join(",")
    };
    Some(RetryPolicy {
        retry_on,
        num_retries: conf.num_retries,
        per_try_timeout: conf.per_try_timeout,
        back_off: conf.back_off.as_ref().map(back_off),
        rate_limited: conf.rate_limited_back_off.as_ref().map(rate_limited),
        ..RetryPolicy::default()
    })
}

fn grpc_condition(name: &str) -> Option<&'static str> {
    Some(match name {
        "Canceled" => "canceled",
        "DeadlineExceeded" => "deadline-exceeded",
        "Internal" => "internal",
        "ResourceExhausted" => "resource-exhausted",
        "Unavailable" => "unavailable",
        _ => return None,
    })
}

/// A longest pause alone is refused by Envoy, so the first pause is then written too.
fn back_off(conf: &BackOff) -> RetryBackOff {
    RetryBackOff { base: Some(conf.base_interval.unwrap_or(BASE_INTERVAL)), max: conf.max_interval }
}

fn rate_limited(conf: &RateLimitedBackOff) -> RateLimitedRetry {
    let headers = conf.reset_headers.iter().flatten();
    RateLimitedRetry {
        headers: headers.map(|h| (h.name.as_str().into(), h.format == "UnixTimestamp")).collect(),
        max: conf.max_interval,
    }
}
