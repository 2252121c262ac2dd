//! Which certificates of a control plane are trusted, where a CA file is given.
//!
//! The file may hold the control plane's own certificate: one that is self-signed is its own CA, and that is what control
//! planes make for themselves. The library below takes a certificate that may sign others for no server's own, so a
//! certificate that is in the file is compared with it, and only others are followed to a CA.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// A certificate of the client and its key, each as PEM.
pub(crate) struct Identity {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The CA file holds no certificate.
    #[error("could not add certificate: it is not PEM with at least one certificate")]
    NoCertificate,
    /// The pair of the client cannot be used.
    #[error("could not create key pair from client cert and client key: {0}")]
    Identity(String),
    /// The library refuses what it is given.
    #[error(transparent)]
    Setup(#[from] rustls::Error),
}

/// A configuration that trusts the certificates of a PEM text and nobody else.
pub(crate) fn client_config(ca: &[u8], identity: Option<&Identity>) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CaFile::new(ca)?));
    let Some(Identity { certificate, key }) = identity else { return Ok(config.with_no_client_auth()) };
    let broken = |error: &dyn std::fmt::Display| TrustError::Identity(error.to_string());
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|e| broken(&e))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| broken(&e))?;
    config.with_client_auth_cert(chain, key).map_err(|e| broken(&e))
}

/// The certificates of a CA file.
#[derive(Debug)]
struct CaFile {
    certificates: Vec<CertificateDer<'static>>,
    chain: Arc<WebPkiServerVerifier>,
}

impl CaFile {
    fn new(pem: &[u8]) -> Result<Self, TrustError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| TrustError::NoCertificate)?;
        Ok(Self { certificates, chain })
    }
}

impl ServerCertVerifier for CaFile {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if !self.certificates.iter().any(|known| known == end_entity) {
            return self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        }
        check_dates(end_entity, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let (validity, now) = (parsed.validity(), now.as_secs() as i64);
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn params(until: i32, ca: bool) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params.is_ca = if ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        params
    }

    fn key() -> KeyPair {
        KeyPair::generate().expect("a key")
    }

    /// What a client that trusts `pem` says in 2027 of a server that shows `shown` under `name`.
    fn verdict(pem: &str, shown: &CertificateDer<'_>, name: &str) -> Result<(), rustls::Error> {
        let file = CaFile::new(pem.as_bytes()).expect("certificates");
        let now = UnixTime::since_unix_epoch(Duration::from_hours(500_000));
        let name = ServerName::try_from(name).expect("a name");
        file.verify_server_cert(shown, &[], &name, &[], now).map(|_| ())
    }

    #[test]
    fn a_self_signed_certificate_is_its_own_ca() {
        for ca in [true, false] {
            let own = params(2040, ca).self_signed(&key()).expect("a certificate");
            assert_eq!(verdict(&own.pem(), own.der(), "localhost"), Ok(()), "as a CA: {ca}");
            assert!(matches!(
                verdict(&own.pem(), own.der(), "cp.example"),
                Err(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
            ));
        }
    }

    #[test]
    fn what_a_ca_signed_is_trusted_and_what_it_did_not_sign_is_not() {
        let ca = CertifiedIssuer::self_signed(params(2040, true), key()).expect("a CA");
        let signed = params(2040, false).signed_by(&key(), &ca).expect("a certificate");
        assert_eq!(verdict(&ca.pem(), signed.der(), "localhost"), Ok(()));
        let other = CertifiedIssuer::self_signed(params(2040, true), key()).expect("a CA");
        assert!(verdict(&other.pem(), signed.der(), "localhost").is_err());
        assert!(verdict(&other.pem(), ca.der(), "localhost").is_err());
    }

    #[test]
    fn an_expired_certificate_is_refused_though_it_is_in_the_file() {
        let old = params(2021, true).self_signed(&key()).expect("a certificate");
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(verdict(&old.pem(), old.der(), "localhost"), Err(expired));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        assert!(matches!(client_config(b"nonsense", None), Err(TrustError::NoCertificate)));
        let own = params(2040, true).self_signed(&key()).expect("a certificate");
        let identity = Identity { certificate: own.pem().into_bytes(), key: b"nonsense".to_vec() };
        assert!(matches!(client_config(own.pem().as_bytes(), Some(&identity)), Err(TrustError::Identity(_))));
    }
}
