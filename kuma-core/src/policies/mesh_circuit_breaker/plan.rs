//! What MeshCircuitBreaker says about units.

use std::sync::Arc;

use super::{CircuitBreakers, ConsecutiveDetector, Detectors, MeshCircuitBreaker, OutlierDetection};
use crate::{
    ir::{self, ClusterTuning, Detector, FailurePercentage, Limits, Outliers, Protocol, SuccessRate},
    plan::{InboundFacts, InboundRules},
    policies::{
        policy::{Conf, Never, Policy, RuleItem, Stage, ToItem},
        target::TargetRef,
    },
    resources::IntOrString,
};

impl Conf for CircuitBreakers {}

impl CircuitBreakers {
    fn tune(&self, out: &mut ClusterTuning) {
        let limits = self.connection_limits.clone().unwrap_or_default();
        out.limits = Some(Limits {
            connections: limits.max_connections,
            connection_pools: limits.max_connection_pools,
            pending_requests: limits.max_pending_requests,
            requests: limits.max_requests,
            retries: limits.max_retries,
        });
        if let Some(detection) = &self.outlier_detection
            && detection.disabled != Some(true)
        {
            out.outliers = Some(Arc::new(outliers(detection)));
            out.panic_threshold = detection.healthy_panic_threshold.as_ref().and_then(number);
        }
    }
}

fn outliers(detection: &OutlierDetection) -> Outliers {
    // Without any detector Envoy's own defaults hold for success rate and failure percentage.
    let statistical = detection.detectors.as_ref();
    let detectors = detection.detectors.clone().unwrap_or_default();
    Outliers {
        interval: detection.interval,
        base_ejection: detection.base_ejection_time,
        max_ejection_percent: detection.max_ejection_percent,
        split_local: detection.split_external_and_local_errors,
        total: consecutive(detectors.total_failures.as_ref()),
        gateway: consecutive(detectors.gateway_failures.as_ref()),
        local_origin: consecutive(detectors.local_origin_failures.as_ref()),
        success_rate: statistical.map(success_rate),
        failure_percentage: statistical.map(failure_percentage),
    }
}

fn consecutive(detector: Option<&ConsecutiveDetector>) -> Detector {
    Detector { consecutive: detector.and_then(|d| d.consecutive), enforced: detector.is_some() }
}

fn success_rate(detectors: &Detectors) -> SuccessRate {
    let Some(detector) = &detectors.success_rate else { return SuccessRate::default() };
    SuccessRate {
        enforced: true,
        minimum_hosts: detector.minimum_hosts,
        request_volume: detector.request_volume,
        // Envoy counts in thousandths.
        stdev_factor: detector.standard_deviation_factor.as_ref().and_then(number).map(|f| (f * 1000.0).round() as u32),
    }
}

fn failure_percentage(detectors: &Detectors) -> FailurePercentage {
    let Some(detector) = &detectors.failure_percentage else { return FailurePercentage::default() };
    FailurePercentage {
        enforced: true,
        minimum_hosts: detector.minimum_hosts,
        request_volume: detector.request_volume,
        threshold: detector.threshold,
    }
}

fn number(value: &IntOrString) -> Option<f64> {
    match value {
        IntOrString::Int(n) => Some(*n as f64),
        IntOrString::Text(text) => text.trim().parse().ok(),
    }
}

impl Policy for MeshCircuitBreaker {
    type To = CircuitBreakers;
    type In = CircuitBreakers;
    type Own = Never;
    const STAGE: Stage = Stage::Tune;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<CircuitBreakers>> {
        let item = |i: &super::CircuitBreakerTo| ToItem { target: i.target_ref.clone(), conf: i.conf.clone() };
        self.to.iter().flatten().map(item).collect()
    }

    fn rule_items(&self) -> Vec<RuleItem<CircuitBreakers>> {
        let item = |r: &super::CircuitBreakerRule| RuleItem { matches: Vec::new(), conf: r.conf.clone() };
        self.rules.iter().flatten().map(item).collect()
    }

    fn cluster(conf: Option<&CircuitBreakers>, _: Protocol, out: &mut ClusterTuning) {
        conf.unwrap_or(&CircuitBreakers::default()).tune(out);
    }

    fn inbound(rules: &InboundRules<CircuitBreakers>, _: &InboundFacts, out: &mut ir::Inbound) {
        rules.catch_all().cloned().unwrap_or_default().tune(&mut out.tuning);
    }
}
