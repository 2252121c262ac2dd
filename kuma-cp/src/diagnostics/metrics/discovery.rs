//! Streams of discovery: how many there are, what is sent, what comes back, how long a change takes to get through.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::exact::ExactCounter;

/// Upper bounds of durations in milliseconds.
pub(super) const MILLISECONDS: [f64; 14] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 10e3, 30e3];

/// Metrics of the discovery service. Clones share them.
#[derive(Clone, Debug)]
pub struct DiscoveryMetrics {
    streams: Gauge,
    confirmed: Family<Confirmation, ExactCounter>,
    sent: Family<OfType, ExactCounter>,
    bytes: Family<OfType, Histogram>,
    delivery: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfType {
    type_url: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Confirmation {
    type_url: &'static str,
    confirmation: &'static str,
    error_type: &'static str,
}

impl DiscoveryMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let this = Self {
            streams: Gauge::default(),
            confirmed: Family::default(),
            sent: Family::default(),
            bytes: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1024.0, 2.0, 16))),
            delivery: Histogram::new(MILLISECONDS),
        };
        registry.register("xds_streams_active", "Streams of proxies at the moment", this.streams.clone());
        registry.register(
            "xds_requests_received",
            "Responses that proxies accepted or refused",
            this.confirmed.clone(),
        );
        registry.register("xds_responses_sent", "Responses sent", this.sent.clone());
        registry.register("xds_responses_sent_bytes", "Size of the responses sent", this.bytes.clone());
        registry.register(
            "xds_delivery",
            "Milliseconds from a change until a proxy that it concerns has accepted or refused all of it",
            this.delivery.clone(),
        );
        this
    }

    /// Streams at the moment.
    pub fn active(&self) -> i64 {
        self.streams.get()
    }

    /// A stream begins; it ends when what is returned is dropped.
    pub fn stream(&self) -> StreamMetrics {
        self.streams.inc();
        StreamMetrics(self.clone())
    }
}

/// What one stream counts.
#[derive(Debug)]
pub struct StreamMetrics(DiscoveryMetrics);

impl StreamMetrics {
    /// A response was sent.
    pub fn sent(&self, type_url: &'static str, bytes: usize) {
        let labels = OfType { type_url };
        self.0.sent.get_or_create(&labels).inc();
        self.0.bytes.get_or_create(&labels).observe(bytes as f64);
    }

    /// A response was accepted, or refused.
    pub fn confirmed(&self, type_url: &'static str, refused: bool) {
        let (confirmation, error_type) = if refused { ("NACK", "other") } else { ("ACK", "no_error") };
        self.0.confirmed.get_or_create(&Confirmation { type_url, confirmation, error_type }).inc();
    }

    /// All that a change asked for is accepted or refused, so long after the change.
    pub fn delivered(&self, after: Duration) {
        self.0.delivery.observe(after.as_secs_f64() * 1e3);
    }
}

impl Drop for StreamMetrics {
    fn drop(&mut self) {
        self.0.streams.dec();
    }
}
