//! Which outbounds a proxy has: those that it declares, or every address of the mesh that it may reach.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    DataplaneFacts, DeclaredTarget, Destination, DestinationKind, Destinations, ListenAt, NameRule, ProxyFacts,
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

/// Outbounds of a proxy, sorted by name, then by address.
pub fn reach(proxy: &ProxyFacts, destinations: &Destinations) -> Vec<OutboundRef> {
    let dataplane = &*proxy.dataplane;
    let mut out = if proxy.traits.redirected || proxy.traits.bind_outbounds {
        let bind = (proxy.traits.redirected && !proxy.traits.bind_outbounds).then_some(false);
        by_address(dataplane, destinations, bind)
    } else {
        declared(dataplane, destinations)
    };
    out.sort();
    out.dedup();
    out
}

/// Ports that a proxy may reach, sorted by name, whether it listens for them or not: what previews show.
pub fn reachable_ports(dataplane: &DataplaneFacts, destinations: &Destinations) -> BTreeSet<Kri> {
    // Declared outbounds count here with and without a redirect.
    let declared = declared_ports(dataplane, destinations);
    if !declared.is_empty() {
        return declared;
    }
    reachable(dataplane, destinations).unwrap_or_else(|| destinations.iter().flat_map(|d| ports_of(d, None)).collect())
}

fn declared(dataplane: &DataplaneFacts, destinations: &Destinations) -> Vec<OutboundRef> {
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
    dataplane.declared.iter().filter_map(|d| outbound(&d.at, d.target.as_ref()?)).collect()
}

/// Every virtual address of every destination that the proxy may reach.
fn by_address(dataplane: &DataplaneFacts, destinations: &Destinations, bind: Option<bool>) -> Vec<OutboundRef> {
    let reachable = reachable(dataplane, destinations);
    let own: BTreeSet<ListenAt> = dataplane.inbound_addresses().map(|(_, at)| at).collect();
    let mut out = Vec::new();
    for destination in destinations.iter() {
        for port in destination.ports.iter() {
            let kri = destination.kri.section(port.section.clone());
            if reachable.as_ref().is_some_and(|r| !r.contains(&kri)) {
                continue;
            }
            for vip in destination.vips.iter() {
                if !own.contains(&ListenAt { address: vip.clone(), port: port.number }) {
                    let listen = Listen { address: vip.clone(), port: port.number, bind };
                    out.push(OutboundRef { destination: kri.clone(), listen });
                }
            }
        }
    }
    out
}

/// Ports that a proxy may reach; `None` is all.
fn reachable(dataplane: &DataplaneFacts, destinations: &Destinations) -> Option<BTreeSet<Kri>> {
    let redirect = dataplane.redirect.as_ref()?;
    let declared = declared_ports(dataplane, destinations);
    if !declared.is_empty() {
        return Some(declared);
    }
    let refs = redirect.reachable.as_ref()?;
    Some(refs.iter().flat_map(|r| named(r, dataplane, destinations)).collect())
}

/// Ports that the declared outbounds lead to.
fn declared_ports(dataplane: &DataplaneFacts, destinations: &Destinations) -> BTreeSet<Kri> {
    let targets = dataplane.declared.iter().filter_map(|d| d.target.as_ref());
    let ports = |target: &DeclaredTarget| {
        let destination = destinations.oldest(target.kind, &target.labels)?;
        Some(ports_of(destination, target.port))
    };
    targets.filter_map(ports).flatten().collect()
}

/// The port with this number, or all ports if there is none or the destination does not have it.
fn ports_of(destination: &Destination, port: Option<u32>) -> Vec<Kri> {
    let one = port.and_then(|p| destination.port(&p.to_string()));
    match one {
        Some(port) => vec![destination.kri.section(port.section.clone())],
        None => destination.ports.iter().map(|p| destination.kri.section(p.section.clone())).collect(),
    }
}

fn named(reference: &ReachableRef, dataplane: &DataplaneFacts, destinations: &Destinations) -> Vec<Kri> {
    let Some(kind) = DestinationKind::by_name(&reference.kind) else { return Vec::new() };
    let labels =
        if reference.labels.is_empty() { by_name(kind, reference, dataplane) } else { reference.labels.clone() };
    let found: Vec<&Arc<Destination>> = destinations.matching(kind, &labels, NameRule::OrStorageName).collect();
    found.into_iter().flat_map(|d| ports_of(d, reference.port)).collect()
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
        reach(&proxy, &facts.destinations).iter().map(of).collect()
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
