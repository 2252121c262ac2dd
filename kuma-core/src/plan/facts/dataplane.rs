//! Projection of a Dataplane: only what matching, endpoints and plans read, addresses resolved.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use crate::{
    ir::Protocol,
    kri::Kri,
    meta::{Labels, label},
    registry::Kind,
    resource::{Key, Resource},
    resources::{Dataplane, Inbound, IpFamilyMode, ReachableRef, TransparentProxying, ZoneListener, ZoneListenerType},
};

use crate::plan::DestinationKind;

/// Port of an inbound that stands for "no service port"; such an inbound gets no listener.
pub const SERVICELESS_PORT: u16 = 49151;

/// Addresses of the DNS names that Dataplanes carry instead of an IP. Filled by whoever asks DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(pub BTreeMap<Arc<str>, Arc<str>>);

impl Names {
    /// The IP of a host: itself if it is one, else what DNS said; `None` if nobody knows.
    pub fn resolve(&self, host: &str) -> Option<Arc<str>> {
        if host.parse::<IpAddr>().is_ok() { Some(host.into()) } else { self.0.get(host).cloned() }
    }
}

/// Address and port of a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenAt {
    /// IP address.
    pub address: Arc<str>,
    /// Port.
    pub port: u16,
}

impl std::fmt::Display for ListenAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.address.contains(':') {
            write!(f, "[{}]:{}", self.address, self.port)
        } else {
            write!(f, "{}:{}", self.address, self.port)
        }
    }
}

/// An inbound, without the proxy's own address: equal for all replicas of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InboundFacts {
    /// Name, or the port number as text.
    pub section: Arc<str>,
    /// Listening address, if it is not the proxy's own.
    pub address: Option<Arc<str>>,
    /// Listening port.
    pub port: u16,
    /// Address of the application, if it is not the proxy's own.
    pub application: Option<Arc<str>>,
    /// Port of the application.
    pub application_port: u16,
    /// Protocol; unknown if nothing was said.
    pub protocol: Protocol,
}

impl InboundFacts {
    /// Where it listens, with the proxy's own address filled in.
    pub fn listen(&self, own: &Arc<str>) -> ListenAt {
        ListenAt { address: self.address.clone().unwrap_or_else(|| own.clone()), port: self.port }
    }

    /// It stands for "no service port": no listener, no endpoint.
    pub fn serviceless(&self) -> bool {
        self.port == SERVICELESS_PORT
    }
}

/// A listener of a zone proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ZoneListenerFacts {
    /// Name, or the port number as text.
    pub section: Arc<str>,
    /// Where it listens.
    pub at: ListenAt,
    /// It is an egress, else an ingress.
    pub egress: bool,
}

/// A declared outbound.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeclaredOutbound {
    /// Where it listens.
    pub at: ListenAt,
    /// Where it leads; `None` if the reference is missing or of a kind that does not exist any more.
    pub target: Option<DeclaredTarget>,
}

/// What a declared outbound refers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeclaredTarget {
    /// Kind of the destination.
    pub kind: DestinationKind,
    /// Labels that it must have.
    pub labels: Labels,
    /// Port number, as written; `None` if not given.
    pub port: Option<u32>,
}

/// Transparent proxying as the Dataplane describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredRedirect {
    /// Inbound port, 0 is off.
    pub inbound_port: u16,
    /// Outbound port, 0 is off.
    pub outbound_port: u16,
    /// Address families.
    pub families: IpFamilyMode,
    /// Services (label `kuma.io/service`) reachable by address; `*` is all.
    pub direct_access: Arc<[String]>,
    /// What may be reached; `None` is everything.
    pub reachable: Option<Arc<[ReachableRef]>>,
}

/// What plans read of a Dataplane. Equal facts mean that nothing needs to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataplaneFacts {
    /// Where it is stored.
    pub key: Key,
    /// Its KRI.
    pub kri: Kri,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// `networking.address`, resolved to an IP.
    pub address: Arc<str>,
    /// Inbounds in declared order, serviceless ones too.
    pub inbounds: Arc<[Arc<InboundFacts>]>,
    /// Whether each inbound, by position, takes part in endpoints.
    pub ready: Arc<[bool]>,
    /// Zone proxy listeners.
    pub listeners: Arc<[ZoneListenerFacts]>,
    /// It sits beside a gateway of someone else's.
    pub gateway: bool,
    /// Declared outbounds.
    pub declared: Arc<[DeclaredOutbound]>,
    /// Transparent proxying, if the resource says anything about it.
    pub redirect: Option<Arc<DeclaredRedirect>>,
}

