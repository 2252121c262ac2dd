//! Who is behind a cluster. Not part of a plan: it changes most often and travels by itself.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::meta::Labels;

/// Endpoints of one port of a destination, sorted as they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoints {
    /// By locality, sorted by its name.
    pub localities: Vec<Locality>,
}

impl Endpoints {
    /// Nobody is there.
    pub fn is_empty(&self) -> bool {
        self.localities.iter().all(|l| l.endpoints.is_empty())
    }
}

/// Endpoints in one place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Locality {
    /// Zone; `None` if the endpoints say none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<Arc<str>>,
    /// Sub-zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_zone: Option<Arc<str>>,
    /// 0 is preferred and not written.
    pub priority: u32,
    /// Sorted by address, then port.
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// IP address.
    pub address: Arc<str>,
    /// Port.
    pub port: u16,
    /// Weight, at least 1.
    pub weight: u32,
    /// Tags: labels of the Dataplane and `kuma.io/protocol`; written without `kuma.io/service`.
    pub tags: Arc<Labels>,
}
