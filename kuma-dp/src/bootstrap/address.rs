//! The control plane's address, as `--cp-address` gives it.

use hyper::Uri;

/// Scheme, host and port of the control plane's data plane server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpAddress {
    /// `https` rather than `http`.
    pub tls: bool,
    /// Name or IP address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `host:port` for the Host header, as given.
    pub authority: String,
}

/// An address that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme.
    #[error("unsupported URL scheme {0:?}, must be http or https")]
    Scheme(String),
    /// Not a URL.
    #[error("--cp-address {0:?} is not a URL such as https://localhost:5678")]
    Malformed(String),
}

impl CpAddress {
    /// Parses `url`; a path in it is ignored.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(url.to_owned());
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        if !matches!(scheme, "http" | "https") {
            return Err(AddressError::Scheme(scheme.to_owned()));
        }
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let tls = scheme == "https";
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(malformed)?;
        let port = match uri.port() {
            Some(port) => port.as_u16(),
            None if tls => 443,
            None => 80,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let authority = uri.authority().map(|a| a.as_str().to_owned()).ok_or_else(malformed)?;
        // A user in front of the host has no place in the Host header.
        let authority = authority.rsplit('@').next().unwrap_or_default().to_owned();
        Ok(Self { tls, host, port, authority })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let address = CpAddress::parse("https://[::1]:5678/ignored").unwrap();
        let expected = CpAddress { tls: true, host: "::1".into(), port: 5678, authority: "[::1]:5678".into() };
        assert_eq!(address, expected);
        assert_eq!(CpAddress::parse("http://cp").unwrap().port, 80);
    }

    #[test]
    fn other_schemes_are_named() {
        let text = |url| CpAddress::parse(url).unwrap_err().to_string();
        assert_eq!(text("ftp://cp:1"), "unsupported URL scheme \"ftp\", must be http or https");
        assert_eq!(text("localhost:5678"), "unsupported URL scheme \"localhost\", must be http or https");
        assert!(text("https://").contains("is not a URL"));
        assert!(text("https://a b:1").contains("is not a URL"));
    }
}
