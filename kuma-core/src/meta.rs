//! What every resource carries besides its spec: mesh, name, labels, times, version.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;

/// Labels of a resource, in key order.
pub type Labels = BTreeMap<String, String>;

/// Well-known label keys.
pub mod label {
    /// Name as its author wrote it, without namespace or hash.
    pub const DISPLAY_NAME: &str = "kuma.io/display-name";
    /// Mesh of a mesh-scoped resource.
    pub const MESH: &str = "kuma.io/mesh";
    /// Where the object was last received from: `global` or `zone`.
    pub const ORIGIN: &str = "kuma.io/origin";
    /// Zone that provides the object.
    pub const ZONE: &str = "kuma.io/zone";
    /// `universal` or `kubernetes`.
    pub const ENV: &str = "kuma.io/env";
    /// Kubernetes namespace of the object.
    pub const NAMESPACE: &str = "k8s.kuma.io/namespace";
    /// Role of a policy: `system`, `producer`, `consumer`, `workload-owner`.
    pub const POLICY_ROLE: &str = "kuma.io/policy-role";
    /// Workload that a Dataplane belongs to.
    pub const WORKLOAD: &str = "kuma.io/workload";
    /// Service account of the Pod behind a Dataplane.
    pub const SERVICE_ACCOUNT: &str = "k8s.kuma.io/service-account";
    /// Set to `enabled` on a Dataplane with a zone-ingress listener.
    pub const LISTENER_ZONE_INGRESS: &str = "kuma.io/listener-zoneingress";
    /// Set to `enabled` on a Dataplane with a zone-egress listener.
    pub const LISTENER_ZONE_EGRESS: &str = "kuma.io/listener-zoneegress";
    /// Legacy label that is dropped from every Dataplane.
    pub const PROXY_TYPE: &str = "kuma.io/proxy-type";
    /// `shadow`: the policy shows in previews only.
    pub const EFFECT: &str = "kuma.io/effect";
    /// Which generator owns the object.
    pub const MANAGED_BY: &str = "kuma.io/managed-by";
    /// RFC 3339 time since when a generated MeshService has no Dataplanes.
    pub const GRACE_PERIOD_STARTED: &str = "kuma.io/deletion-grace-period-started-at";
    /// Service tag of direct access and delegated gateways.
    pub const SERVICE: &str = "kuma.io/service";
}

/// Time of an object that was never stored: `0001-01-01T00:00:00Z`, as its JSON shows it.
pub const UNSET_TIME: Timestamp = Timestamp::constant(-62_135_596_800, 0);

/// Store version of an object, for optimistic concurrency: every write of the object changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// Identity and bookkeeping of one stored resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Mesh of a mesh-scoped resource; empty for a global one.
    pub mesh: Arc<str>,
    /// Storage ("core") name.
    pub name: Arc<str>,
    /// Labels, user-written and computed.
    pub labels: Arc<Labels>,
    /// When it was created; set by the store.
    pub created: Timestamp,
    /// When it was last written; set by the store.
    pub modified: Timestamp,
    /// Version for optimistic concurrency; set by the store.
    pub version: Version,
}

impl Meta {
    /// Metadata of an object that is not stored yet: [`UNSET_TIME`], version 0.
    pub fn new(mesh: impl Into<Arc<str>>, name: impl Into<Arc<str>>, labels: Labels) -> Self {
        Self {
            mesh: mesh.into(),
            name: name.into(),
            labels: Arc::new(labels),
            created: UNSET_TIME,
            modified: UNSET_TIME,
            version: Version(0),
        }
    }

    /// Value of a label, if it is there.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Name as the author wrote it: label `kuma.io/display-name`, else the storage name.
    pub fn display_name(&self) -> &str {
        self.label(label::DISPLAY_NAME).unwrap_or(&self.name)
    }

    /// Zone label, or empty.
    pub fn zone(&self) -> &str {
        self.label(label::ZONE).unwrap_or_default()
    }

    /// Kubernetes namespace label, or empty.
    pub fn namespace(&self) -> &str {
        self.label(label::NAMESPACE).unwrap_or_default()
    }
}
