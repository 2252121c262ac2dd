//! Which outbounds a proxy has: those that it declares, or every address of the mesh that it may reach.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    DataplaneFacts, DeclaredOutbound, DeclaredTarget, Destination, DestinationKind, Destinations, ListenAt, NameRule,
    ProxyFacts, labels_match,
};
use crate::{
    ir::Listen,
    kri::Kri,
    meta::{Labels, label},
    resources::ReachableRef,
};

/// An outbound of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboundRef {
    /// KRI of the destination with the section as it was referred to: names listener and cluster.
    pub destination: Kri,
    /// Where it listens.
    pub listen: Listen,
}

/// Everything that the outbounds of a proxy depend on, besides the destinations themselves. Equal inputs, equal
/// outbounds: proxies share one list by these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReachInputs {
    /// What is declared, where it is declared.
    Declared(Arc<[DeclaredOutbound]>),
    /// Every virtual address of what may be reached.
    Addresses {
        /// `bind_to_port` of the listeners.
        bind: Option<bool>,
        /// What may be reached; `None` is everything.
        limits: Option<Limits>,
        /// Virtual addresses that the proxy listens on itself, sorted: it does not reach these.
        own: Vec<ListenAt>,
    },
}

/// What a proxy with redirection may reach: what it declares, else what it refers to, else everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    declared: Vec<DeclaredTarget>,
    refs: Option<Vec<Ask>>,
}

/// Destinations that a reference means, whatever proxy it was written for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Ask {
    kind: DestinationKind,
    labels: Labels,
    port: Option<u32>,
}

impl ReachInputs {
    /// Inputs of a proxy. `destinations` only tell which addresses are virtual.
    pub fn of(proxy: &ProxyFacts, destinations: &Destinations) -> Self {
        let (dataplane, traits) = (&*proxy.dataplane, &proxy.traits);
        if !traits.redirected && !traits.bind_outbounds {
            return Self::Declared(dataplane.declared.clone());
        }
        let mut own: Vec<ListenAt> = dataplane
            .inbound_addresses()
            .map(|(_, at)| at)
            .filter(|at| destinations.at(&at.address).next().is_some())
            .collect();
        own.sort();
        own.dedup();
        Self::Addresses {
            bind: (traits.redirected && !traits.bind_outbounds).then_some(false),
            limits: dataplane.redirect.is_some().then(|| Limits::of(dataplane)),
            own,
        }
    }

    /// Whether the outbounds may look different with this destination and without it.
    pub fn about(&self, destination: &Destination) -> bool {
        match self {
            Self::Declared(outbounds) => {
                outbounds.iter().filter_map(|o| o.target.as_ref()).any(|t| means(t.kind, &t.labels, destination))
            }
            Self::Addresses { limits: None | Some(Limits { refs: None, .. }), .. } => true,
            Self::Addresses { limits: Some(Limits { declared, refs: Some(refs) }), .. } => {
                declared.iter().any(|t| means(t.kind, &t.labels, destination))
                    || refs.iter().any(|r| means(r.kind, &r.labels, destination))
            }
        }
    }
}

fn means(kind: DestinationKind, labels: &Labels, destination: &Destination) -> bool {
    kind == destination.kind && labels_match(labels, &destination.labels, &destination.name, NameRule::OrStorageName)
}

impl Limits {
    fn of(dataplane: &DataplaneFacts) -> Self {
        let refs = dataplane.redirect.as_ref().and_then(|r| r.reachable.as_ref());
        Self {
            declared: dataplane.declared.iter().filter_map(|d| d.target.clone()).collect(),
            refs: refs.map(|refs| refs.iter().filter_map(|r| Ask::of(r, dataplane)).collect()),
        }
    }

    /// The ports; `None` is all.
    fn ports(&self, destinations: &Destinations) -> Option<BTreeSet<Kri>> {
        let declared: BTreeSet<Kri> = self
            .declared
            .iter()
            .filter_map(|t| Some(ports_of(destinations.oldest(t.kind, &t.labels)?, t.port)))
            .flatten()
            .collect();
        if !declared.is_empty() {
            return Some(declared);
        }
        Some(self.refs.as_ref()?.iter().flat_map(|ask| ask.ports(destinations)).collect())
    }
}

impl Ask {
    fn of(reference: &ReachableRef, dataplane: &DataplaneFacts) -> Option<Self> {
        let kind = DestinationKind::by_name(&reference.kind)?;
        let labels =
            if reference.labels.is_empty() { by_name(kind, reference, dataplane) } else { reference.labels.clone() };
        Some(Self { kind, labels, port: reference.port })
    }

    fn ports(&self, destinations: &Destinations) -> Vec<Kri> {
        let found = destinations.matching(self.kind, &self.labels, NameRule::OrStorageName);
        found.flat_map(|d| ports_of(d, self.port)).collect()
    }
}

