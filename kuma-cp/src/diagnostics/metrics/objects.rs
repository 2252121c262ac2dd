//! How many objects there are of each kind.

use std::fmt;

use kuma_core::registry::Kind;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::state::StateHandle;

/// Counts what is stored whenever it is asked.
pub struct Objects(pub StateHandle);

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.0.current();
        let mut encoder =
            encoder.encode_descriptor("resources_count", "Number of stored objects", None, MetricType::Gauge)?;
        // A MeshInsight is computed, and never stored.
        for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::MeshInsight) {
            let count = i64::try_from(state.list(*kind).count()).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(encoder.encode_family(&[("resource_type", kind.name())])?)?;
        }
        Ok(())
    }
}
