//! Which streams a change of a Dataplane concerns: one task follows the state for all of them, so that a change of one
//! Dataplane wakes its own stream and no other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kuma_core::registry::Kind;
use tokio::sync::Notify;

use super::super::leases::Proxy;
use crate::state::{Changes, StateHandle};

/// The Dataplanes that streams look at.
#[derive(Debug, Default)]
pub struct Watched {
    inner: Mutex<HashMap<Proxy, Vec<Arc<Notify>>>>,
}

impl Watched {
    /// Looks at the Dataplane of a proxy, which need not be there.
    pub fn watch(self: &Arc<Self>, proxy: &Proxy) -> Watch {
        let wake = Arc::new(Notify::new());
        self.lock().entry(proxy.clone()).or_default().push(wake.clone());
        Watch { watched: self.clone(), proxy: proxy.clone(), wake }
    }

    /// Wakes watches until the state ends. It follows the state from the moment of the call.
    pub fn follow(self: Arc<Self>, state: &StateHandle) -> impl Future<Output = ()> + Send + 'static {
        let changes = state.subscribe();
        self.wake(changes)
    }

    async fn wake(self: Arc<Self>, mut changes: Changes) {
        while let Some(batch) = changes.next().await {
            let inner = self.lock();
            for change in batch.changes.iter().filter(|change| change.key.kind == Kind::Dataplane) {
                let proxy: Proxy = (change.key.mesh.clone(), change.key.name.clone());
                inner.get(&proxy).into_iter().flatten().for_each(|wake| wake.notify_one());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Proxy, Vec<Arc<Notify>>>> {
        // Every change is a single map operation, so a panic elsewhere leaves the map whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by a stream while it looks at a Dataplane.
#[derive(Debug)]
pub struct Watch {
    watched: Arc<Watched>,
    proxy: Proxy,
    wake: Arc<Notify>,
}

impl Watch {
    /// Waits until the Dataplane has changed since the last call. The state shows the change already.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.watched.lock();
        if let Some(wakes) = inner.get_mut(&self.proxy) {
            wakes.retain(|wake| !Arc::ptr_eq(wake, &self.wake));
            if wakes.is_empty() {
                inner.remove(&self.proxy);
            }
        }
    }
}