/// Outbounds of a proxy, sorted by name, then by address.
pub fn reach(inputs: &ReachInputs, destinations: &Destinations) -> Vec<OutboundRef> {
    let mut out = match inputs {
        ReachInputs::Declared(outbounds) => declared(outbounds, destinations),
        ReachInputs::Addresses { bind, limits, own } => match limits.as_ref().and_then(|l| l.ports(destinations)) {
            None => destinations.iter().flat_map(|d| by_address(d, |_| true, *bind, own)).collect(),
            Some(ports) => {
                let mut found: BTreeMap<(DestinationKind, &Arc<str>), &Arc<Destination>> = BTreeMap::new();
                for destination in ports.iter().filter_map(|kri| destinations.get(kri)) {
                    found.insert((destination.kind, &destination.name), destination);
                }
                found.values().flat_map(|d| by_address(d, |kri| ports.contains(kri), *bind, own)).collect()
            }
        },
    };
    out.sort();
    out.dedup();
    out
}

/// Ports that a proxy may reach, sorted by name, whether it listens for them or not: what previews show.
pub fn reachable_ports(dataplane: &DataplaneFacts, destinations: &Destinations) -> BTreeSet<Kri> {
    // Declared outbounds count here with and without a redirect.
    let limits = Limits::of(dataplane);
    let limits = Limits { refs: limits.refs.filter(|_| dataplane.redirect.is_some()), ..limits };
    limits.ports(destinations).unwrap_or_else(|| destinations.iter().flat_map(|d| ports_of(d, None)).collect())
}

fn declared(outbounds: &[DeclaredOutbound], destinations: &Destinations) -> Vec<OutboundRef> {
    let outbound = |at: &ListenAt, target: &DeclaredTarget| {
        let destination = destinations.oldest(target.kind, &target.labels)?;
        // The section is what the reference says, also where the port has a name.
        let section = target.port.map(|p| p.to_string()).unwrap_or_default();
        destination.port(&section)?;
        Some(OutboundRef {
            destination: destination.kri.section(section),
            listen: Listen { address: at.address.clone(), port: at.port, bind: None },
        })
    };
    outbounds.iter().filter_map(|d| outbound(&d.at, d.target.as_ref()?)).collect()
}

/// Every virtual address of the ports of a destination that the proxy may reach.
fn by_address(
    destination: &Destination,
    reachable: impl Fn(&Kri) -> bool,
    bind: Option<bool>,
    own: &[ListenAt],
) -> Vec<OutboundRef> {
    let mut out = Vec::new();
    for port in destination.ports.iter() {
        let kri = destination.kri.section(port.section.clone());
        if !reachable(&kri) {
            continue;
        }
        for vip in destination.vips.iter() {
            let listen = Listen { address: vip.clone(), port: port.number, bind };
            if !own.contains(&ListenAt { address: vip.clone(), port: port.number }) {
                out.push(OutboundRef { destination: kri.clone(), listen });
            }
        }
    }
    out
}

/// The port with this number, or all ports if there is none or the destination does not have it.
fn ports_of(destination: &Destination, port: Option<u32>) -> Vec<Kri> {
    let one = port.and_then(|p| destination.port(&p.to_string()));
    match one {
        Some(port) => vec![destination.kri.section(port.section.clone())],
        None => destination.ports.iter().map(|p| destination.kri.section(p.section.clone())).collect(),
    }
}

