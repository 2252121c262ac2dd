//! The server certificate that the control plane makes for itself when the user gives none.
//!
//! It signs itself and may sign others, so that one file is both the certificate and what clients trust. The key is an
//! elliptic one: an RSA key takes long enough to be felt at the first start.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use zeroize::Zeroizing;

use super::TlsError;
use crate::config::auto::{CERT_FILE, KEY_FILE};

/// How long the clocks of clients may be behind ours.
const BACKDATED: Duration = Duration::from_mins(5);
const VALIDITY: Duration = Duration::from_hours(10 * 365 * 24);

/// What a server certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Name of the host.
    pub hostname: String,
    /// Addresses of its network interfaces.
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// What the operating system says about this machine. What it does not say is left out.
    pub fn of_machine() -> Self {
        let hostname = nix::unistd::gethostname().ok().and_then(|n| n.into_string().ok()).unwrap_or_default();
        let mut addresses = Vec::new();
        for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
            let Some(address) = interface.address else { continue };
            let address = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::from(v4.ip()),
                (_, Some(v6)) => IpAddr::from(v6.ip()),
                _ => continue,
            };
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        Self { hostname, addresses }
    }
}

/// A certificate and its key as PEM texts.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its key; wiped from memory when dropped.
    pub key: Zeroizing<String>,
}

/// Makes a certificate for these names, valid from shortly before `now` for ten years.
pub fn make(names: &Names, now: SystemTime) -> Result<Pair, TlsError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let mut serial = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    // Positive, and of full length without a leading zero byte.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = epoch + now.saturating_sub(BACKDATED);
    params.not_after = epoch + (now + VALIDITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut dns = vec![names.hostname.as_str(), "localhost"];
    dns.retain(|n| !n.is_empty());
    dns.dedup();
    for name in dns {
        // A host name outside ASCII cannot be in a certificate; the addresses still can.
        if let Ok(name) = name.try_into() {
            params.subject_alt_names.push(SanType::DnsName(name));
        }
    }
    params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(Pair { certificate, key: Zeroizing::new(key.serialize_pem()) })
}

/// Makes sure that `dir` holds a certificate and its key, and returns their files. What is there is kept.
pub fn ensure_own(dir: &Path, names: impl FnOnce() -> Names) -> Result<(PathBuf, PathBuf), TlsError> {
    let (cert, key) = (dir.join(CERT_FILE), dir.join(KEY_FILE));
    if !(is_filled(&cert) && is_filled(&key)) {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Write { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let pair = make(&names(), SystemTime::now())?;
        // The key first: a certificate that is there always has its key.
        write_private(&key, pair.key.as_bytes()).map_err(at(&key))?;
        write_private(&cert, pair.certificate.as_bytes()).map_err(at(&cert))?;
    }
    Ok((cert, key))
}

fn is_filled(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.len() > 0)
}

/// Writes a file that only its owner may read, so that it is there either as a whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let result = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}
