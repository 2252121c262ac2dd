//! Planning: how long a batch of changes takes, and what work it was.

use std::time::Duration;

use kuma_core::engine::Counters;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

use super::{discovery::MILLISECONDS, exact::ExactCounter};

/// Metrics of the planning thread. Clones share them.
#[derive(Clone, Debug)]
pub struct PlanningMetrics {
    steps: Family<Outcome, Histogram>,
    errors: ExactCounter,
    work: Family<Work, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    proxy_type: &'static str,
    /// `changed` if some stream is told something, else `generated`.
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Work {
    work: &'static str,
}

impl PlanningMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let this = Self {
            steps: Family::new_with_constructor(|| Histogram::new(MILLISECONDS)),
            errors: ExactCounter::default(),
            work: Family::default(),
        };
        registry.register(
            "xds_generation",
            "Milliseconds that planning and rendering of a batch of changes took, for all proxies together",
            this.steps.clone(),
        );
        registry.register("xds_generation_errors", "Batches whose planning failed", this.errors.clone());
        registry.register("planning_work", "What planning did", this.work.clone());
        this
    }

    /// A batch was planned.
    pub fn planned(&self, took: Duration, work: Counters) {
        let result = if work.woken > 0 { "changed" } else { "generated" };
        self.steps.get_or_create(&Outcome { proxy_type: "dataplane", result }).observe(took.as_secs_f64() * 1e3);
        let Counters {
            batches,
            proxies_matched,
            classes,
            rule_tables,
            reaches,
            outbounds,
            clusters,
            inbounds,
            wides,
            endpoints,
            rendered,
            sets,
            woken,
        } = work;
        for (work, done) in [
            ("batches", batches),
            ("proxies_matched", proxies_matched),
            ("classes", classes),
            ("rule_tables", rule_tables),
            ("reaches", reaches),
            ("outbounds", outbounds),
            ("clusters", clusters),
            ("inbounds", inbounds),
            ("wides", wides),
            ("endpoints", endpoints),
            ("rendered", rendered),
            ("sets", sets),
            ("woken", woken),
        ] {
            self.work.get_or_create(&Work { work }).inc_by(done);
        }
    }

    /// The planning of a batch failed.
    pub fn failed(&self) {
        self.errors.inc();
    }
}
