//! targetRef, backendRef and the match of inbound rules: what every policy shares.

use serde::{Deserialize, Serialize};

use crate::meta::Labels;

/// What a targetRef can name. `Ord` is not the precedence; see [`TargetKind::rank`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TargetKind {
    /// The whole mesh.
    #[default]
    Mesh,
    /// Proxies by label.
    Dataplane,
    /// Services by label.
    MeshService,
    /// External services by label.
    MeshExternalService,
    /// Multi-zone services by label.
    MeshMultiZoneService,
    /// Routes by label.
    MeshHTTPRoute,
    /// A kind that earlier releases knew; selects nothing.
    #[serde(other)]
    Removed,
}

impl TargetKind {
    /// Rank in the order of precedence, higher wins.
    pub fn rank(self) -> u8 {
        match self {
            Self::Removed => 0,
            Self::Mesh => 1,
            Self::Dataplane => 2,
            Self::MeshService => 5,
            Self::MeshExternalService => 6,
            Self::MeshMultiZoneService => 7,
            Self::MeshHTTPRoute => 9,
        }
    }
    /// Name as written in YAML.
    pub fn name(self) -> &'static str {
        match self {
            Self::Removed => "",
            Self::Mesh => "Mesh",
            Self::Dataplane => "Dataplane",
            Self::MeshService => "MeshService",
            Self::MeshExternalService => "MeshExternalService",
            Self::MeshMultiZoneService => "MeshMultiZoneService",
            Self::MeshHTTPRoute => "MeshHTTPRoute",
        }
    }
}

/// Selects proxies (top level) or destinations (`to`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Kind of what is selected.
    pub kind: TargetKind,
    /// Labels that it must have; absent and empty differ (see the matching rules).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Inbound, listener or port of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// A destination with a weight.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// Kind of the destination.
    pub kind: TargetKind,
    /// Labels that it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    /// Port of it, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// Port of it, by number; used when there is no section name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// Share of the traffic; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u64>,
}

/// Condition of an inbound rule; what is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Match {
    /// Identity of the client.
    #[serde(rename = "spiffeID", default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<SpiffeIdMatch>,
    /// Server name that the client asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<SniMatch>,
}

/// Match of a client's SPIFFE ID.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpiffeIdMatch {
    /// `Exact` or `Prefix`.
    #[serde(rename = "type")]
    pub kind: String,
    /// ID or prefix of one.
    pub value: String,
}

/// Match of a server name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SniMatch {
    /// `Exact`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name.
    pub value: String,
}
