//! How many proxies a service has, kept up to date one by one.

use std::{collections::BTreeMap, sync::Arc};

use crate::resources::ServiceProxies;

/// What each selected Dataplane adds to the counts of one service, and the sum.
#[derive(Debug, Default)]
pub(super) struct Tally {
    parts: BTreeMap<Arc<str>, ServiceProxies>,
    sum: ServiceProxies,
}

impl Tally {
    /// Replaces what one Dataplane adds; true if the sum differs afterwards.
    pub(super) fn set(&mut self, dataplane: &Arc<str>, part: Option<ServiceProxies>) -> bool {
        let before = self.sum;
        if let Some(old) = self.parts.remove(dataplane) {
            self.add(old, -1);
        }
        if let Some(new) = part {
            self.add(new, 1);
            self.parts.insert(dataplane.clone(), new);
        }
        before != self.sum
    }

    pub(super) fn sum(&self) -> ServiceProxies {
        self.sum
    }

    fn add(&mut self, part: ServiceProxies, sign: i32) {
        let ServiceProxies { connected, healthy, total } = part;
        self.sum.connected += sign * connected;
        self.sum.healthy += sign * healthy;
        self.sum.total += sign * total;
    }
}
