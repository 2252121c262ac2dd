//! A certificate in use by a server: read from its files, and read again when they change, without a restart.
//!
//! There is no timer and no thread. The files are looked at when a connection comes in, at most once a second, which
//! also sees files that are replaced by renaming or behind a symbolic link. A replacement that cannot be used is
//! reported once, and the certificate in use stays.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::CertificateDer;

use super::{TlsError, pem};

/// Files are looked at no more often than this.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A certificate with its key, as current as its files. Cheap to share; every server of one pair may hold the same.
#[derive(Debug)]
pub struct ServedCertificate {
    cert: PathBuf,
    key: PathBuf,
    current: ArcSwap<CertifiedKey>,
    started: Instant,
    /// Milliseconds after `started` at which the files may be looked at again.
    next_look: AtomicU64,
    /// What the files looked like when they were read last.
    seen: Mutex<Seen>,
}

/// What tells one version of the two files from another.
type Seen = [Option<(u64, u64, i64, i64)>; 2];

impl ServedCertificate {
    /// Reads the pair. The error says which file is wrong.
    pub fn load(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Result<Arc<Self>, TlsError> {
        let (cert, key) = (cert.into(), key.into());
        let seen = look(&cert, &key);
        let current = ArcSwap::from_pointee(read(&cert, &key)?);
        Ok(Arc::new(Self {
            cert,
            key,
            current,
            started: Instant::now(),
            next_look: AtomicU64::new(LOOK_EVERY.as_millis() as u64),
            seen: Mutex::new(seen),
        }))
    }

    /// The file of the certificate.
    pub fn path(&self) -> &Path {
        &self.cert
    }

    /// The chain that is served now, the server's own certificate first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.refreshed().cert.clone()
    }

    /// The chain that is served now as PEM text.
    pub fn chain_pem(&self) -> String {
        self.refreshed().cert.iter().map(|c| pem::encode("CERTIFICATE", c)).collect()
    }

    /// The names and addresses that the certificate is for.
    pub fn names(&self) -> Vec<String> {
        self.refreshed().cert.first().map(pem::subject_names).unwrap_or_default()
    }

    /// The pair in use, after a look at the files when it is time for one.
    fn refreshed(&self) -> Arc<CertifiedKey> {
        let now = self.started.elapsed().as_millis() as u64;
        let due = self.next_look.load(Ordering::Relaxed);
        let later = now + LOOK_EVERY.as_millis() as u64;
        // One of the connections that come in at the same time looks, the others go on.
        if now >= due && self.next_look.compare_exchange(due, later, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.look_again();
        }
        self.current.load_full()
    }

    fn look_again(&self) {
        let now = look(&self.cert, &self.key);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return;
        }
        *seen = now;
        match read(&self.cert, &self.key) {
            Ok(pair) => {
                self.current.store(Arc::new(pair));
                tracing::info!(file = %self.cert.display(), "server certificate has changed and is served from now on");
            }
            // Perhaps one file is new and the other is about to be: their next change is looked at again.
            Err(error) => {
                tracing::error!(file = %self.cert.display(), %error, "changed server certificate cannot be used, the one in use stays");
            }
        }
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.refreshed())
    }
}

fn look(cert: &Path, key: &Path) -> Seen {
    [cert, key].map(|path| {
        let stat = |m: fs::Metadata| (m.ino(), m.len(), m.mtime(), m.mtime_nsec());
        let result: io::Result<_> = fs::metadata(path).map(stat);
        result.ok()
    })
}

fn read(cert: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let chain = pem::read_chain(cert)?;
    let private = pem::read_key(key)?;
    CertifiedKey::from_der(chain, private, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|source| TlsError::Pair { cert: cert.to_owned(), key: key.to_owned(), source })
}
