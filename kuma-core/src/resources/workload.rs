//! Workload: a set of proxies that run the same thing.

use serde::{Deserialize, Serialize};

use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::Spec,
    schema::{Schema, int, object, opt, req},
};

/// Spec of a Workload: nothing, its name says it all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {}

/// How many proxies a Workload has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    /// Counts of Dataplanes with the workload's label.
    pub dataplane_proxies: WorkloadProxies,
}

/// Counts of proxies; all three are always printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadProxies {
    /// With a live stream.
    pub connected: i32,
    /// With at least one healthy inbound.
    pub healthy: i32,
    /// All.
    pub total: i32,
}

impl Spec for Workload {
    type Status = WorkloadStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::Workload,
        name: "Workload",
        path: "workloads",
        alias: None,
        cli: Some("workload"),
        display: "Workload",
        display_plural: "Workloads",
        short: Some("wl"),
        scope: Scope::Mesh,
        shape: Shape::SpecStatus,
        sync: Sync::ZoneToGlobal,
        role: Role::System,
        has_status: true,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        Some(object([]))
    }
    fn status_schema() -> Option<Schema> {
        Some(object([opt(
            "dataplaneProxies",
            object([req("connected", int()), req("healthy", int()), req("total", int())]),
        )]))
    }
}
