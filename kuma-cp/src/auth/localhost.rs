//! When a request from the same host counts as the admin.
//!
//! A browser on this host also connects from a loopback address, on behalf of any page that it shows, and so does a
//! reverse proxy on behalf of the whole world. Both are told apart by headers that a page cannot set and that a proxy
//! adds: all conditions must hold.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderValue};

/// Headers that a proxy adds; one that is empty says nothing.
const OF_PROXIES: [&str; 3] = ["forwarded", "x-forwarded-for", "x-real-ip"];

/// Is this a request that a program on this host sent straight to us? `host` is the `Host` header, or `:authority`,
/// byte for byte.
pub fn is_direct(remote: SocketAddr, host: &str, headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get_all(name).into_iter().map(HeaderValue::as_bytes).filter(|v| !v.is_empty());
    let here = is_loopback(remote.ip());
    let forwarded = OF_PROXIES.iter().any(|name| says(name).next().is_some());
    let own_site = says("sec-fetch-site").all(|site| matches!(site, b"same-origin" | b"none"));
    let addressed = authority(host, "80").is_some_and(|(name, _)| is_loopback_name(&name));
    let mut origins = says("origin");
    let same_origin = match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => std::str::from_utf8(origin).is_ok_and(|origin| is_own_origin(origin, host)),
        _ => false,
    };
    here && !forwarded && own_site && addressed && same_origin
}

/// Does a page of this origin come from the very host and port that the request is for?
fn is_own_origin(origin: &str, host: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (page, request) = (authority(rest, default_port), authority(host, default_port));
    page.is_some() && page == request && page.is_some_and(|(name, _)| is_loopback_name(&name))
}

/// The name and the port of `name`, `name:port`, `[address]` or `[address]:port`. `None` for anything else, such as a
/// user, a path or a port out of range.
fn authority<'a>(text: &'a str, default_port: &'a str) -> Option<(String, &'a str)> {
    let (name, port) = if let Some(rest) = text.strip_prefix('[') {
        let (name, rest) = rest.split_once(']')?;
        (name, if rest.is_empty() { default_port } else { rest.strip_prefix(':')? })
    } else {
        // An address of version 6 must stand in brackets, so a second colon is left to the port and refused there.
        text.split_once(':').unwrap_or((text, default_port))
    };
    let in_range = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b));
    if name.is_empty() || !plain || !in_range {
        return None;
    }
    // One spelling for each address.
    let name = name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |a| a.to_canonical().to_string());
    Some((name, port))
}

fn is_loopback_name(name: &str) -> bool {
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(is_loopback)
}

/// A listener for both versions sees addresses of version 4 as mapped ones.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
