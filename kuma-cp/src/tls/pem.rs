//! Certificates and keys in PEM files, and what a certificate says about itself.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};
use zeroize::Zeroizing;

/// What can be wrong with TLS material. Each names the file that is to be looked at.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("could not read {what} {}: {source}", path.display())]
    Read {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file or directory cannot be written.
    #[error("could not write {}: {source}; check that the directory exists and belongs to the user of the process", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no PEM certificate", .0.display())]
    NoCertificate(PathBuf),
    /// A file holds no key.
    #[error("{} holds no PEM private key", .0.display())]
    NoKey(PathBuf),
    /// PEM or DER that cannot be read.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key is not the one of the certificate, or is of a kind that is not supported.
    #[error("certificate {} and key {} cannot be used together: {source}", cert.display(), key.display())]
    Pair {
        /// File of the certificate.
        cert: PathBuf,
        /// File of the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A client CA that no client can be verified with.
    #[error("client certificates cannot be verified with {}: {reason}", path.display())]
    ClientCa {
        /// File of the CA.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Limits that leave nothing.
    #[error(
        "TLS cannot be served with minimum version {min:?}, maximum version {max:?} and cipher suites {ciphers:?}: {reason}"
    )]
    Limits {
        /// Lowest version.
        min: String,
        /// Highest version.
        max: String,
        /// Cipher suites.
        ciphers: Vec<String>,
        /// Why.
        reason: String,
    },
    /// A certificate of our own could not be made.
    #[error("could not make a server certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// One section of PEM text, ending with a newline.
pub fn encode(label: &str, der: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(der));
    let mut out = String::with_capacity(text.len() + text.len() / 64 + 2 * label.len() + 40);
    out.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// The label and the content of the first section of PEM text; `None` when there is none that is whole.
pub fn section(bytes: &[u8]) -> Option<(String, Zeroizing<Vec<u8>>)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let der = STANDARD.decode(body.as_bytes()).ok()?;
    Some((label.to_owned(), Zeroizing::new(der)))
}

/// All certificates of a PEM text, in order; none is no error.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// The chain of a file, its own certificate first, and never empty.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read("certificate", path)?;
    let chain = certificates(&pem).map_err(|reason| TlsError::Malformed { path: path.to_owned(), reason })?;
    if chain.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(chain) }
}

/// The first private key of a file, in any of the usual forms.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = Zeroizing::new(read("private key", path)?);
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        Err(rustls_pki_types::pem::Error::NoItemsFound) => Err(TlsError::NoKey(path.to_owned())),
        Err(e) => Err(TlsError::Malformed { path: path.to_owned(), reason: e.to_string() }),
    }
}

/// The certificates of a file as roots of trust; never empty.
pub fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|e| TlsError::Malformed { path: path.to_owned(), reason: e.to_string() })?;
    }
    Ok(roots)
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source })
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().map(|(_, certificate)| certificate)
}

/// May it sign others? A certificate that cannot be parsed may not.
pub fn is_ca(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_some_and(|c| c.is_ca())
}

/// The DNS names and addresses that a certificate is for, in its order. One that cannot be parsed is for none.
pub fn subject_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Some(certificate) = parse(certificate) else { return Vec::new() };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|a| a.to_string())
        }
        _ => None,
    }
}

/// Seconds since 1970 at which it stops to be valid; `None` when it cannot be parsed.
pub fn expires_at(certificate: &CertificateDer<'_>) -> Option<i64> {
    parse(certificate).map(|c| c.validity().not_after.timestamp())
}
