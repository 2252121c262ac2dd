//! MeshInsight: counts of one mesh. Its name is that of the Mesh. Nobody stores it: it is computed when it is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::{NoStatus, Spec},
};

/// Spec of a MeshInsight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshInsight {
    /// All proxies.
    pub dataplanes: ProxyCounts,
    /// Proxies by what they are.
    pub dataplanes_by_type: ProxyCountsByType,
    /// Proxies by version.
    pub dp_versions: ProxyCountsByVersion,
    /// Proxies with a certificate.
    #[serde(rename = "mTLS")]
    pub mtls: ProxyCountsByBackend,
    /// Objects of the mesh, by type. Types without any are left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, ResourceCount>,
}

/// Proxies by their state; zeros are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyCounts {
    /// All.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// Connected, everything ready.
    #[serde(skip_serializing_if = "is_zero")]
    pub online: u64,
    /// Not connected, or nothing ready.
    #[serde(skip_serializing_if = "is_zero")]
    pub offline: u64,
    /// Connected, something ready.
    #[serde(skip_serializing_if = "is_zero")]
    pub partially_degraded: u64,
}

/// Proxies by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyCountsByType {
    /// Beside a service, or at the border of a zone.
    pub standard: ProxyCounts,
    /// The same as `gatewayDelegated`, by its earlier name.
    pub gateway: ProxyCounts,
    /// Beside a gateway of someone else's.
    pub gateway_delegated: ProxyCounts,
}

/// Proxies by version; `unknown` are those that have not said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyCountsByVersion {
    /// Of kuma-dp.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub kuma_dp: BTreeMap<String, ProxyCounts>,
    /// Of Envoy.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub envoy: BTreeMap<String, ProxyCounts>,
}

/// Proxies by the KRI of what their certificates come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyCountsByBackend {
    /// What issued them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub issued_backends: BTreeMap<String, ProxyCounts>,
    /// What they trust.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub supported_backends: BTreeMap<String, ProxyCounts>,
}

/// How many objects there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResourceCount {
    /// All.
    pub total: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Spec for MeshInsight {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::MeshInsight,
        name: "MeshInsight",
        path: "mesh-insights",
        alias: None,
        cli: None,
        display: "Mesh Insight",
        display_plural: "Mesh Insights",
        short: None,
        scope: Scope::Global,
        shape: Shape::Flat,
        sync: Sync::None,
        role: Role::Insight,
        has_status: false,
        insight: None,
    };
}
