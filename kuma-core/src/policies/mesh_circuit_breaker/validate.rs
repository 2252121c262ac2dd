//! Rules of MeshCircuitBreaker. Faults of inbound rules are shown under `from`; clients know them so.

use super::{CircuitBreakers, ConnectionLimits, Detectors, MeshCircuitBreaker, OutlierDetection};
use crate::{
    names,
    policies::target::validate as target,
    resources::IntOrString,
    validate::{Path, Violations, text},
};

pub(super) fn spec(spec: &MeshCircuitBreaker, at: &Path, out: &mut Violations) {
    let rules = spec.rules.as_deref().unwrap_or_default();
    let to = spec.to.as_deref().unwrap_or_default();
    target::top(spec.target_ref.as_ref(), at, !rules.is_empty(), out);
    if rules.is_empty() && to.is_empty() {
        out.add(at, text::TO_OR_RULES);
    }
    for (i, item) in rules.iter().enumerate() {
        breakers(&item.conf, &at.field("from").index(i).field("default"), out);
    }
    for (i, item) in to.iter().enumerate() {
        let at = at.field("to").index(i);
        target::destination(&item.target_ref, &at, target::DESTINATIONS, out);
        breakers(&item.conf, &at.field("default"), out);
    }
}

fn breakers(conf: &CircuitBreakers, at: &Path, out: &mut Violations) {
    if *conf == CircuitBreakers::default() {
        out.add(at, "at least one of: 'connectionLimits' or 'outlierDetection' should be configured");
    }
    if let Some(conf) = &conf.connection_limits {
        limits(conf, &at.field("connectionLimits"), out);
    }
    if let Some(conf) = &conf.outlier_detection {
        ejection(conf, &at.field("outlierDetection"), out);
    }
}

fn positive(fields: &[(&str, Option<u32>)], at: &Path, out: &mut Violations) {
    for (field, value) in fields {
        if *value == Some(0) {
            out.add(&at.field(field), text::POSITIVE);
        }
    }
}

fn limits(conf: &ConnectionLimits, at: &Path, out: &mut Violations) {
    let fields = [
        ("maxConnections", conf.max_connections),
        ("maxConnectionPools", conf.max_connection_pools),
        ("maxPendingRequests", conf.max_pending_requests),
        ("maxRetries", conf.max_retries),
        ("maxRequests", conf.max_requests),
    ];
    positive(&fields, at, out);
}

fn percent(field: &str, value: Option<u32>, at: &Path, out: &mut Violations) {
    if value.is_some_and(|v| v > 100) {
        out.add(&at.field(field), "must be in inclusive range [0, 100]");
    }
}

/// The number that an int-or-string means.
fn number(value: &IntOrString) -> Option<f64> {
    match value {
        IntOrString::Int(n) => Some(*n as f64),
        IntOrString::Text(text) if names::is_number(text) => text.parse().ok(),
        IntOrString::Text(_) => None,
    }
}

fn ejection(conf: &OutlierDetection, at: &Path, out: &mut Violations) {
    for (field, value) in [("interval", conf.interval), ("baseEjectionTime", conf.base_ejection_time)] {
        if value.is_some_and(|v| !v.is_positive()) {
            out.add(&at.field(field), text::POSITIVE_WHEN_DEFINED);
        }
    }
    percent("maxEjectionPercent", conf.max_ejection_percent, at, out);
    if let Some(threshold) = &conf.healthy_panic_threshold {
        let at = at.field("healthyPanicThreshold");
        match number(threshold) {
            None => out.add(&at, text::NUMBER),
            Some(n) if !(0.0..=100.0).contains(&n) => out.add(&at, text::PERCENTAGE),
            Some(_) => {}
        }
    }
    let at = at.field("detectors");
    match &conf.detectors {
        None => out.add(&at, text::DEFINED),
        Some(conf) if *conf == Detectors::default() => out.add(
            &at,
            "must have at least one defined: totalFailures, gatewayFailures, localOriginFailures, successRate, failurePercentage",
        ),
        Some(conf) => detectors(conf, &at, out),
    }
}

fn detectors(conf: &Detectors, at: &Path, out: &mut Violations) {
    for (field, detector) in [
        ("totalFailures", &conf.total_failures),
        ("gatewayFailures", &conf.gateway_failures),
        ("localOriginFailures", &conf.local_origin_failures),
    ] {
        if let Some(detector) = detector {
            positive(&[("consecutive", detector.consecutive)], &at.field(field), out);
        }
    }
    if let Some(detector) = &conf.success_rate {
        let at = at.field("successRate");
        let fields = [("minimumHosts", detector.minimum_hosts), ("requestVolume", detector.request_volume)];
        positive(&fields, &at, out);
        if let Some(factor) = &detector.standard_deviation_factor {
            let at = at.field("standardDeviationFactor");
            match number(factor) {
                None => out.add(&at, "invalid number"),
                Some(n) if n <= 0.0 => out.add(&at, text::POSITIVE),
                Some(_) => {}
            }
        }
    }
    if let Some(detector) = &conf.failure_percentage {
        let at = at.field("failurePercentage");
        let fields = [("minimumHosts", detector.minimum_hosts), ("requestVolume", detector.request_volume)];
        positive(&fields, &at, out);
        percent("threshold", detector.threshold, &at, out);
    }
}
