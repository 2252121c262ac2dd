//! Dataplane: one proxy, what it serves and what it may reach.
//!
//! Protobuf JSON rules apply: both spellings of a field are read, durations are `"10s"`, absent means zero.

mod validate;

use serde::{Deserialize, Serialize};

use super::schemas::unsigned;
use crate::{
    meta::Labels,
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::{NoStatus, Spec},
    schema::{Schema, list, object, one_of, opt, text},
    validate::{Path, Violations},
};

/// Spec of a Dataplane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dataplane {
    /// Where it listens and what it talks to; required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networking: Option<Networking>,
}

impl Dataplane {
    /// What a new Dataplane starts with: inbounds with a probe are not ready until they were probed.
    pub fn await_probes(&mut self) {
        let inbounds = self.networking.iter_mut().flat_map(|n| &mut n.inbound);
        inbounds.filter(|inbound| inbound.service_probe.is_some()).for_each(|inbound| inbound.set_ready(false));
    }

    /// Without what probes found; `None` if they found nothing.
    pub fn unprobed(&self) -> Option<Self> {
        let probed = |inbound: &Inbound| {
            let found = inbound.state == InboundState::NotReady || inbound.health.is_some();
            inbound.service_probe.is_some() && inbound.state != InboundState::Ignored && found
        };
        if !self.networking.iter().flat_map(|n| &n.inbound).any(probed) {
            return None;
        }
        let mut plain = self.clone();
        for inbound in plain.networking.iter_mut().flat_map(|n| &mut n.inbound).filter(|inbound| probed(inbound)) {
            (inbound.state, inbound.health) = (InboundState::Ready, None);
        }
        Some(plain)
    }
}

/// Networking of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Networking {
    /// IP or DNS name that other proxies use.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Marker of a delegated gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// What it serves.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<Inbound>,
    /// What it reaches, without transparent proxy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outbound: Vec<Outbound>,
    /// Redirection of the application's traffic.
    #[serde(alias = "transparent_proxying", skip_serializing_if = "Option::is_none")]
    pub transparent_proxying: Option<TransparentProxying>,
    /// Envoy's admin API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// Zone proxy listeners.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<ZoneListener>,
}

/// A port that the proxy serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Inbound {
    /// Listening port.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u32,
    /// Port of the application; 0 means `port`.
    #[serde(alias = "service_port", skip_serializing_if = "is_zero")]
    pub service_port: u32,
    /// Address of the application; empty means the inbound's own.
    #[serde(alias = "service_address", skip_serializing_if = "String::is_empty")]
    pub service_address: String,
    /// Listening address; empty means the proxy's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Legacy mirror of `state`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<InboundHealth>,
    /// How Envoy probes the application.
    #[serde(alias = "service_probe", skip_serializing_if = "Option::is_none")]
    pub service_probe: Option<ServiceProbe>,
    /// Whether others may send traffic here.
    #[serde(skip_serializing_if = "InboundState::is_ready")]
    pub state: InboundState,
    /// Section name; empty means the port number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Protocol as written; empty means opaque TCP.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
}

impl Inbound {
    /// Name, or the port number as text.
    pub fn section(&self) -> String {
        if self.name.is_empty() { self.port.to_string() } else { self.name.clone() }
    }
    /// Ready in both spellings: it takes part in endpoints.
    pub fn healthy(&self) -> bool {
        self.state == InboundState::Ready && self.health.as_ref().is_none_or(|h| h.ready)
    }
    /// Sets both spellings.
    pub fn set_ready(&mut self, ready: bool) {
        self.state = if ready { InboundState::Ready } else { InboundState::NotReady };
        self.health = Some(InboundHealth { ready });
    }
}

/// Legacy health of an inbound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InboundHealth {
    /// Ready to serve.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
}

/// Whether an inbound takes traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum InboundState {
    /// It does.
    #[default]
    Ready,
    /// Not now.
    NotReady,
    /// It is not part of the service.
    Ignored,
}

impl InboundState {
    fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

/// A health check of the application.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceProbe {
    /// Between checks, such as `10s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// Of one check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Failures until unhealthy.
    #[serde(alias = "unhealthy_threshold", skip_serializing_if = "Option::is_none")]
    pub unhealthy_threshold: Option<u32>,
    /// Successes until healthy.
    #[serde(alias = "healthy_threshold", skip_serializing_if = "Option::is_none")]
    pub healthy_threshold: Option<u32>,
    /// TCP connect, the only way to check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
}

/// A TCP connect check: no settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpProbe {}

/// A declared outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outbound {
    /// Local address; empty means 127.0.0.1.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Local port.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u32,
    /// Where it leads.
    #[serde(alias = "backend_ref", skip_serializing_if = "Option::is_none")]
    pub backend_ref: Option<BackendRef>,
}

/// Reference to a destination of a declared outbound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackendRef {
    /// `MeshService`, `MeshExternalService` or `MeshMultiZoneService`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Display name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Port value of the destination.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u32,
    /// Labels instead of a name.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Delegated gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    /// Tags, `kuma.io/service` among them.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub tags: Labels,
    /// Always delegated.
    #[serde(rename = "type", skip_serializing_if = "GatewayType::is_delegated")]
    pub kind: GatewayType,
}

/// Type of a gateway; the built-in one does not exist any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatewayType {
    /// Someone else's gateway with a proxy beside it.
    #[default]
    #[serde(rename = "DELEGATED")]
    Delegated,
}

impl GatewayType {
    #[expect(clippy::unused_self, reason = "serde's predicate takes the value")]
    fn is_delegated(&self) -> bool {
        true
    }
}

