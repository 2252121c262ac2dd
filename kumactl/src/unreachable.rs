//! Calls that got no answer: what happened, where, and what to do about it.

use std::error::Error;

use anyhow::anyhow;
use rustls::CertificateError;
use url::Url;

const TRUST: &str = "say whom to trust with `kumactl config control-planes add --overwrite --ca-cert-file=FILE ...`";

/// The error of a call to this URL.
pub(crate) fn unreachable(url: &Url, error: &reqwest::Error) -> anyhow::Error {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let mut address = url.clone();
    address.set_path("");
    address.set_query(None);
    let address = address.as_str().trim_end_matches('/');
    if let Some(error) = tls_error(error) {
        anyhow!("no TLS with the control plane at {address}: {}", explain(error))
    } else if error.is_timeout() {
        anyhow!("the control plane at {address} did not answer in time; raise --api-timeout if it is far away")
    } else if error.is_connect() {
        anyhow!(
            "the control plane at {address} cannot be reached: {cause}. Is it running? \
             `kumactl config control-planes list` shows where it is looked for"
        )
    } else if url.scheme() == "http" && cause.to_string().contains("invalid HTTP version") {
        anyhow!(
            "the control plane at {address} does not answer in HTTP; try https://, or the port for HTTP (5681 by default)"
        )
    } else {
        anyhow!("the call to {address} failed: {cause}")
    }
}

/// The TLS error in a chain of causes.
fn tls_error<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // An I/O error hides what it is made of from `source`.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error = match inner {
            Some(inner) => inner,
            None => error.source()?,
        };
    }
}

/// What a failed handshake means, and what to do.
fn explain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("its certificate is not signed by a trusted CA; {TRUST}")
        }
        // What webpki says of a certificate that may sign others and that nobody named.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            format!("its certificate is self-signed and not a trusted one; {TRUST}")
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            let presented = presented.join(", ");
            format!("its certificate is for {presented} and not for {}; change the address", expected.to_str())
        }
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS there; try http://, or the port for TLS (5682 by default)".to_owned()
        }
        other => other.to_string(),
    }
}
