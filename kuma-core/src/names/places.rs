//! Where things are written to: paths of files, addresses of servers.

use super::is_ip;

/// Schemes that an address may begin with.
const SCHEMES: [&str; 8] = ["ftp://", "tcp://", "udp://", "ws://", "wss://", "http://", "https://", ""];
/// An address is longer than this, and shorter than the next.
const SHORTEST: usize = 3;
const LONGEST: usize = 2083;

/// The path of a file: absolute, as Unix or Windows has it.
pub fn is_file_path(text: &str) -> bool {
    if text.starts_with('/') {
        return !text.contains('\0');
    }
    let mut letters = text.chars();
    letters.next().is_some_and(|drive| drive.is_ascii_alphabetic())
        && letters
            .as_str()
            .strip_prefix(":\\")
            .is_some_and(|rest| !rest.contains(['/', ':', '*', '?', '"', '<', '>', '|', '\r', '\n']))
}

/// The address of a server, with or without a scheme, a user, a port and a path. A bare word is none: without scheme
/// and port there has to be a dot.
pub fn is_url_like(text: &str) -> bool {
    if text.len() <= SHORTEST || text.chars().count() >= LONGEST || text.contains(char::is_whitespace) {
        return false;
    }
    // The empty scheme is the last and always fits.
    let Some((scheme, rest)) = SCHEMES.iter().find_map(|s| Some((*s, text.strip_prefix(s)?))) else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (place, None),
    };
    let port_fits = port.is_none_or(|p| (1..=5).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()));
    let said = !scheme.is_empty() || port.is_some() || host.contains('.');
    port_fits && said && is_host(host)
}

/// An IPv4 address, an IPv6 one in brackets, or a name that no number looks like.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|ip| ip.contains(':') && is_ip(ip));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |l: &str| {
        let ends = [l.chars().next(), l.chars().last()];
        ends.iter().all(|c| c.is_some_and(char::is_alphanumeric)) && l.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    let numeric = name.contains('.') && name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric { is_ip(name) } else { name.split('.').all(label) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute() {
        for good in ["/tmp/logs.txt", "/", "/a//b c", r"C:\logs\a.txt"] {
            assert!(is_file_path(good), "{good}");
        }
        for bad in ["", "#not_valid", "logs.txt", "./a", "/a\0b", r"C:logs", r"C:\a?b", "é:\\a"] {
            assert!(!is_file_path(bad), "{bad}");
        }
    }

    #[test]
    fn addresses_name_a_server() {
        for good in [
            "logging.backend",
            "127.0.0.1:80",
            "[::1]:80",
            "http://x",
            "tcp://x:1",
            "x:99999",
            "logs.example.com:1234",
            "user:secret@logs.example.com/path?q",
            "google.com",
        ] {
            assert!(is_url_like(good), "{good}");
        }
        for bad in [
            "",
            "x",
            "x:0",
            "localhost",
            "/x",
            "/x.y",
            ".x",
            ".x.yz",
            "x.",
            "x_y:1",
            "a b",
            "unix:///x",
            "HTTP://X",
            "1.2.3",
            "1.2.3.256:80",
            "not_valid_url",
            "x:123456",
            "logs.com:",
            "logs..com",
            "[::1",
            "[1.2.3.4]:80",
            "-logs.com",
        ] {
            assert!(!is_url_like(bad), "{bad}");
        }
    }
}
