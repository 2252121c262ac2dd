//! What may be a name: DNS labels, label keys and values, addresses. The texts are the ones that Kubernetes prints for
//! the same faults, since users and their tools know them.
//!
//! Each check returns the texts of everything that is wrong, in the order in which they are shown.

mod places;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    registry::{Kind, Scope},
    validate::{Path, Violations},
};

pub use places::*;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1123: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const KEY_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const KEY: &str = "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const LABEL_LENGTH: &str = "must be no more than 63 characters";
const SUBDOMAIN_LENGTH: &str = "must be no more than 253 characters";

/// Longest DNS name and longest resource name, in bytes.
pub const MAX_NAME: usize = 253;
/// Longest DNS label and longest label value, in bytes.
pub const MAX_LABEL: usize = 63;

fn is_lower_or_digit(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// `inner` everywhere, `edge` at both ends, at least one byte.
fn framed(text: &str, edge: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => edge(*first) && edge(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

fn label_form(text: &str) -> bool {
    framed(text, is_lower_or_digit, |b| is_lower_or_digit(b) || b == b'-')
}

fn subdomain_form(text: &str) -> bool {
    text.split('.').all(label_form)
}

fn qualified_form(text: &str) -> bool {
    framed(text, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Faults of a DNS-1123 subdomain.
pub fn dns1123_subdomain(text: &str) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if text.len() > MAX_NAME {
        faults.push(SUBDOMAIN_LENGTH);
    }
    if !subdomain_form(text) {
        faults.push(SUBDOMAIN);
    }
    faults
}

/// Faults of a DNS-1123 label.
pub fn dns1123_label(text: &str) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if text.len() > MAX_LABEL {
        faults.push(LABEL_LENGTH);
    }
    if !label_form(text) {
        faults.push(if subdomain_form(text) { "must not contain dots" } else { LABEL_1123 });
    }
    faults
}

/// Faults of a DNS-1035 label.
pub fn dns1035_label(text: &str) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if text.len() > MAX_LABEL {
        faults.push(LABEL_LENGTH);
    }
    if !(label_form(text) && text.as_bytes()[0].is_ascii_lowercase()) {
        faults.push(LABEL_1035);
    }
    faults
}

/// Faults of a label key (`name` or `prefix/name`).
pub fn label_key(key: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let name = match key.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else {
                if prefix.len() > MAX_NAME {
                    faults.push("prefix part must be no more than 253 bytes".to_owned());
                }
                if !subdomain_form(prefix) {
                    faults.push(format!("prefix part {SUBDOMAIN}"));
                }
            }
            name
        }
        _ => return vec![KEY.to_owned()],
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > MAX_LABEL {
        faults.push("name part must be no more than 63 bytes".to_owned());
    }
    if !qualified_form(name) {
        faults.push(KEY_NAME.to_owned());
    }
    faults
}

/// Faults of a label value.
pub fn label_value(value: &str) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if value.len() > MAX_LABEL {
        faults.push("must be no more than 63 bytes");
    }
    if !value.is_empty() && !qualified_form(value) {
        faults.push(VALUE);
    }
    faults
}

/// What a request says about name and mesh, before anything else is known about the object.
pub fn request_meta(scope: Scope, mesh: &str, name: &str, out: &mut Violations) {
    let field = Path::root("name");
    if name.is_empty() {
        out.add(&field, "cannot be empty");
    } else if let Some(fault) = name_fault(name) {
        out.add(&field, fault);
    }
    if scope == Scope::Mesh {
        let field = Path::root("mesh");
        if mesh.is_empty() {
            out.add(&field, "cannot be empty");
        } else if mesh.len() > MAX_NAME {
            out.add(&field, "value length must less or equal 253");
        } else if !mesh.bytes().all(|b| is_lower_or_digit(b) || b"-_.".contains(&b)) {
            out.add(
                &field,
                "invalid characters. Valid characters are numbers, lowercase latin letters and '-', '_', '.' symbols.",
            );
        }
    }
}

/// The first fault of a non-empty resource name: its length, else its characters.
pub fn name_fault(name: &str) -> Option<&'static str> {
    if name.len() > MAX_NAME {
        Some("value length must less or equal 253")
    } else if subdomain_form(name) {
        None
    } else {
        Some(
            "invalid characters. A lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        )
    }
}

/// The rule of a kind for its display name, checked when the object is stored.
pub fn stored_name(kind: Kind, display_name: &str, out: &mut Violations) {
    let field = Path::root("name");
    match kind.name() {
        "Mesh" | "Zone" | "MeshService" | "MeshExternalService" | "MeshMultiZoneService" => {
            let faults = dns1035_label(display_name);
            if !faults.is_empty() {
                out.add(&field, faults.join(", "));
            }
        }
        "Workload" if display_name.len() > MAX_NAME => out.add(&field, "must not be longer than 253 characters"),
        _ => {}
    }
}

/// An IPv4 address without leading zeros, or an IPv6 address without a zone.
pub fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// `0.0.0.0` or `::` in any spelling.
pub fn is_unspecified_ip(text: &str) -> bool {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip == Ipv4Addr::UNSPECIFIED,
        Ok(IpAddr::V6(ip)) => ip == Ipv6Addr::UNSPECIFIED,
        Err(_) => false,
    }
}

