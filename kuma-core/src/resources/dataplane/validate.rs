//! Rules of Dataplane.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    BackendRef, Dataplane, Gateway, Inbound, Networking, Outbound, ReachableRef, ServiceProbe, ZoneListener,
    ZoneListenerType,
};
use crate::{
    duration::GoDuration,
    names,
    validate::{Path, Violations, text},
};

const PORT: &str = "port must be in the range [1, 65535]";
const IP: &str = "address has to be valid IP address";
const DESTINATION_KINDS: [&str; 3] = ["MeshExternalService", "MeshMultiZoneService", "MeshService"];
const LOCALHOST: &str = "127.0.0.1";

pub(super) fn spec(spec: &Dataplane, at: &Path, out: &mut Violations) {
    let at = at.field("networking");
    let Some(networking) = &spec.networking else { return out.add(&at, text::DEFINED) };
    admin(networking, &at, out);
    if let Some(gateway) = &networking.gateway {
        if !networking.inbound.is_empty() {
            out.add(&at.field("inbound"), "inbound cannot be defined for delegated gateways");
        }
        if !networking.listeners.is_empty() {
            out.add(&at.field("listeners"), "listeners cannot be defined for delegated gateways");
        }
        tags(gateway, &at.field("gateway").field("tags"), out);
        parts(networking, &at, out);
    } else {
        parts(networking, &at, out);
        listeners(networking, &at.field("listeners"), out);
    }
}

/// What both kinds of proxies have.
fn parts(networking: &Networking, at: &Path, out: &mut Violations) {
    address(&networking.address, &at.field("address"), out);
    for (i, item) in networking.inbound.iter().enumerate() {
        inbound(item, &networking.address, &at.field("inbound").index(i), out);
    }
    for (i, item) in networking.outbound.iter().enumerate() {
        outbound(item, &at.field("outbound").index(i), out);
    }
    // The path is published with this spelling.
    let at = at.field("transparentProxing").field("reachableBackends").field("refs");
    let backends = networking.transparent_proxying.as_ref().and_then(|t| t.reachable_backends.as_ref());
    for (i, item) in backends.iter().flat_map(|b| &b.refs).enumerate() {
        reachable(item, &at.index(i), out);
    }
}

/// Equal, or one of them stands for all.
fn overlap(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (one.parse::<IpAddr>(), other.parse::<IpAddr>()) else { return false };
    one.is_unspecified() || other.is_unspecified() || one.to_canonical() == other.to_canonical()
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

fn admin(networking: &Networking, at: &Path, out: &mut Violations) {
    let Some(port) = networking.admin.map(|a| a.port).filter(|p| *p != 0) else { return };
    let at = at.field("admin").field("port");
    let taken_by_inbound = networking.inbound.iter().any(|inbound| {
        let listen = or(&inbound.address, &networking.address);
        let service_port = if inbound.service_port == 0 { inbound.port } else { inbound.service_port };
        (inbound.port == port && overlap(listen, LOCALHOST))
            || (service_port == port && overlap(or(&inbound.service_address, listen), LOCALHOST))
    });
    if taken_by_inbound {
        return out.add(&at, "must differ from inbound");
    }
    if networking.outbound.iter().any(|o| o.port == port && overlap(or(&o.address, LOCALHOST), LOCALHOST)) {
        out.add(&at, "must differ from outbound");
    }
}

fn address(address: &str, at: &Path, out: &mut Violations) {
    if address.is_empty() {
        out.add(at, "address can't be empty");
    } else if names::is_unspecified_ip(address) {
        out.add(at, "must not be 0.0.0.0 or ::");
    } else if !names::is_ip(address) && !names::is_domain_name(address) {
        out.add(at, "address has to be valid IP address or domain name");
    }
}

fn port(port: u32, at: &Path, out: &mut Violations) {
    if !(1..=65535).contains(&port) {
        out.add(at, PORT);
    }
}

fn ip(address: &str, at: &Path, out: &mut Violations) {
    if !address.is_empty() && !names::is_ip(address) {
        out.add(at, IP);
    }
}

fn inbound(item: &Inbound, proxy: &str, at: &Path, out: &mut Violations) {
    port(item.port, &at.field("port"), out);
    if item.service_port != 0 {
        port(item.service_port, &at.field("servicePort"), out);
    }
    let service = item.service_address.as_str();
    if !service.is_empty() {
        let at = at.field("serviceAddress");
        if !names::is_ip(service) {
            out.add(&at, "serviceAddress has to be valid IP address");
        }
        let same_port = item.service_port == 0 || item.service_port == item.port;
        if same_port && (service == proxy || service == item.address) {
            out.add(&at, "serviceAddress and servicePort has to differ from address and port");
        }
    }
    ip(&item.address, &at.field("address"), out);
    let protocol = item.protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "" | "grpc" | "http" | "http2" | "tcp" | "tls" | "mysql") {
        let message = format!("has an invalid value {:?}. Allowed values: grpc, http, http2, tcp", item.protocol);
        out.add(&at.field("protocol"), message);
    }
    if let Some(item) = &item.service_probe {
        probe(item, &at.field("serviceProbe"), out);
    }
}

