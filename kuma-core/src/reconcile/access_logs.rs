//! The status of MeshAccessLogs: whether the collectors that they refer to exist.

use super::is_local;
use crate::{
    policies::{MeshAccessLog, ObservabilityStatus},
    resource::{AnyResource, Resource},
};

/// A MeshAccessLog with the status that it should have. One that was copied here from elsewhere keeps its own.
pub(super) fn decide(stored: &Resource<MeshAccessLog>) -> AnyResource {
    if !is_local(&stored.meta) {
        return stored.erase();
    }
    stored.with_status(ObservabilityStatus::of(stored.spec().backend_refs())).erase()
}
