//! Streams of health checks: how many there are, and what goes over them.

use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use super::exact::ExactCounter;

/// Metrics of health discovery. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct HealthMetrics {
    streams: Gauge,
    received: ExactCounter,
    sent: ExactCounter,
}

impl HealthMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register("hds_streams_active", "Streams of health checks at the moment", this.streams.clone());
        registry.register("hds_requests_received", "Reports of proxies about health", this.received.clone());
        registry.register("hds_responses_sent", "Lists of checks sent to proxies", this.sent.clone());
        this
    }

    /// A stream begins; it ends when what is returned is dropped.
    pub fn stream(&self) -> HealthStream {
        self.streams.inc();
        HealthStream(self.clone())
    }
}

/// What one stream counts.
#[derive(Debug)]
pub struct HealthStream(HealthMetrics);

impl HealthStream {
    /// A report came.
    pub fn received(&self) {
        self.0.received.inc();
    }

    /// A list of checks was sent.
    pub fn sent(&self) {
        self.0.sent.inc();
    }
}

impl Drop for HealthStream {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}
