//! DataplaneInsight: what a control plane knows about a proxy's streams.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::{NoStatus, Spec},
};

/// Spec of a DataplaneInsight.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataplaneInsight {
    /// One per stream, oldest first; only the last few are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<Subscription>,
    /// State of the workload certificate.
    #[serde(rename = "mTLS", skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Value>,
    /// Node metadata as the proxy sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
    /// How OpenTelemetry settings were resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_telemetry: Option<Value>,
}

/// One stream of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscription {
    /// UUID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Which control plane instance holds or held it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub control_plane_instance_id: String,
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_time: Option<String>,
    /// RFC 3339, UTC; absent while the stream lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect_time: Option<String>,
    /// Counters.
    pub status: SubscriptionStatus,
    /// Versions of kuma-dp and Envoy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Value>,
    /// Liveness counter.
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: u32,
}

/// Discovery counters of a stream, by type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionStatus {
    /// RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,
    /// All types.
    pub total: DiscoveryStats,
    /// Clusters.
    pub cds: DiscoveryStats,
    /// Endpoints.
    pub eds: DiscoveryStats,
    /// Listeners.
    pub lds: DiscoveryStats,
    /// Routes.
    pub rds: DiscoveryStats,
    /// What the proxy refused and why, newest last; an addition of ours, absent while nothing is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rejections: Vec<Rejected>,
}

/// One refused resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rejected {
    /// `Cluster`, `Listener`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the resource.
    pub name: String,
    /// What Envoy said.
    pub reason: String,
    /// RFC 3339, UTC.
    pub time: String,
}

/// Counters; 64-bit numbers are strings in JSON, zeros are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DiscoveryStats {
    /// Responses sent.
    #[serde(with = "text_u64", skip_serializing_if = "is_zero_64")]
    pub responses_sent: u64,
    /// Responses acknowledged.
    #[serde(with = "text_u64", skip_serializing_if = "is_zero_64")]
    pub responses_acknowledged: u64,
    /// Responses rejected.
    #[serde(with = "text_u64", skip_serializing_if = "is_zero_64")]
    pub responses_rejected: u64,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn is_zero_64(n: &u64) -> bool {
    *n == 0
}

mod text_u64 {
    //! 64-bit numbers as protobuf JSON writes them.
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(n: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(n)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        match Either::deserialize(deserializer)? {
            Either::Number(n) => Ok(n),
            Either::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl DataplaneInsight {
    /// True if any stream is up.
    pub fn online(&self) -> bool {
        self.subscriptions.iter().any(|s| s.connect_time.is_some() && s.disconnect_time.is_none())
    }
}

impl Spec for DataplaneInsight {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::DataplaneInsight,
        name: "DataplaneInsight",
        path: "dataplane-insights",
        alias: None,
        cli: None,
        display: "Dataplane Insight",
        display_plural: "Dataplane Insights",
        short: None,
        scope: Scope::Mesh,
        shape: Shape::Flat,
        sync: Sync::ZoneToGlobal,
        role: Role::Insight,
        has_status: false,
        insight: None,
    };
}