/// Redirection of the application's traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransparentProxying {
    /// Inbound port, 0 is off.
    #[serde(alias = "redirect_port_inbound", skip_serializing_if = "is_zero")]
    pub redirect_port_inbound: u32,
    /// Outbound port, 0 is off.
    #[serde(alias = "redirect_port_outbound", skip_serializing_if = "is_zero")]
    pub redirect_port_outbound: u32,
    /// Services (label `kuma.io/service`) reachable by address; `*` is all.
    #[serde(alias = "direct_access_services", skip_serializing_if = "Vec::is_empty")]
    pub direct_access_services: Vec<String>,
    /// Address families.
    #[serde(alias = "ip_family_mode", skip_serializing_if = "IpFamilyMode::is_unspecified")]
    pub ip_family_mode: IpFamilyMode,
    /// What may be reached; absent is everything, empty is nothing.
    #[serde(alias = "reachable_backends", skip_serializing_if = "Option::is_none")]
    pub reachable_backends: Option<ReachableBackends>,
}

/// Address families of the redirection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpFamilyMode {
    /// As `DualStack`.
    #[default]
    UnSpecified,
    /// Both.
    DualStack,
    /// IPv4 only.
    IPv4,
    /// IPv6 too.
    IPv6,
}

impl IpFamilyMode {
    fn is_unspecified(&self) -> bool {
        *self == Self::UnSpecified
    }
}

/// Destinations that a proxy may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReachableBackends {
    /// One per destination or selector.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<ReachableRef>,
}

/// One reachable destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReachableRef {
    /// Kind of the destination.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Display name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// One port only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// Labels instead of a name.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// Envoy's admin API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Admin {
    /// Its port.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u32,
}

/// A listener of a zone proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZoneListener {
    /// Ingress or egress.
    #[serde(rename = "type", skip_serializing_if = "ZoneListenerType::is_unspecified")]
    pub kind: ZoneListenerType,
    /// Listening address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Listening port.
    #[serde(skip_serializing_if = "is_zero")]
    pub port: u32,
    /// Section name; empty means the port number.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it takes traffic.
    #[serde(skip_serializing_if = "ZoneListenerState::is_ready")]
    pub state: ZoneListenerState,
}

impl ZoneListener {
    /// Name, or the port number as text.
    pub fn section(&self) -> String {
        if self.name.is_empty() { self.port.to_string() } else { self.name.clone() }
    }
}

/// Type of a zone proxy listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZoneListenerType {
    /// Not given: refused by validation.
    #[default]
    Unspecified,
    /// Traffic from other zones.
    ZoneIngress,
    /// Traffic to the outside.
    ZoneEgress,
}

impl ZoneListenerType {
    fn is_unspecified(&self) -> bool {
        *self == Self::Unspecified
    }
}

/// State of a zone proxy listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZoneListenerState {
    /// Takes traffic.
    #[default]
    Ready,
    /// Does not.
    NotReady,
}

impl ZoneListenerState {
    fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn networking_schema() -> Schema {
    let inbound = object([
        opt("port", unsigned()),
        opt("servicePort", unsigned()),
        opt("serviceAddress", text()),
        opt("address", text()),
        opt("health", object([opt("ready", Schema::Bool)])),
        opt(
            "serviceProbe",
            object([
                opt("interval", Schema::Duration),
                opt("timeout", Schema::Duration),
                opt("unhealthyThreshold", unsigned()),
                opt("healthyThreshold", unsigned()),
                opt("tcp", object([])),
            ]),
        ),
        opt("state", one_of(["Ready", "NotReady", "Ignored"])),
        opt("name", text()),
        opt("protocol", text()),
    ]);
    let outbound = object([
        opt("address", text()),
        opt("port", unsigned()),
        opt(
            "backendRef",
            object([opt("kind", text()), opt("name", text()), opt("port", unsigned()), opt("labels", Schema::Labels)]),
        ),
    ]);
    let reachable = object([
        opt("kind", text()),
        opt("name", text()),
        opt("namespace", text()),
        opt("port", unsigned()),
        opt("labels", Schema::Labels),
    ]);
    let redirection = object([
        opt("redirectPortInbound", unsigned()),
        opt("redirectPortOutbound", unsigned()),
        opt("directAccessServices", list(text())),
        opt("ipFamilyMode", one_of(["UnSpecified", "DualStack", "IPv4", "IPv6"])),
        opt("reachableBackends", object([opt("refs", list(reachable))])),
    ]);
    let listener = object([
        opt("type", one_of(["Unspecified", "ZoneIngress", "ZoneEgress"])),
        opt("address", text()),
        opt("port", unsigned()),
        opt("name", text()),
        opt("state", one_of(["Ready", "NotReady"])),
    ]);
    object([
        opt("address", text()),
        opt("gateway", object([opt("tags", Schema::Labels), opt("type", one_of(["DELEGATED"]))])),
        opt("inbound", list(inbound)),
        opt("outbound", list(outbound)),
        opt("transparentProxying", redirection),
        opt("admin", object([opt("port", unsigned())])),
        opt("listeners", list(listener)),
    ])
}

impl Spec for Dataplane {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::Dataplane,
        name: "Dataplane",
        path: "dataplanes",
        alias: None,
        cli: Some("dataplane"),
        display: "Dataplane",
        display_plural: "Dataplanes",
        short: Some("dp"),
        scope: Scope::Mesh,
        shape: Shape::Flat,
        sync: Sync::ZoneToGlobal,
        role: Role::Proxy,
        has_status: false,
        insight: Some(Kind::DataplaneInsight),
    };
    fn schema() -> Option<Schema> {
        Some(object([opt("networking", networking_schema())]))
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        validate::spec(self, at, out);
    }
}
