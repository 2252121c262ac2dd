//! Counters that appear under exactly the name that they have.
//!
//! The text format ends the name of a counter with `_total`. Names of Kuma that dashboards ask for have no such ending,
//! so these are counters of no declared type.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// A number that only grows. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ExactCounter(Arc<AtomicU64>);

impl ExactCounter {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl TypedMetric for ExactCounter {
    const TYPE: MetricType = MetricType::Unknown;
}

impl EncodeMetric for ExactCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // A gauge is a bare number, which is what is wanted.
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}
