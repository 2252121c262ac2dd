//! Certificates for a server and its clients, from an authority that is made for them.

use std::{path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use super::{database::SUPERUSER, folder::Folder, settings::Tls};

/// Files in PEM for clients of a server with TLS.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The authority that signed the server's certificate.
    pub ca: PathBuf,
    /// A client's certificate that the server trusts.
    pub client: PathBuf,
    /// The key to it.
    pub client_key: PathBuf,
    /// An authority that has signed nothing of this.
    pub foreign_ca: PathBuf,
    /// A client's certificate of that authority.
    pub foreign_client: PathBuf,
    /// The key to it.
    pub foreign_client_key: PathBuf,
    pub(super) server: Arc<ServerConfig>,
}

impl Certificates {
    /// Makes all of them.
    pub(super) fn make(tls: &Tls, folder: &Folder) -> Self {
        let (ca, foreign) = (authority("PostgreSQL"), authority("somebody else"));
        let (certificate, key) = issue(&ca, "server", &tls.names);
        let (client, client_key) = issue(&ca, SUPERUSER, &[]);
        let (foreign_client, foreign_client_key) = issue(&foreign, SUPERUSER, &[]);
        Self {
            server: Arc::new(config(&ca.pem(), &certificate, &key, tls.client_certificate)),
            ca: folder.write("ca.crt", &ca.pem()),
            client: folder.write("client.crt", &client),
            client_key: folder.write("client.key", &client_key),
            foreign_ca: folder.write("foreign-ca.crt", &foreign.pem()),
            foreign_client: folder.write("foreign-client.crt", &foreign_client),
            foreign_client_key: folder.write("foreign-client.key", &foreign_client_key),
        }
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = named(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, both in PEM.
fn issue(authority: &Authority, name: &str, names: &[String]) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = named(name, names).signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn named(name: &str, names: &[String]) -> CertificateParams {
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}

fn config(ca: &str, certificate: &str, key: &str, client_certificate: bool) -> ServerConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let clients = if client_certificate { clients } else { clients.allow_unauthenticated() };
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    config
}