/// Labels of a destination that is referred to by name. A MeshService may be named as its Kubernetes Service was once
/// written, `<name>_<namespace>_svc_<port>`.
fn by_name(kind: DestinationKind, reference: &ReachableRef, dataplane: &DataplaneFacts) -> Labels {
    let mut name = reference.name.as_str();
    let mut namespace = reference.namespace.as_str();
    let parts: Vec<&str> = name.split('_').collect();
    if let (DestinationKind::MeshService, [service, in_namespace, "svc", port]) = (kind, &*parts)
        && port.parse::<u16>().is_ok()
    {
        (name, namespace) = (*service, *in_namespace);
    }
    if namespace.is_empty() {
        namespace = dataplane.label(label::NAMESPACE);
    }
    let mut labels = Labels::from([(label::DISPLAY_NAME.to_owned(), name.to_owned())]);
    if !namespace.is_empty() {
        labels.insert(label::NAMESPACE.to_owned(), namespace.to_owned());
    }
    labels
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        plan::{
            Features, NodeFacts,
            fixture::{dataplane, mesh, stored},
        },
        resources::MeshService,
    };

    fn service(name: &str, number: u8, extra: &[(&str, &str)]) -> crate::resource::AnyResource {
        let document = json!({
            "name": name,
            "spec": {"ports": [{"name": "http", "port": 80}, {"port": 81}]},
            "status": {"vips": [{"ip": format!("241.0.0.{number}")}]},
        });
        stored::<MeshService>(document, extra).erase()
    }

    fn reached(networking: Value, extra: &[(&str, &str)], features: Features) -> Vec<String> {
        let shop = [(label::NAMESPACE, "shop"), ("team", "a")];
        let facts = mesh([service("a", 1, &[]), service("b", 2, &shop), service("c", 3, &[("team", "a")])]);
        let proxy = ProxyFacts::new(
            Arc::new(dataplane(json!({}), networking, extra)),
            &NodeFacts { features, ..NodeFacts::default() },
        );
        let of = |o: &OutboundRef| format!("{}_{} {}", o.destination.name, o.destination.section, o.listen.address);
        reach(&ReachInputs::of(&proxy, &facts.destinations), &facts.destinations).iter().map(of).collect()
    }

    fn redirected(reachable: Value) -> Value {
        let mut proxying = json!({"redirectPortInbound": 15006, "redirectPortOutbound": 15001});
        if !reachable.is_null() {
            proxying["reachableBackends"] = json!({"refs": reachable});
        }
        json!({"transparentProxying": proxying, "inbound": [{"port": 1, "protocol": "tcp"}]})
    }

    const ALL: [&str; 6] = [
        "a_81 241.0.0.1",
        "a_http 241.0.0.1",
        "c_81 241.0.0.3",
        "c_http 241.0.0.3",
        "b_81 241.0.0.2",
        "b_http 241.0.0.2",
    ];

    #[test]
    fn declared_outbounds_are_named_as_they_refer() {
        let outbound = |port: u16, reference: Value| json!({"port": port, "backendRef": reference});
        let networking = json!({"outbound": [
            outbound(10, json!({"kind": "MeshService", "name": "a", "port": 80})),
            outbound(12, json!({"kind": "MeshService", "name": "nobody", "port": 80})),
            outbound(13, json!({"kind": "MeshService", "name": "a", "port": 99})),
            outbound(14, json!({"kind": "MeshService", "labels": {"team": "a"}, "port": 81})),
        ]});
        // Of equally old services the first by name is meant.
        assert_eq!(reached(networking, &[], Features::default()), ["a_80 127.0.0.1", "b_81 127.0.0.1"]);
    }

    #[test]
    fn redirection_reaches_every_address_but_the_own() {
        assert_eq!(reached(redirected(Value::Null), &[], Features::default()), ALL);
        let mut own = redirected(Value::Null);
        own["inbound"] = json!([{"address": "241.0.0.1", "port": 80, "protocol": "tcp"}]);
        assert_eq!(reached(own, &[], Features::default()).len(), ALL.len() - 1);
        let bound = Features { bind_outbounds: true, ..Features::default() };
        assert_eq!(reached(json!({"inbound": [{"port": 1}]}), &[], bound), ALL, "by announcement");
    }

    #[test]
    fn references_limit_what_is_reached() {
        let limited = |refs: Value, extra: &[(&str, &str)]| reached(redirected(refs), extra, Features::default());
        let one = |name: &str| json!({"kind": "MeshService", "name": name});
        assert!(limited(json!([]), &[]).is_empty());
        assert_eq!(limited(json!([one("a")]), &[]), ALL[..2]);
        assert_eq!(limited(json!([{"kind": "MeshService", "name": "a", "port": 80}]), &[]), ALL[1..2]);
        assert_eq!(
            limited(json!([{"kind": "MeshService", "name": "a", "port": 7}]), &[]),
            ALL[..2],
            "no such port: all"
        );
        assert_eq!(
            limited(json!([{"kind": "MeshService", "labels": {"team": "a"}, "port": 81}]), &[]),
            [ALL[2], ALL[4]]
        );
        // A name means the proxy's namespace, unless another is given.
        let shop = [(label::NAMESPACE, "shop")];
        assert_eq!(limited(json!([one("b"), one("a")]), &shop), ALL[4..]);
        let given = json!([{"kind": "MeshService", "name": "b", "namespace": "shop"}]);
        assert_eq!(limited(given, &[]), ALL[4..]);
    }

    #[test]
    fn declared_outbounds_limit_before_references_do() {
        let mut networking = redirected(json!([{"kind": "MeshService", "name": "a"}]));
        networking["outbound"] = json!([{"port": 10, "backendRef": {"kind": "MeshService", "name": "c", "port": 80}}]);
        assert_eq!(reached(networking.clone(), &[], Features::default()), ALL[3..4]);
        networking["outbound"][0]["backendRef"]["name"] = json!("nobody");
        assert_eq!(reached(networking, &[], Features::default()), ALL[..2]);
    }
}
