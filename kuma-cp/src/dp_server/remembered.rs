//! What proxies refused, kept from one connection to the next: the refused bytes are not sent again, and a proxy that
//! restarts gets the last good ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use xds_gen::delta::Memory;

use super::leases::Proxy;

/// Proxies whose refusals are kept at most; beyond that the memory of one is dropped for each new one.
const MOST: usize = 10_000;

/// Refusals by proxy.
#[derive(Debug, Default)]
pub struct Remembered {
    memories: Mutex<HashMap<Proxy, Memory>>,
}

impl Remembered {
    /// What the proxy's last stream left, taken out.
    pub fn take(self: &Arc<Self>, proxy: &Proxy) -> Memory {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(proxy).unwrap_or_default()
    }

    /// Keeps what a stream leaves, if anything.
    pub fn keep(&self, proxy: Proxy, memories: Memory) {
        if memories.is_empty() {
            return;
        }
        let mut kept = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST
            && let Some(victim) = kept.keys().next().cloned()
        {
            kept.remove(&victim);
        }
        kept.insert(proxy, memories);
    }
}
