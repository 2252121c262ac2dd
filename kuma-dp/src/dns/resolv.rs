//! The host's nameservers, from `/etc/resolv.conf`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Where the system says whom to ask.
pub const PATH: &str = "/etc/resolv.conf";
/// Resolvers use no more than three.
const MOST: usize = 3;
const DNS: u16 = 53;

/// The nameservers in the text of a resolv.conf, in order; `own` are addresses of our own server, which would ask itself.
pub fn nameservers(text: &str, own: &[SocketAddr]) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()).flatten()
        })
        .filter_map(address)
        .filter(|server| {
            !own.iter().any(|own| {
                own == server || (own.port() == server.port() && own.ip().is_unspecified() && server.ip().is_loopback())
            })
        })
        .take(MOST)
        .collect()
}

fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some((ip, DNS).into());
    }
    // A link-local address with its interface.
    let (ip, interface) = text.split_once('%')?;
    let ip: Ipv6Addr = ip.parse().ok()?;
    let index = interface
        .parse()
        .ok()
        .or_else(|| std::fs::read_to_string(format!("/sys/class/net/{interface}/ifindex")).ok()?.trim().parse().ok())?;
    Some(SocketAddrV6::new(ip, DNS, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_read_in_order() {
        let text = "# nameserver 9.9.9.9\nsearch mesh\nnameserver 10.0.0.2\nnameserver ::1 \nnameserver nonsense\n\
                    nameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let expected: Vec<SocketAddr> = ["10.0.0.2:53", "[::1]:53", "10.0.0.3:53"].map(|a| a.parse().unwrap()).into();
        assert_eq!(nameservers(text, &[]), expected);
        assert_eq!(nameservers("nameserver fe80::1%7", &[])[0].to_string(), "[fe80::1%7]:53");
        assert!(nameservers("", &[]).is_empty());
    }

    #[test]
    fn we_never_ask_ourselves() {
        let text = "nameserver 127.0.0.1\nnameserver 10.0.0.2";
        for own in ["127.0.0.1:53", "0.0.0.0:53"] {
            assert_eq!(nameservers(text, &[own.parse().unwrap()]), ["10.0.0.2:53".parse().unwrap()], "{own}");
        }
        assert_eq!(nameservers(text, &["127.0.0.1:15053".parse().unwrap()]).len(), 2);
    }
}
