//! Certificates for the admin listeners of proxies, issued by the CA in GlobalSecret `envoy-admin-ca`.

use std::sync::{Arc, OnceLock};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject};
use xds_gen::{
    render::{AdminTls, units::AdminIssuer},
    set::Version,
};
use zeroize::Zeroizing;

/// Name of the GlobalSecret.
pub const ADMIN_CA_SECRET: &str = "envoy-admin-ca";
/// Validity of a leaf. A proxy gets a new one whenever it connects to another start of the control plane.
const LEAF_DAYS: i64 = 365;
/// Name of the one client of admin listeners.
const CLIENT: &str = "kuma-cp";
/// Validity of the client's certificate: as long as that of the CA, since it is made once for each start.
const CLIENT_DAYS: i64 = 3650;
/// Clocks may differ by this much.
const SKEW: time::Duration = time::Duration::minutes(5);

/// Makes a CA: certificate, then RSA key, both PEM, as the published control plane stores it. Takes about 50 ms.
///
/// # Errors
/// The crypto library refused.
pub fn make_ca() -> anyhow::Result<Zeroizing<String>> {
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Kuma");
    params.distinguished_name.push(DnType::OrganizationalUnitName, "Mesh");
    params.distinguished_name.push(DnType::CommonName, "Envoy Admin CA");
    params.not_before = time::OffsetDateTime::now_utc() - SKEW;
    params.not_after = params.not_before + time::Duration::days(3650);
    let certificate = params.self_signed(&key)?;
    // The published control plane reads PKCS#1 here.
    let signing = crate::tokens::SigningKey::parse(key.serialize_pem().as_bytes())?;
    Ok(Zeroizing::new(format!("{}{}", certificate.pem(), *signing.to_pem()?)))
}

/// Issues certificates for admin listeners. Empty until the CA is there.
#[derive(Default)]
pub struct AdminCa {
    ca: OnceLock<Ca>,
    client: OnceLock<Option<Arc<ClientConfig>>>,
}

struct Ca {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    version: Version,
}

impl AdminCa {
    /// Takes the CA from the content of the secret; the first one stays until the process ends.
    ///
    /// # Errors
    /// The content is not a certificate followed by its key.
    pub fn set(&self, secret: &[u8]) -> anyhow::Result<()> {
        let text = std::str::from_utf8(secret).context("the Envoy admin CA is not text")?;
        let split = text.rfind("-----BEGIN").context("the Envoy admin CA is not PEM")?;
        let (certificate, key) = text.split_at(split);
        let key = KeyPair::from_pem(key).context("the key of the Envoy admin CA cannot be read")?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key)
            .context("the certificate of the Envoy admin CA cannot be read")?;
        let ca = Ca { certificate: certificate.to_owned(), issuer, version: Version::of(certificate.as_bytes()) };
        // Envoys trust the one that they were given; a later one counts after a restart.
        let _ = self.ca.set(ca);
        Ok(())
    }

    /// The CA is there.
    pub fn is_set(&self) -> bool {
        self.ca.get().is_some()
    }

    /// What the control plane connects to admin listeners with; nothing without a CA.
    pub fn client(&self) -> Option<Arc<ClientConfig>> {
        let ca = self.ca.get()?;
        let config = self.client.get_or_init(|| {
            client(ca)
                .inspect_err(|error| {
                    tracing::warn!(%error, "no certificate for the control plane: admin listeners cannot be asked");
                })
                .ok()
        });
        config.clone()
    }

    fn leaf(ca: &Ca, address: &str) -> anyhow::Result<AdminTls> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![match address.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(address.try_into()?),
        }];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = time::OffsetDateTime::now_utc() - SKEW;
        params.not_after = params.not_before + time::Duration::days(LEAF_DAYS);
        let certificate = params.signed_by(&key, &ca.issuer)?;
        Ok(AdminTls {
            certificate_chain: certificate.pem().into_bytes(),
            private_key: key.serialize_pem().into_bytes(),
            ca: ca.certificate.clone().into_bytes(),
        })
    }
}

/// A client that admin listeners know by its name, and that trusts what this CA issued alone.
fn client(ca: &Ca) -> anyhow::Result<Arc<ClientConfig>> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::DnsName(CLIENT.try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = time::OffsetDateTime::now_utc() - SKEW;
    params.not_after = params.not_before + time::Duration::days(CLIENT_DAYS);
    let certificate = params.signed_by(&key, &ca.issuer)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.certificate.as_bytes())?)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate.der().clone()], key.into())?;
    Ok(Arc::new(config))
}

impl AdminIssuer for AdminCa {
    fn version(&self) -> Version {
        self.ca.get().map_or(Version::of(b"none"), |ca| ca.version)
    }

    fn issue(&self, own: &kuma_core::ir::Own) -> Option<AdminTls> {
        let ca = self.ca.get()?;
        Self::leaf(ca, &own.address)
            .inspect_err(|error| {
                tracing::warn!(%error, mesh = %own.mesh, proxy = %own.name, "no certificate for the admin listener of a proxy, it offers readiness only");
            })
            .ok()
    }
}

/// The issuer as the renderer wants it.
pub fn as_issuer(ca: &Arc<AdminCa>) -> Arc<dyn AdminIssuer> {
    ca.clone()
}
