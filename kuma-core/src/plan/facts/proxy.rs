//! A connected proxy: its Dataplane together with what it said of itself.

use std::{net::Ipv4Addr, sync::Arc};

use crate::{
    ir::{Own, OwnAdmin},
    sockets,
};

use super::{DataplaneFacts, NodeFacts, Redirect};

/// The part of a proxy that its outbounds and proxy-wide units depend on, besides matched policies and reach.
/// Part of a proxy's class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProxyTraits {
    /// Port of redirected inbound traffic; 0 is off.
    pub redirect_inbound: u16,
    /// Port of redirected outbound traffic; 0 is off.
    pub redirect_outbound: u16,
    /// IPv6 is redirected too.
    pub redirect_ipv6: bool,
    /// Traffic is redirected: listeners are reached through the redirection and do not bind their addresses.
    pub redirected: bool,
    /// Outbound listeners bind the addresses of destinations.
    pub bind_outbounds: bool,
    /// Redirected inbound traffic is to be limited to declared ports.
    pub strict_ports: bool,
    /// `enableReusePort` on inbound listeners.
    pub reuse_port: bool,
    /// The host has IPv6.
    pub ipv6: bool,
    /// kuma-dp answers DNS.
    pub dns: bool,
    /// There is an admin API to put a listener in front of.
    pub admin: bool,
    /// It sits beside a gateway of someone else's.
    pub gateway: bool,
}

/// Everything that a plan knows of one proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyFacts {
    /// Its Dataplane.
    pub dataplane: Arc<DataplaneFacts>,
    /// What shared units depend on.
    pub traits: ProxyTraits,
    /// What belongs to this replica alone.
    pub own: Arc<Own>,
}

impl ProxyFacts {
    /// Facts of a Dataplane whose proxy said `node` of itself.
    pub fn new(dataplane: Arc<DataplaneFacts>, node: &NodeFacts) -> Self {
        let redirect = if node.features.transparent_proxy_in_dataplane_metadata {
            node.redirect.unwrap_or_default()
        } else {
            dataplane.redirect.as_deref().map(Redirect::declared).unwrap_or_default()
        };
        let on = redirect.inbound_port != 0 || redirect.outbound_port != 0;
        // An IPv6 proxy behind a redirection of IPv4 alone is not reached by it.
        let redirected = on && (redirect.ipv6 || dataplane.address.parse::<Ipv4Addr>().is_ok());
        let admin_address = node.admin_loopback().into();
        let traits = ProxyTraits {
            redirect_inbound: redirect.inbound_port,
            redirect_outbound: redirect.outbound_port,
            redirect_ipv6: redirect.ipv6,
            redirected,
            bind_outbounds: node.features.bind_outbounds,
            strict_ports: node.features.strict_inbound_ports,
            reuse_port: node.features.reuse_port,
            ipv6: node.ipv6,
            dns: node.dns_port != 0,
            admin: node.admin_port != 0,
            gateway: dataplane.gateway,
        };
        let own = Own {
            mesh: dataplane.key.mesh.clone(),
            name: dataplane.key.name.clone(),
            address: dataplane.address.clone(),
            labels: dataplane.labels.clone(),
            work_dir: node.work_dir.clone(),
            admin: OwnAdmin {
                port: u32::from(node.admin_port),
                address: admin_address,
                socket_path: node.admin_socket.clone(),
                readiness_port: u32::from(node.readiness_port),
                readiness_socket: if node.features.readiness_unix_socket {
                    sockets::readiness_reporter(&node.work_dir).into()
                } else {
                    "".into()
                },
            },
        };
        Self { dataplane, traits, own: Arc::new(own) }
    }
}
