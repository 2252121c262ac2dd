//! targetRef, backendRef and the match of inbound rules: what every policy shares.

pub mod validate;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::meta::Labels;

/// What a targetRef can name. `Ord` is not the precedence; see [`TargetKind::rank`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// Anything else, such as a kind that earlier releases knew, or no kind at all; selects nothing.
    Other(OtherKind),
}

/// The text of a kind that is none, kept so that messages can repeat it; cut after 39 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OtherKind {
    text: [u8; 39],
    length: u8,
}

impl OtherKind {
    fn new(text: &str) -> Self {
        let mut kept = Self { text: [0; 39], length: 0 };
        let end = text.floor_char_boundary(kept.text.len());
        kept.text[..end].copy_from_slice(&text.as_bytes()[..end]);
        kept.length = end as u8;
        kept
    }
    fn as_str(&self) -> &str {
        // It was cut at a character.
        std::str::from_utf8(&self.text[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl fmt::Debug for OtherKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl TargetKind {
    /// Kind with this name.
    pub fn of(name: &str) -> Self {
        match name {
            "Mesh" => Self::Mesh,
            "Dataplane" => Self::Dataplane,
            "MeshService" => Self::MeshService,
            "MeshExternalService" => Self::MeshExternalService,
            "MeshMultiZoneService" => Self::MeshMultiZoneService,
            "MeshHTTPRoute" => Self::MeshHTTPRoute,
            other => Self::Other(OtherKind::new(other)),
        }
    }
    fn absent() -> Self {
        Self::of("")
    }
    /// Rank in the order of precedence, higher wins.
    pub fn rank(self) -> u8 {
        match self {
            Self::Other(_) => 0,
            Self::Mesh => 1,
            Self::Dataplane => 2,
            Self::MeshService => 5,
            Self::MeshExternalService => 6,
            Self::MeshMultiZoneService => 7,
            Self::MeshHTTPRoute => 9,
        }
    }
    /// Name as written in YAML.
    pub fn name(&self) -> &str {
        match self {
            Self::Mesh => "Mesh",
            Self::Dataplane => "Dataplane",
            Self::MeshService => "MeshService",
            Self::MeshExternalService => "MeshExternalService",
            Self::MeshMultiZoneService => "MeshMultiZoneService",
            Self::MeshHTTPRoute => "MeshHTTPRoute",
            Self::Other(kind) => kind.as_str(),
        }
    }
}

impl Serialize for TargetKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for TargetKind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&String::deserialize(deserializer)?))
    }
}

/// Selects proxies (top level) or destinations (`to`).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    /// Kind of what is selected.
    #[serde(default = "TargetKind::absent")]
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
    #[serde(default = "TargetKind::absent")]
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
    #[serde(rename = "type", default)]
    pub kind: String,
    /// ID or prefix of one.
    #[serde(default)]
    pub value: String,
}

/// Match of a server name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SniMatch {
    /// `Exact`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The name.
    #[serde(default)]
    pub value: String,
}
