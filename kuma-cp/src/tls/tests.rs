//! Our own certificate, reloading, limits and client certificates, over real handshakes in memory.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, ServerConfig,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{own::make, pem::expires_at, *};

fn names() -> Names {
    Names { hostname: "cp-1".into(), addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()] }
}

/// Takes any certificate: what it says is looked at afterwards.
#[derive(Debug)]
struct Anything(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anything {
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

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// What the client of a handshake saw: version, cipher suite, protocol, certificate.
type Seen = (String, String, Option<String>, CertificateDer<'static>);

/// A handshake in memory; the error is the one of the server, or else of the client.
async fn handshake(server: Arc<ServerConfig>, client: impl FnOnce(&mut ClientConfig)) -> Result<Seen, String> {
    let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything(provider.signature_verification_algorithms)))
        .with_no_client_auth();
    client(&mut config);
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = TlsAcceptor::from(server).accept(far);
    let connect = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), near);
    let (accepted, connected) = tokio::join!(accept, connect);
    accepted.map_err(|e| e.to_string())?;
    let stream = connected.map_err(|e| e.to_string())?;
    let seen = stream.get_ref().1;
    Ok((
        format!("{:?}", seen.protocol_version().unwrap()),
        format!("{:?}", seen.negotiated_cipher_suite().unwrap().suite()),
        seen.alpn_protocol().map(|p| String::from_utf8(p.to_vec()).unwrap()),
        seen.peer_certificates().unwrap()[0].clone(),
    ))
}

fn served(dir: &Path) -> Arc<ServedCertificate> {
    let (cert, key) = ensure_own(dir, names).unwrap();
    ServedCertificate::load(cert, key).unwrap()
}

fn plain(certificate: Arc<ServedCertificate>, limits: &Limits) -> Arc<ServerConfig> {
    server_config(certificate, limits, &ClientAuth::None, &["h2", "http/1.1"]).unwrap()
}

#[test]
fn the_own_certificate_is_for_this_host_and_may_sign() {
    let now = SystemTime::now();
    let pair = make(&names(), now).unwrap();
    let chain = certificates(pair.certificate.as_bytes()).unwrap();
    assert_eq!(chain.len(), 1);
    assert!(is_ca(&chain[0]));
    assert_eq!(subject_names(&chain[0]), ["cp-1", "localhost", "127.0.0.1", "::1"]);
    let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    assert_eq!(parsed.subject().to_string(), "");
    assert_eq!(parsed.raw_serial().len(), 16);
    let seconds = i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert_eq!(parsed.validity().not_before.timestamp(), seconds - 300);
    assert_eq!(expires_at(&chain[0]), Some(seconds + 10 * 365 * 24 * 3600));
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && usage.key_cert_sign());
    assert!(parsed.extended_key_usage().unwrap().unwrap().value.server_auth);
    parsed.verify_signature(None).unwrap();
    assert!(pair.key.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_ne!(make(&names(), now).unwrap().certificate, pair.certificate);
}

#[test]
fn the_own_certificate_is_made_once_and_is_private() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b");
    let (cert, key) = ensure_own(&dir, names).unwrap();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for file in [&cert, &key] {
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
    }
    let first = fs::read(&cert).unwrap();
    ensure_own(&dir, || panic!("it is there already")).unwrap();
    assert_eq!(fs::read(&cert).unwrap(), first);
    fs::write(&key, "").unwrap();
    ensure_own(&dir, names).unwrap();
    assert_ne!(fs::read(&cert).unwrap(), first, "an empty key counts as none");
    let left: Vec<_> = fs::read_dir(&dir).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let error = ensure_own(&file.join("x"), names).unwrap_err().to_string();
    assert!(error.contains("could not write") && error.contains("file/x"), "{error}");
}

#[test]
fn an_unusable_pair_names_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = ensure_own(dir.path(), names).unwrap();
    let other = dir.path().join("other");
    let (_, wrong) = ensure_own(&other, names).unwrap();
    let error = |c: &Path, k: &Path| ServedCertificate::load(c, k).unwrap_err().to_string();
    assert!(error(&cert, &wrong).contains("cannot be used together"), "{}", error(&cert, &wrong));
    assert!(error(&key, &key).contains("holds no PEM certificate"));
    assert!(error(&cert, &cert).contains("holds no PEM private key"));
    assert!(error(&dir.path().join("no"), &key).contains("could not read certificate"));
    fs::write(other.join("bad"), "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n").unwrap();
    assert!(error(&other.join("bad"), &key).contains("malformed"));
}