impl DataplaneFacts {
    /// Facts of a Dataplane; `None` while its address is not known (it then takes no part in the mesh).
    pub fn of(dataplane: &Resource<Dataplane>, names: &Names) -> Option<Self> {
        let networking = dataplane.spec().networking.as_ref()?;
        let address = names.resolve(&networking.address)?;
        let redirect = networking.transparent_proxying.as_ref().map(|t| Arc::new(declared_redirect(t)));
        Some(Self {
            key: Key::new(Kind::Dataplane, dataplane.meta.mesh.clone(), dataplane.meta.name.clone()),
            kri: Kri::with_short("dp", &dataplane.meta),
            labels: dataplane.meta.labels.clone(),
            inbounds: networking.inbound.iter().map(|i| Arc::new(inbound(i))).collect(),
            ready: networking.inbound.iter().map(Inbound::healthy).collect(),
            listeners: networking.listeners.iter().filter_map(|l| zone_listener(l, &address, names)).collect(),
            gateway: networking.gateway.is_some(),
            declared: networking.outbound.iter().map(declared_outbound).collect(),
            redirect,
            address,
        })
    }

    /// Name as the author wrote it: label `kuma.io/display-name`, else the storage name.
    pub fn display_name(&self) -> &str {
        self.labels.get(label::DISPLAY_NAME).map_or(&*self.key.name, String::as_str)
    }

    /// Value of a label, or empty.
    pub fn label(&self, key: &str) -> &str {
        self.labels.get(key).map_or("", String::as_str)
    }

    /// Where each inbound listens, in declared order.
    pub fn inbound_addresses(&self) -> impl Iterator<Item = (&Arc<InboundFacts>, ListenAt)> {
        self.inbounds.iter().map(|i| (i, i.listen(&self.address)))
    }

    /// Inbounds that take traffic, serviceless ones left out.
    pub fn ready_inbounds(&self) -> impl Iterator<Item = &Arc<InboundFacts>> {
        self.inbounds.iter().zip(self.ready.iter()).filter(|(i, ready)| **ready && !i.serviceless()).map(|(i, _)| i)
    }
}

fn text(value: &str) -> Option<Arc<str>> {
    if value.is_empty() { None } else { Some(value.into()) }
}

/// Ports are checked on write; one that does not fit is treated as absent.
fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(0)
}

fn inbound(inbound: &Inbound) -> InboundFacts {
    let address = text(&inbound.address);
    InboundFacts {
        section: inbound.section().into(),
        port: port(inbound.port),
        application: text(&inbound.service_address).or_else(|| address.clone()),
        application_port: port(if inbound.service_port == 0 { inbound.port } else { inbound.service_port }),
        protocol: Protocol::parse(&inbound.protocol),
        address,
    }
}

fn zone_listener(listener: &ZoneListener, own: &Arc<str>, names: &Names) -> Option<ZoneListenerFacts> {
    let address = if listener.address.is_empty() { own.clone() } else { names.resolve(&listener.address)? };
    Some(ZoneListenerFacts {
        section: listener.section().into(),
        at: ListenAt { address, port: port(listener.port) },
        egress: listener.kind == ZoneListenerType::ZoneEgress,
    })
}

fn declared_outbound(outbound: &crate::resources::Outbound) -> DeclaredOutbound {
    let address = text(&outbound.address).unwrap_or_else(|| "127.0.0.1".into());
    let target = outbound.backend_ref.as_ref().and_then(|r| {
        let labels = if r.labels.is_empty() {
            Labels::from([(label::DISPLAY_NAME.to_owned(), r.name.clone())])
        } else {
            r.labels.clone()
        };
        Some(DeclaredTarget { kind: DestinationKind::by_name(&r.kind)?, labels, port: (r.port != 0).then_some(r.port) })
    });
    DeclaredOutbound { at: ListenAt { address, port: port(outbound.port) }, target }
}

fn declared_redirect(proxying: &TransparentProxying) -> DeclaredRedirect {
    DeclaredRedirect {
        inbound_port: port(proxying.redirect_port_inbound),
        outbound_port: port(proxying.redirect_port_outbound),
        families: proxying.ip_family_mode,
        direct_access: proxying.direct_access_services.clone().into(),
        reachable: proxying.reachable_backends.as_ref().map(|r| r.refs.clone().into()),
    }
}
