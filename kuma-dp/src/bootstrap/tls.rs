//! TLS towards the control plane: what is trusted, and what a refused certificate means in words.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, aws_lc_rs},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

/// Whom the control plane's certificate must come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Anybody (`--skip-verify`).
    Anybody,
    /// The CAs of this PEM text.
    Ca(String),
    /// The CAs of the system, in this file.
    System(String),
}

/// A trust that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The PEM text holds no certificate.
    #[error("the CA certificate of the control plane is not PEM with at least one certificate")]
    NoCertificate,
    /// The file with the system's CAs is not readable.
    #[error(
        "cannot read the system's CA certificates from {path}: {source}; give the control plane's CA with --ca-cert-file"
    )]
    NoSystem {
        /// Path of the file; empty if none was found.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// rustls refuses it.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// A client configuration for TLS 1.2 and up, HTTP/1.1, without session memory.
pub fn client_config(trust: &Trust) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let setup = |e: &dyn std::fmt::Display| TrustError::Setup(e.to_string());
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::Anybody => Arc::new(Lenient { provider: provider.clone() }),
        Trust::Ca(pem) => {
            let certificates = certificates(pem.as_bytes());
            if certificates.is_empty() {
                return Err(TrustError::NoCertificate);
            }
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates.iter().cloned());
            let chain = if roots.is_empty() { None } else { Some(webpki(roots, &provider)?) };
            Arc::new(Pinned { certificates, chain, provider: provider.clone() })
        }
        Trust::System(path) => {
            let pem = std::fs::read(path).map_err(|source| TrustError::NoSystem { path: path.clone(), source })?;
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(&pem));
            webpki(roots, &provider)?
        }
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| setup(&e))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn webpki(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| TrustError::Setup(e.to_string()))
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect()
}

/// Signature checks are the same for every verifier here.
macro_rules! signatures_by_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            let algorithms = &self.provider.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.provider.signature_verification_algorithms.supported_schemes()
        }
    };
}

/// Trusts the given certificates as CAs, and each of them as the server's own certificate as well: a self-signed certificate is
/// handed out as "the CA" by `kumactl generate tls-certificate` and by control planes that make their own.
#[derive(Debug)]
struct Pinned {
    certificates: Vec<CertificateDer<'static>>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.certificates.iter().any(|known| known == end_entity) {
            check_dates(end_entity, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match &self.chain {
            Some(chain) => chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    signatures_by_provider!();
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = ASN1Time::from_timestamp(now.as_secs() as i64).map_err(|_| CertificateError::BadEncoding)?;
    let validity = parsed.validity();
    if now < validity.not_before {
        Err(CertificateError::NotValidYet.into())
    } else if now > validity.not_after {
        Err(CertificateError::Expired.into())
    } else {
        Ok(())
    }
}

/// Accepts every certificate; asked for by `--skip-verify`.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_provider!();
}

/// What a failed handshake means and what to do, in one sentence or two.
pub fn explain(error: &rustls::Error, trust: &Trust) -> String {
    let advice = match trust {
        Trust::Ca(_) => "check that --ca-cert-file is the CA of this control plane",
        _ => "give the control plane's CA with --ca-cert-file",
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            format!("its certificate is not signed by a trusted CA; {advice}")
        }
        // What webpki says of a self-signed certificate that is a CA and that nobody pinned.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            format!("its certificate is self-signed and not the trusted one; {advice}")
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "its certificate has expired (or the clock of this machine is wrong)".into()
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its certificate is not valid yet: check the clock of this machine".into(),
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => {
            "its certificate is for other names than the one in --cp-address".into()
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            let presented = presented.join(", ");
            format!("its certificate is for {presented} and not for {}; change --cp-address", expected.to_str())
        }
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            format!("its certificate carries the name of a trusted CA but another signature; {advice}")
        }
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS there; use the data plane server's port (5678 by default)".into()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn self_signed(until: i32) -> (CertificateDer<'static>, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (cert.der().clone(), cert.pem())
    }

    fn verify(pem: &str, presented: &CertificateDer<'_>, name: &str) -> Result<(), rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificates = certificates(pem.as_bytes());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let pinned = Pinned { certificates, chain: Some(webpki(roots, &provider).unwrap()), provider };
        let name = ServerName::try_from(name).unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_hours(500_000));
        pinned.verify_server_cert(presented, &[], &name, &[], now).map(|_| ())
    }

    #[test]
    fn a_self_signed_server_certificate_is_its_own_ca() {
        let (der, pem) = self_signed(2040);
        assert_eq!(verify(&pem, &der, "localhost"), Ok(()));
        let wrong_name = verify(&pem, &der, "cp.example.com").unwrap_err();
        let text = explain(&wrong_name, &Trust::Ca(pem.clone()));
        assert!(text.contains("localhost") && text.contains("cp.example.com"), "{text}");
    }

    #[test]
    fn strangers_and_expired_certificates_are_refused_with_advice() {
        let (_, pem) = self_signed(2040);
        let (stranger, _) = self_signed(2040);
        let error = verify(&pem, &stranger, "localhost").unwrap_err();
        assert!(explain(&error, &Trust::Ca(pem)).contains("--ca-cert-file"), "{error}");

        let (old, old_pem) = self_signed(2021);
        let error = verify(&old_pem, &old, "localhost").unwrap_err();
        assert!(explain(&error, &Trust::Anybody).contains("expired"), "{error}");
    }

    #[test]
    fn a_ca_without_a_certificate_is_refused() {
        assert!(matches!(client_config(&Trust::Ca("nonsense".into())), Err(TrustError::NoCertificate)));
        let error = client_config(&Trust::System("/nowhere.pem".into())).unwrap_err().to_string();
        assert!(error.contains("/nowhere.pem") && error.contains("--ca-cert-file"), "{error}");
    }
}
