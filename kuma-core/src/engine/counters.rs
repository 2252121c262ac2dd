//! What the engine did, counted: tests assert these numbers, benchmarks and metrics print them.

/// Work since the engine was made; the difference of two readings is the work of what lies between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches handled.
    pub batches: u64,
    /// Proxies whose matching was computed.
    pub proxies_matched: u64,
    /// Classes that were new.
    pub classes: u64,
    /// Rule tables built: merged confs of one kind for one list of matched policies.
    pub rule_tables: u64,
    /// Reach lists computed.
    pub reaches: u64,
    /// Outbounds planned.
    pub outbounds: u64,
    /// Clusters planned.
    pub clusters: u64,
    /// Inbound sets planned.
    pub inbounds: u64,
    /// Proxy-wide units planned.
    pub wides: u64,
    /// Endpoint lists computed.
    pub endpoints: u64,
    /// Resources rendered, of any type.
    pub rendered: u64,
    /// Proxies whose set was composed anew.
    pub sets: u64,
    /// Streams woken.
    pub woken: u64,
}

impl std::ops::Sub for Counters {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            batches: self.batches - before.batches,
            proxies_matched: self.proxies_matched - before.proxies_matched,
            classes: self.classes - before.classes,
            rule_tables: self.rule_tables - before.rule_tables,
            reaches: self.reaches - before.reaches,
            outbounds: self.outbounds - before.outbounds,
            clusters: self.clusters - before.clusters,
            inbounds: self.inbounds - before.inbounds,
            wides: self.wides - before.wides,
            endpoints: self.endpoints - before.endpoints,
            rendered: self.rendered - before.rendered,
            sets: self.sets - before.sets,
            woken: self.woken - before.woken,
        }
    }
}
