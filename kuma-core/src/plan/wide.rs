//! The proxy-wide unit: redirection, admin listener, direct access, DNS records.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use super::{DataplaneFacts, Destination, DestinationKind, Destinations, ListenAt, OutboundRef, ProxyTraits};
use crate::{
    ir::{AdminListener, ClusterTuning, DirectAccess, DnsConfig, DnsRecord, DynamicConfig, Passthrough, ProxyWide},
    meta::label,
    policies::{AccessLogs, MeshAccessLog, MeshCircuitBreaker, policy::Policy},
};

/// Seconds that an answer of the built-in DNS server may be kept.
const DNS_TTL: u32 = 30;

/// Everything that the proxy-wide unit depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct WideInputs {
    /// Traits of the proxy.
    pub traits: ProxyTraits,
    /// Other proxies that are reached by address.
    pub direct_access: Vec<ListenAt>,
    /// DNS records and their labels; `None` if the proxy is served none.
    pub dns: Option<Arc<DnsConfig>>,
    /// Access logs of traffic to no destination of the mesh; `None` where no policy says anything.
    pub access_logs: Option<Arc<AccessLogs>>,
}

/// The proxy-wide unit with what policies say about it.
pub fn wide(inputs: &WideInputs) -> ProxyWide {
    let mut out = bare_wide(inputs);
    MeshAccessLog::leaving(inputs.access_logs.as_deref(), &mut out);
    MeshCircuitBreaker::cluster(None, crate::ir::Protocol::Unknown, &mut out.system_tuning);
    out
}

/// The proxy-wide unit before any policy.
pub fn bare_wide(inputs: &WideInputs) -> ProxyWide {
    let traits = &inputs.traits;
    let redirects_outbound = traits.redirect_outbound != 0 && !traits.bind_outbounds;
    let endpoints: Vec<_> = inputs.direct_access.iter().map(|at| (at.address.clone(), at.port)).collect();
    ProxyWide {
        admin: traits.admin.then_some(AdminListener { reuse_port: traits.reuse_port }),
        passthrough: redirects_outbound.then_some(Passthrough {
            outbound_port: traits.redirect_outbound,
            inbound_port: traits.redirect_inbound,
            ipv6: traits.redirect_ipv6,
            reuse_port: traits.reuse_port,
            // Limited to declared ports only where the proxy has an identity to ask others for.
            strict_ports: None,
            logs: Vec::new(),
        }),
        direct_access: (!endpoints.is_empty()).then_some(DirectAccess { endpoints, logs: Vec::new() }),
        dynamic: inputs.dns.as_deref().map(|dns| DynamicConfig { dns: Some(dns.clone()), ipv6: traits.ipv6 }),
        system_tuning: ClusterTuning::default(),
    }
}

/// Inbounds of other proxies that a proxy reaches by their own address, sorted, each once.
pub fn direct_access<'a>(
    dataplane: &DataplaneFacts,
    traits: &ProxyTraits,
    others: impl IntoIterator<Item = &'a Arc<DataplaneFacts>>,
) -> Vec<ListenAt> {
    let Some(redirect) = dataplane.redirect.as_ref().filter(|r| traits.redirected && !r.direct_access.is_empty())
    else {
        return Vec::new();
    };
    let all = redirect.direct_access.iter().any(|s| s == "*");
    let taken: BTreeSet<&ListenAt> = dataplane.declared.iter().map(|d| &d.at).collect();
    let mut out = BTreeSet::new();
    for other in others {
        let service = other.label(label::SERVICE);
        let wanted = all || (!service.is_empty() && redirect.direct_access.iter().any(|s| s == service));
        if wanted && other.key.name != dataplane.key.name {
            out.extend(other.inbound_addresses().map(|(_, at)| at).filter(|at| !taken.contains(at)));
        }
    }
    out.into_iter().collect()
}

/// Whether kuma-dp of a proxy with these traits answers DNS from records of the control plane.
pub fn serves_dns(traits: &ProxyTraits) -> bool {
    traits.redirected && traits.dns && !traits.bind_outbounds
}

/// Hostnames of what is reached, sorted, each with its address.
pub fn hostnames(outbounds: &[OutboundRef], destinations: &Destinations) -> Vec<(Arc<str>, Arc<str>)> {
    let reached: BTreeSet<&Arc<str>> = outbounds.iter().map(|o| &o.listen.address).collect();
    let mut names: BTreeMap<&Arc<str>, (&Arc<Destination>, &Arc<str>)> = BTreeMap::new();
    for address in reached {
        // Hostnames lead to the first address.
        for destination in destinations.at(address).filter(|d| d.vips.first() == Some(address)) {
            for name in destination.hostnames.iter() {
                let known = names.entry(name).or_insert((destination, address));
                if claim(destination) > claim(known.0) {
                    *known = (destination, address);
                }
            }
        }
    }
    names.into_iter().map(|(name, (_, address))| (name.clone(), address.clone())).collect()
}

/// Of several destinations with one hostname the one of higher rank has it; of equal ones, the first by name.
fn claim(destination: &Destination) -> (u8, std::cmp::Reverse<&str>) {
    (name_rank(destination.kind), std::cmp::Reverse(&destination.name))
}

/// DNS records of a proxy with these outbounds; `None` if it is served none.
pub fn dns(
    dataplane: &DataplaneFacts,
    traits: &ProxyTraits,
    outbounds: &[OutboundRef],
    destinations: &Destinations,
) -> Option<DnsConfig> {
    serves_dns(traits)
        .then(|| dns_config(dns_labels(dataplane), hostnames(outbounds, destinations), traits.redirect_ipv6))
}

/// Labels of the metrics of kuma-dp's DNS server.
pub fn dns_labels(dataplane: &DataplaneFacts) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::from([("mesh".to_owned(), dataplane.key.mesh.to_string())]);
    for (key, label) in
        [("k8s_kuma_io_namespace", label::NAMESPACE), ("kuma_io_zone", label::ZONE), ("kuma_workload", label::WORKLOAD)]
    {
        let value = dataplane.label(label);
        if !value.is_empty() {
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    labels
}

/// The body that kuma-dp polls: a record per name, sorted, and the labels of its metrics.
pub fn dns_config(
    extra_labels: BTreeMap<String, String>,
    names: impl IntoIterator<Item = (Arc<str>, Arc<str>)>,
    mapped: bool,
) -> DnsConfig {
    let mut records: Vec<DnsRecord> = names
        .into_iter()
        .map(|(name, ip)| {
            let also = if mapped { ip.parse().ok().map(mapped_form) } else { None };
            DnsRecord { name, ips: std::iter::once(ip).chain(also).collect() }
        })
        .collect();
    records.sort();
    DnsConfig { records: records.into(), ttl: DNS_TTL, extra_labels }
}

/// Of destinations of several kinds with one hostname, the higher takes it.
fn name_rank(kind: DestinationKind) -> u8 {
    match kind {
        DestinationKind::MeshService => 0,
        DestinationKind::MeshExternalService => 1,
        DestinationKind::MeshMultiZoneService => 2,
    }
}

/// An IPv4 address mapped to IPv6, in hex groups: with dots it would be taken for an IPv4 address.
fn mapped_form(ip: Ipv4Addr) -> Arc<str> {
    let [.., high, low] = ip.to_ipv6_mapped().segments();
    format!("::ffff:{high:x}:{low:x}").into()
}
