//! Ports of kuma-dp itself, so that several of them share a machine: a default port that is taken is replaced by a free one, a
//! port that somebody chose is used or refused.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket, sockopt,
    },
};

/// How many ports after the default are tried before the kernel picks one.
const NEIGHBOURS: u16 = 200;

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {cause}; {setting} chooses another port")]
pub struct PortError {
    /// What the port is for.
    pub purpose: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// Flag or variable that sets it.
    pub setting: &'static str,
    /// What the operating system said; no source, since the text says it already.
    pub cause: io::Error,
}

/// A wish for a port.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What for, as in "readiness".
    pub purpose: &'static str,
    /// Flag or variable that sets it.
    pub setting: &'static str,
    /// The port, from 1.
    pub port: u16,
    /// True if somebody chose it: then no other port will do.
    pub fixed: bool,
}

impl Wish {
    /// Tries `bind` with the wished port, then, unless it is fixed, with its neighbours and at last with whatever is free.
    fn grant<T>(self, address: IpAddr, bind: impl Fn(u16) -> io::Result<(u16, T)>) -> Result<(u16, T), PortError> {
        let refused = |cause| PortError {
            purpose: self.purpose,
            address: (address, self.port).into(),
            setting: self.setting,
            cause,
        };
        match bind(self.port) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && !self.fixed => {}
            other => return other.map_err(refused),
        }
        let neighbours = (1..=NEIGHBOURS).filter_map(|n| self.port.checked_add(n));
        let (port, bound) = neighbours.chain([0]).find_map(|port| bind(port).ok()).ok_or_else(|| {
            refused(io::Error::new(io::ErrorKind::AddrInUse, "this port and all others that were tried are in use"))
        })?;
        tracing::info!(purpose = self.purpose, taken = self.port, port, "the default port is in use, using another");
        Ok((port, bound))
    }

    /// A TCP listener.
    pub fn tcp(self, address: IpAddr) -> Result<(u16, TcpListener), PortError> {
        self.grant(address, |port| {
            let listener = listen(SocketAddr::from((address, port)))?;
            Ok((listener.local_addr()?.port(), listener))
        })
    }

    /// A UDP and a TCP socket of one number on each of `addresses` (at least one).
    pub fn udp_and_tcp(self, addresses: &[IpAddr]) -> Result<(u16, Vec<(UdpSocket, TcpListener)>), PortError> {
        let first = addresses.first().copied().unwrap_or(IpAddr::from([127, 0, 0, 1]));
        self.grant(first, |port| {
            let mut port = port;
            let mut bound = Vec::with_capacity(addresses.len());
            for address in addresses {
                let tcp = listen(SocketAddr::from((*address, port)))?;
                port = tcp.local_addr()?.port();
                let udp = bind_udp(SocketAddr::from((*address, port)))?;
                bound.push((udp, tcp));
            }
            Ok((port, bound))
        })
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = if needs_separation(address) {
        let socket = separate(address, SockType::Stream)?;
        nix::sys::socket::listen(&socket, Backlog::new(128)?)?;
        TcpListener::from(socket)
    } else {
        TcpListener::bind(address)?
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = if needs_separation(address) {
        UdpSocket::from(separate(address, SockType::Datagram)?)
    } else {
        UdpSocket::bind(address)?
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// On Linux a wildcard IPv6 socket takes IPv4 as well, and would collide with the IPv4 one of the same number.
fn needs_separation(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn separate(address: SocketAddr, kind: SockType) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    if kind == SockType::Stream {
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    bind_raw(&socket, address)?;
    Ok(socket)
}

fn bind_raw(socket: &OwnedFd, address: SocketAddr) -> nix::Result<()> {
    match address {
        SocketAddr::V4(v4) => bind(socket.as_raw_fd(), &SockaddrIn::from(v4)),
        SocketAddr::V6(v6) => bind(socket.as_raw_fd(), &SockaddrIn6::from(v6)),
    }
}

/// Holds `address` for somebody else of this user who binds it with SO_REUSEPORT (Envoy does, for listeners), while
/// everybody who looks whether it is free finds it taken.
#[derive(Debug)]
pub struct Reservation {
    /// What is held.
    pub address: SocketAddr,
    _socket: OwnedFd,
}

/// Reserves `port` on `address`, or one of the neighbours if that is taken; `None` if that cannot be done here.
pub fn reserve(address: IpAddr, port: u16) -> Option<Reservation> {
    for port in (0..=NEIGHBOURS).filter_map(|n| port.checked_add(n)) {
        match reserve_one((address, port).into()) {
            Err(Errno::EADDRINUSE) => {}
            // Any other error is about the address: it is not one of this host, say.
            other => return other.ok(),
        }
    }
    None
}

fn reserve_one(address: SocketAddr) -> nix::Result<Reservation> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind_raw(&socket, address)?;
    // After the bind: it must fail if the port is in use in any way, and only then let others join.
    setsockopt(&socket, sockopt::ReusePort, &true)?;
    Ok(Reservation { address, _socket: socket })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn wish(port: u16, fixed: bool) -> Wish {
        Wish { purpose: "readiness", setting: "KUMA_READINESS_PORT", port, fixed }
    }

    #[test]
    fn a_default_port_gives_way_and_a_chosen_one_does_not() {
        let taken = TcpListener::bind((HERE, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let (other, listener) = wish(port, false).tcp(HERE).unwrap();
        assert_ne!(other, port);
        assert_eq!(listener.local_addr().unwrap().port(), other);

        let error = wish(port, true).tcp(HERE).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on 127.0.0.1:{port} for readiness: ")), "{error}");
        assert!(error.contains("KUMA_READINESS_PORT"), "{error}");

        drop(taken);
        assert_eq!(wish(port, true).tcp(HERE).unwrap().0, port);
    }

    #[test]
    fn dns_needs_both_protocols_on_one_number() {
        let taken = UdpSocket::bind((HERE, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let (other, sockets) = wish(port, false).udp_and_tcp(&[HERE]).unwrap();
        assert_ne!(other, port);
        let (udp, tcp) = &sockets[0];
        assert_eq!(udp.local_addr().unwrap().port(), other);
        assert_eq!(tcp.local_addr().unwrap().port(), other);
    }

    #[test]
    fn both_families_get_the_same_number_on_every_address() {
        let everywhere = [Ipv4Addr::UNSPECIFIED.into(), std::net::Ipv6Addr::UNSPECIFIED.into()];
        let (port, sockets) = wish(20_153, false).udp_and_tcp(&everywhere).unwrap();
        assert!(sockets.iter().all(|(udp, tcp)| {
            udp.local_addr().unwrap().port() == port && tcp.local_addr().unwrap().port() == port
        }));
    }

    #[test]
    fn an_address_of_another_host_is_not_reserved() {
        assert!(reserve([192, 0, 2, 1].into(), 9901).is_none());
    }

    #[test]
    fn a_reservation_lets_reuseport_in_and_keeps_the_curious_out() {
        let free = TcpListener::bind((HERE, 0)).unwrap().local_addr().unwrap().port();
        let held = reserve(HERE, free).unwrap();
        assert_eq!(held.address.port(), free);
        assert_ne!(reserve(HERE, free).unwrap().address.port(), free, "held ports are not handed out twice");
        assert!(TcpListener::bind(held.address).is_err());

        let envoy = socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap();
        setsockopt(&envoy, sockopt::ReusePort, &true).unwrap();
        bind_raw(&envoy, held.address).unwrap();
    }
}
