//! The endpoints of all clusters, rendered: written by the engine, read by every stream.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use crate::ir::Name;

/// Rendered endpoints by the name of the cluster. Reads are short and never wait for planning.
#[derive(Debug)]
pub struct EndpointTable<U> {
    rendered: RwLock<HashMap<Name, U>>,
}

impl<U> Default for EndpointTable<U> {
    fn default() -> Self {
        Self { rendered: RwLock::default() }
    }
}

impl<U: Clone> EndpointTable<U> {
    /// Endpoints of a cluster, as of now.
    pub fn get(&self, cluster: &str) -> Option<U> {
        self.rendered.read().unwrap_or_else(PoisonError::into_inner).get(cluster).cloned()
    }

    pub(super) fn set(&self, cluster: Name, unit: U) {
        self.rendered.write().unwrap_or_else(PoisonError::into_inner).insert(cluster, unit);
    }

    pub(super) fn remove(&self, cluster: &str) {
        self.rendered.write().unwrap_or_else(PoisonError::into_inner).remove(cluster);
    }
}
