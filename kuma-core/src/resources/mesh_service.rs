//! MeshService: a destination inside the mesh, backed by the Dataplanes that it selects.

use serde::{Deserialize, Serialize};

use super::{LabelSelector, schemas};
use crate::{
    meta::Meta,
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::Spec,
    schema::{Schema, int, list, object, one_of, opt, req, text},
    validate::{Path, Violations},
};

/// Spec of a MeshService.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshService {
    /// Computed: whether any proxy serves it. Printed first, as upstream does.
    pub state: ServiceState,
    /// Which proxies serve it.
    pub selector: MeshServiceSelector,
    /// Ports that clients use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<MeshServicePort>,
    /// Names that the serving proxies prove; computed in the zone that owns the service.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<ServiceIdentity>,
}

/// Whether a service has a healthy proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceState {
    /// At least one.
    Available,
    /// None.
    #[default]
    Unavailable,
}

/// Exactly one of the two forms, or none (then nothing is selected).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshServiceSelector {
    /// By labels; an empty set selects every proxy of the mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataplane_labels: Option<LabelSelector>,
    /// One proxy by storage name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataplane_ref: Option<DataplaneRef>,
}

/// Reference to one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataplaneRef {
    /// Storage name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A port of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshServicePort {
    /// Section name; the number is used where it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What clients dial.
    pub port: i32,
    /// Inbound port (number) or inbound name (text); absent matches nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<IntOrString>,
    /// Protocol as written; compared without regard to case, empty means tcp.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app_protocol: String,
}

impl MeshServicePort {
    /// Name, or the number as text.
    pub fn section(&self) -> String {
        match &self.name {
            Some(name) if !name.is_empty() => name.clone(),
            _ => self.port.to_string(),
        }
    }
}

/// A JSON number or a string, written back as it came.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    /// A whole number.
    Int(i64),
    /// A text.
    Text(String),
}

/// A name that a serving proxy proves by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServiceIdentity {
    /// Always `SpiffeID`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The SPIFFE ID.
    pub value: String,
}

/// What the control plane computed about a MeshService.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshServiceStatus {
    /// Hostnames.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<DestinationAddress>,
    /// Virtual addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vips: Vec<Vip>,
    /// Whether every proxy of it can terminate mutual TLS.
    pub tls: TlsStatus,
    /// What each generator said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hostname_generators: Vec<HostnameGeneratorStatus>,
    /// Counts of its proxies.
    pub dataplane_proxies: ServiceProxies,
}

/// A hostname of a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DestinationAddress {
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Always `HostnameGenerator`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Which generator made it.
    pub hostname_generator_ref: HostnameGeneratorRef,
}

/// Reference to a HostnameGenerator.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostnameGeneratorRef {
    /// Storage name.
    pub core_name: String,
}

/// A virtual address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vip {
    /// The address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ip: String,
}

/// TLS state of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TlsStatus {
    /// `Ready` or `NotReady`; absent before it was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TlsReadiness>,
}

/// Whether clients may insist on mutual TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsReadiness {
    /// They may.
    Ready,
    /// Not yet.
    NotReady,
}

/// What one generator did for a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostnameGeneratorStatus {
    /// Which generator.
    pub hostname_generator_ref: HostnameGeneratorRef,
    /// Its conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A condition of a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Counts of proxies; zeros are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceProxies {
    /// With a live stream.
    #[serde(skip_serializing_if = "is_zero")]
    pub connected: i32,
    /// Serving every port.
    #[serde(skip_serializing_if = "is_zero")]
    pub healthy: i32,
    /// All that are selected and have an inbound.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: i32,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

impl Spec for MeshService {
    type Status = MeshServiceStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::MeshService,
        name: "MeshService",
        path: "meshservices",
        alias: None,
        cli: Some("meshservice"),
        display: "Mesh Service",
        display_plural: "Mesh Services",
        short: Some("msvc"),
        scope: Scope::Mesh,
        shape: Shape::SpecStatus,
        sync: Sync::ZoneToGlobal,
        role: Role::Destination,
        has_status: true,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        let port = object([
            req("port", int()),
            opt("targetPort", Schema::IntOrText),
            opt("name", text()),
            opt("appProtocol", text()).or("tcp"),
        ]);
        Some(object([
            opt(
                "selector",
                object([
                    opt("dataplaneLabels", schemas::label_selector()),
                    opt("dataplaneRef", object([opt("name", text())])),
                ]),
            ),
            opt("ports", list(port)),
            opt("identities", list(object([req("type", one_of(["SpiffeID"])), req("value", text())]))),
            opt("state", one_of(["Available", "Unavailable"])).or("Unavailable"),
        ]))
    }
    fn status_schema() -> Option<Schema> {
        Some(object([
            opt("addresses", schemas::addresses()),
            opt("vips", schemas::vips()),
            opt("tls", object([opt("status", one_of(["Ready", "NotReady"]))])),
            opt("hostnameGenerators", schemas::hostname_generators()),
            opt("dataplaneProxies", schemas::proxy_counts()),
        ]))
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        for (i, port) in self.ports.iter().enumerate() {
            let protocol = port.app_protocol.to_ascii_lowercase();
            if !matches!(protocol.as_str(), "" | "grpc" | "http" | "http2" | "tcp") {
                out.add(
                    &at.field("ports").index(i).field("appProtocol"),
                    "appProtocol must be one of: grpc, http, http2, tcp",
                );
            }
        }
        if self.selector.dataplane_ref.is_some() && self.selector.dataplane_labels.is_some() {
            out.add(&at.field("selector"), "must specify only one of: dataplaneRef or dataplaneLabels");
        }
    }
    fn warnings(&self, meta: &Meta) -> Vec<String> {
        if self.selector.dataplane_ref.is_some() || self.selector.dataplane_labels.is_some() {
            return Vec::new();
        }
        vec![format!(
            "MeshService resource '{}' has no selector, so it matches no data plane proxies. Set \
             'spec.selector.dataplaneRef' or 'spec.selector.dataplaneLabels'. The 'spec.selector.dataplaneTags' \
             selector was removed, migrate it to 'dataplaneLabels'.",
            meta.name
        )]
    }
}