/// `address/prefix`; host bits may be set.
pub fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.len() <= 3
        && bits.bytes().all(|b| b.is_ascii_digit())
        && (bits == "0" || !bits.starts_with('0'))
        && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

/// A domain name: labels of 1 to 63 letters, digits, `_` and `-`, none of which begins with `-`; one `.` or `_` may
/// end it; 255 characters at most, dots not counted; not an IP address.
pub fn is_domain_name(text: &str) -> bool {
    if text.is_empty() || text.bytes().filter(|b| *b != b'.').count() > 255 || is_ip(text) {
        return false;
    }
    let body = text.strip_suffix('.').unwrap_or(text);
    body.split('.').all(|label| {
        let bytes = label.as_bytes();
        // One more `_` at the end of a full label is fine only at the very end of the name, which 255 covers.
        (1..=MAX_LABEL).contains(&bytes.len())
            && bytes[0] != b'-'
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'-')
    })
}

/// Decimal number text: optional sign, digits with at most one dot, optional exponent.
pub fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

/// Why a text is no SPIFFE ID, if it is none.
pub fn spiffe_id_fault(id: &str) -> Option<&'static str> {
    if id.is_empty() {
        return Some("cannot be empty");
    }
    let Some(rest) = id.strip_prefix("spiffe://") else { return Some("scheme is missing or invalid") };
    let (domain, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    if domain.is_empty() {
        return Some("trust domain is missing");
    }
    if !domain.bytes().all(|b| is_lower_or_digit(b) || b".-_".contains(&b)) {
        return Some(
            "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores",
        );
    }
    let path = path.strip_prefix('/')?;
    let segments: Vec<&str> = path.split('/').collect();
    for (at, segment) in segments.iter().enumerate() {
        match *segment {
            "" if at + 1 == segments.len() => return Some("path cannot have a trailing slash"),
            "" => return Some("path cannot contain empty segments"),
            "." | ".." => return Some("path cannot contain dot segments"),
            _ if segment.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) => {}
            _ => {
                return Some("path segment characters are limited to letters, numbers, dots, dashes, and underscores");
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_dns() {
        assert!(dns1123_label("a-1").is_empty());
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label("A"), [LABEL_1123]);
        assert_eq!(dns1123_label(&"A".repeat(64)), [LABEL_LENGTH, LABEL_1123]);
        assert_eq!(dns1035_label("1a"), [LABEL_1035]);
        assert_eq!(dns1035_label(""), [LABEL_1035]);
        assert!(dns1035_label("a1").is_empty());
        assert_eq!(dns1123_subdomain("a..b"), [SUBDOMAIN]);
        assert_eq!(dns1123_subdomain(&"a".repeat(254)), [SUBDOMAIN_LENGTH]);
    }

    #[test]
    fn keys_and_values_of_labels() {
        assert!(label_key("kuma.io/mesh").is_empty());
        assert_eq!(label_key("a/b/c"), [KEY]);
        assert_eq!(label_key("/b"), ["prefix part must be non-empty"]);
        assert_eq!(label_key("B/b"), [format!("prefix part {SUBDOMAIN}")]);
        assert_eq!(label_key("a/"), ["name part must be non-empty", KEY_NAME]);
        assert_eq!(label_key(&"a".repeat(64)), ["name part must be no more than 63 bytes"]);
        assert!(label_value("").is_empty());
        assert_eq!(label_value("-a"), [VALUE]);
    }

    #[test]
    fn domain_names() {
        for good in ["a_b", "A", "a-", "1.2", "a.", "a.b_", "localhost"] {
            assert!(is_domain_name(good), "{good}");
        }
        for bad in ["-a", "a..b", "*.a", "", ".", "1.2.3.4", "::1", "a b", &"a".repeat(64)] {
            assert!(!is_domain_name(bad), "{bad}");
        }
    }

    #[test]
    fn addresses_and_ranges() {
        for good in ["1.2.3.4/8", "::1/128", "1.2.3.4/0"] {
            assert!(is_cidr(good), "{good}");
        }
        for bad in ["1.2.3.4", "1.2.3.4/33", "1.2.3.4/08", "x/8", "1.2.3.4/", "1.2.3.4/+8"] {
            assert!(!is_cidr(bad), "{bad}");
        }
        assert!(!is_ip("01.2.3.4") && !is_ip("fe80::1%eth0") && is_ip("::ffff:1.2.3.4"));
    }

    #[test]
    fn numbers() {
        for good in ["1", "1.5", "1e1", "-.5", "+2.", "1E-3"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", ".", "1%", " 1", "1.2.3", "e1", "1e", "0x1", "nan"] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn spiffe_ids() {
        assert_eq!(spiffe_id_fault("spiffe://td/ns/a"), None);
        assert_eq!(spiffe_id_fault("spiffe://td"), None);
        for (id, fault) in [
            ("", "cannot be empty"),
            ("http://td", "scheme is missing or invalid"),
            ("spiffe://", "trust domain is missing"),
            ("spiffe:///a", "trust domain is missing"),
            ("spiffe://td//a", "path cannot contain empty segments"),
            ("spiffe://td/../a", "path cannot contain dot segments"),
            ("spiffe://td/", "path cannot have a trailing slash"),
        ] {
            assert_eq!(spiffe_id_fault(id), Some(fault), "{id}");
        }
    }
}