fn probe(probe: &ServiceProbe, at: &Path, out: &mut Violations) {
    for (field, value) in [("interval", &probe.interval), ("timeout", &probe.timeout)] {
        match value.as_ref().map(|v| v.parse::<GoDuration>()) {
            Some(Ok(duration)) if duration.is_positive() => {}
            None => {}
            Some(Ok(_)) => out.add(&at.field(field), "must have a positive value"),
            Some(Err(_)) => out.add(&at.field(field), "must have a valid value"),
        }
    }
    for (field, value) in
        [("unhealthyThreshold", probe.unhealthy_threshold), ("healthyThreshold", probe.healthy_threshold)]
    {
        if value == Some(0) {
            out.add(&at.field(field), "must have a positive value");
        }
    }
}

fn destination_kind(kind: &str, at: &Path, out: &mut Violations) {
    if !DESTINATION_KINDS.contains(&kind) {
        let message = format!("invalid value. Available values are: {}", DESTINATION_KINDS.join(","));
        out.add(&at.field("kind"), message);
    }
}

fn outbound(item: &Outbound, at: &Path, out: &mut Violations) {
    port(item.port, &at.field("port"), out);
    ip(&item.address, &at.field("address"), out);
    let at = at.field("backendRef");
    let Some(BackendRef { kind, name, port: backend_port, labels }) = &item.backend_ref else {
        return out.add(&at, text::DEFINED);
    };
    destination_kind(kind, &at, out);
    if name.is_empty() && labels.is_empty() {
        out.add(&at, "either 'name' or 'labels' should be specified");
    }
    if kind != "MeshExternalService" {
        port(*backend_port, &at.field("port"), out);
    }
}

fn reachable(item: &ReachableRef, at: &Path, out: &mut Violations) {
    destination_kind(&item.kind, at, out);
    let name = at.field("name");
    if !item.name.is_empty()
        && let Some(fault) = names::name_fault(&item.name)
    {
        out.add(&name, fault);
    }
    if item.name.is_empty() && item.labels.is_empty() {
        out.add(&name, "name or labels are required");
    }
    if item.name.is_empty() && !item.namespace.is_empty() {
        out.add(&name, "name is required, when namespace is defined");
    }
    if !item.name.is_empty() && !item.labels.is_empty() {
        out.add(&at.field("labels"), "labels cannot be defined when name is specified");
    }
}

fn listeners(networking: &Networking, at: &Path, out: &mut Violations) {
    let mut sections: BTreeSet<String> = networking.inbound.iter().map(Inbound::section).collect();
    let inbounds: BTreeSet<(&str, u32)> =
        networking.inbound.iter().map(|i| (or(&i.address, &networking.address), i.port)).collect();
    let mut taken: BTreeMap<(&str, u32), ZoneListenerType> = BTreeMap::new();
    for (i, listener) in networking.listeners.iter().enumerate() {
        let at = at.index(i);
        let ZoneListener { kind, address: host, port: number, .. } = listener;
        if *kind == ZoneListenerType::Unspecified {
            out.add(&at.field("type"), "type must be ZoneIngress or ZoneEgress");
        }
        address(host, &at.field("address"), out);
        port(*number, &at.field("port"), out);
        let section = listener.section();
        if !listener.name.is_empty() && sections.contains(&section) {
            out.add(&at.field("name"), format!("name {section:?} must be unique across inbounds and listeners"));
        }
        sections.insert(section);
        if host.is_empty() || *number == 0 {
            continue;
        }
        let socket = (host.as_str(), *number);
        match taken.get(&socket) {
            Some(other) if other == kind => {
                out.add(&at, format!("address:port {host}:{number} is already used by another listener"));
            }
            Some(_) => out.add(&at, format!("address:port {host}:{number} is used by listeners of different types")),
            None => {
                taken.insert(socket, *kind);
            }
        }
        if inbounds.contains(&socket) {
            out.add(&at, format!("address:port {host}:{number} collides with an inbound listener"));
        }
    }
}

fn tags(gateway: &Gateway, at: &Path, out: &mut Violations) {
    const SERVICE: &str = "kuma.io/service";
    const PROTOCOL: &str = "kuma.io/protocol";
    let tags = &gateway.tags;
    if tags.is_empty() {
        return;
    }
    if let Some(protocol) = tags.get(PROTOCOL).filter(|p| *p != "tcp") {
        let message = format!("other values than tcp are not allowed, provided value {protocol:?}");
        out.add(&at.key(PROTOCOL), message);
    }
    let in_value = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
    for (name, value) in tags {
        let key = at.key(name);
        if name.is_empty() {
            out.add(at, "tag name must be non-empty");
        }
        if !name.bytes().all(|b| in_value(b) || b == b'/') {
            out.add(&key, "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores");
        }
        if value.is_empty() {
            out.add(&key, "tag value must be non-empty");
        }
        if !value.bytes().all(in_value) {
            out.add(&key, "tag value must consist of alphanumeric characters, dots, dashes and underscores");
        }
    }
    if !tags.contains_key(SERVICE) {
        out.add(at, format!("mandatory tag {SERVICE:?} is missing"));
    }
}