#[tokio::test]
async fn versions_and_ciphers_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = served(dir.path());
    let limits = |min: &str, max: &str, ciphers: &[&str]| Limits {
        min_version: min.into(),
        max_version: max.into(),
        cipher_suites: ciphers.iter().map(|c| (*c).to_owned()).collect(),
    };
    let seen = handshake(plain(certificate.clone(), &Limits::default()), |c| {
        c.alpn_protocols = vec![b"h2".to_vec()];
    });
    let (version, _, protocol, _) = seen.await.unwrap();
    assert_eq!((version.as_str(), protocol.as_deref()), ("TLSv1_3", Some("h2")));
    let one = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    let config = plain(certificate.clone(), &limits("TLSv1_2", "TLSv1_2", &[one, "TLS_RSA_WITH_RC4_128_SHA"]));
    let (version, cipher, ..) = handshake(config, |_| {}).await.unwrap();
    assert_eq!((version.as_str(), cipher.as_str()), ("TLSv1_2", one));
    let none = limits("TLSv1_2", "TLSv1_2", &["TLS_RSA_WITH_RC4_128_SHA"]);
    let error = server_config(certificate.clone(), &none, &ClientAuth::None, &[]).unwrap_err().to_string();
    assert!(error.contains("TLS_RSA_WITH_RC4_128_SHA"), "{error}");
    let crossed = limits("TLSv1_3", "TLSv1_2", &[]);
    let error = server_config(certificate, &crossed, &ClientAuth::None, &[]).unwrap_err().to_string();
    assert!(error.contains("the minimum is above the maximum"), "{error}");
}

#[tokio::test]
async fn changed_files_are_served_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let certificate = served(dir.path());
    let config = plain(certificate.clone(), &Limits::default());
    let (.., first) = handshake(config.clone(), |_| {}).await.unwrap();
    let fresh = make(&names(), SystemTime::now()).unwrap();
    let expected = certificates(fresh.certificate.as_bytes()).unwrap().remove(0);

    // Half of the pair is new: the old one stays.
    fs::write(dir.path().join("kuma-cp.crt"), &fresh.certificate).unwrap();
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(handshake(config.clone(), |_| {}).await.unwrap().3, first);
    fs::write(dir.path().join("kuma-cp.key"), fresh.key.as_bytes()).unwrap();
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(handshake(config.clone(), |_| {}).await.unwrap().3, expected);
    assert_eq!(certificate.chain_pem(), fresh.certificate.replace('\r', ""));
    assert_eq!(certificate.names()[0], "cp-1");

    // What cannot be used is not used.
    fs::write(dir.path().join("kuma-cp.crt"), "garbage").unwrap();
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(handshake(config, |_| {}).await.unwrap().3, expected);
}

#[tokio::test]
async fn client_certificates_are_asked_for_and_verified() {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let dir = tempfile::tempdir().unwrap();
    let certificate = served(dir.path());
    let make_ca = || {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let cert = params.self_signed(&key).unwrap();
        (cert.pem(), Issuer::new(params, key))
    };
    let (ca_pem, ca) = make_ca();
    let (_, stranger) = make_ca();
    let file = dir.path().join("ca.pem");
    fs::write(&file, ca_pem).unwrap();

    async fn attempt(
        certificate: Arc<ServedCertificate>,
        auth: ClientAuth,
        issuer: Option<&Issuer<'_, KeyPair>>,
    ) -> Result<Seen, String> {
        let server = server_config(certificate, &Limits::default(), &auth, &[]).unwrap();
        let shown = issuer.map(|issuer| {
            let key = KeyPair::generate().unwrap();
            let cert = CertificateParams::new(vec!["client".into()]).unwrap().signed_by(&key, issuer).unwrap();
            let key = rustls::crypto::aws_lc_rs::default_provider()
                .key_provider
                .load_private_key(key.serialize_der().try_into().unwrap())
                .unwrap();
            rustls::sign::CertifiedKey::new(vec![cert.der().clone()], key)
        });
        handshake(server, |client| {
            if let Some(shown) = shown {
                client.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(shown));
            }
        })
        .await
    }
    let required = || ClientAuth::Required(file.clone());
    let optional = || ClientAuth::Optional(file.clone());
    attempt(certificate.clone(), required(), Some(&ca)).await.unwrap();
    attempt(certificate.clone(), optional(), Some(&ca)).await.unwrap();
    attempt(certificate.clone(), optional(), None).await.unwrap();
    let error = attempt(certificate.clone(), required(), None).await.unwrap_err();
    assert!(error.contains("peer sent no certificates"), "{error}");
    let error = attempt(certificate.clone(), required(), Some(&stranger)).await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    attempt(certificate.clone(), optional(), Some(&stranger)).await.unwrap_err();
    let nobody = ClientAuth::Required(dir.path().join("none.pem"));
    let error = server_config(certificate, &Limits::default(), &nobody, &[]).unwrap_err().to_string();
    assert!(error.contains("none.pem"), "{error}");
}

#[test]
fn the_lists_of_ciphers_are_sorted_and_apart() {
    assert!(SECURE_CIPHERS.is_sorted() && INSECURE_CIPHERS.is_sorted());
    assert!(INSECURE_CIPHERS.iter().all(|c| !SECURE_CIPHERS.contains(c) && is_known_cipher(c)));
}
