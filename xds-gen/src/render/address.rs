//! Addresses: IP and port, Unix sockets, source addresses of redirected traffic.

use std::net::IpAddr;

use super::proto::core::{Address, BindConfig, Pipe, SocketAddress, address, socket_address::PortSpecifier};

/// Source address, IPv4 and IPv6, of connections to the application that the redirection must leave alone.
const UNREDIRECTED: (&str, &str) = ("127.0.0.6", "::6");

/// An IP address (or host name) and a port.
pub(crate) fn socket(host: &str, port: u32) -> Address {
    Address { address: Some(address::Address::SocketAddress(socket_address(host, port))) }
}

/// A Unix socket.
pub(crate) fn pipe(path: &str) -> Address {
    Address { address: Some(address::Address::Pipe(Pipe { path: path.to_owned(), mode: 0 })) }
}

/// Binds the source address that the redirection leaves alone, in the family of the destination.
pub(crate) fn unredirected(ipv6: bool) -> BindConfig {
    let source = if ipv6 { UNREDIRECTED.1 } else { UNREDIRECTED.0 };
    BindConfig { source_address: Some(socket_address(source, 0)), ..Default::default() }
}

/// Where connections to an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// An IP address.
    Ip(IpAddr),
    /// A name that Envoy has to resolve.
    Host,
}

impl Target {
    pub(crate) fn of(address: &str) -> Self {
        address.parse().map_or(Self::Host, Self::Ip)
    }

    /// One of the two addresses that mean this host and that the redirection never touches.
    pub(crate) fn is_loopback(self) -> bool {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip == std::net::Ipv4Addr::LOCALHOST,
            Self::Ip(IpAddr::V6(ip)) => ip == std::net::Ipv6Addr::LOCALHOST,
            Self::Host => false,
        }
    }

    pub(crate) fn is_ipv6(self) -> bool {
        matches!(self, Self::Ip(IpAddr::V6(_)))
    }
}

fn socket_address(host: &str, port: u32) -> SocketAddress {
    SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port)),
        ..Default::default()
    }
}
