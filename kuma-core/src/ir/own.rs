//! What belongs to one replica alone; the renderer fills it into shared units.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::meta::Labels;

/// What differs between replicas of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Own {
    /// Mesh of the proxy.
    pub mesh: Arc<str>,
    /// Storage name of its Dataplane.
    pub name: Arc<str>,
    /// `networking.address`, resolved to an IP.
    pub address: Arc<str>,
    /// Labels of its Dataplane: they become metadata of its inbound listeners.
    pub labels: Arc<Labels>,
    /// Work directory of kuma-dp; paths of sockets derive from it. May be empty.
    pub work_dir: Arc<str>,
    /// Envoy's admin API.
    pub admin: OwnAdmin,
}

/// Where Envoy's admin API and the readiness reporter of this replica are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnAdmin {
    /// Port; 0 switches the admin listener off.
    pub port: u32,
    /// Address, loopback of a family.
    pub address: Arc<str>,
    /// Unix socket; empty uses address and port.
    pub socket_path: Arc<str>,
    /// Port of the readiness reporter.
    pub readiness_port: u32,
    /// Unix socket of the readiness reporter, for old proxies; empty uses the port.
    pub readiness_socket: Arc<str>,
}
