//! Connections to the database, and what arrives on them unasked.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use futures::{StreamExt, stream};
use kuma_core::{registry::Kind, resource::Key};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, config::SslMode, config::TargetSessionAttrs};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config;

/// Channel on which every change of `resources` is told, by whichever program made it.
pub(super) const EVENTS: &str = "resource_events";
/// Channel on which ours say that what was told before is a whole transaction.
pub(super) const COMMITS: &str = "kuma_commits";
/// Silence of a connection after which the other end is asked, and between two such questions.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// Where the database is and how to get in.
#[derive(Clone)]
pub struct Target {
    settings: Arc<config::Postgres>,
}

impl Target {
    /// What the configuration says.
    pub fn new(settings: &config::Postgres) -> Self {
        Self { settings: Arc::new(settings.clone()) }
    }

    /// Whether a schema newer than ours is worked with.
    pub fn tolerates_newer_schema(&self) -> bool {
        self.settings.tolerate_newer_db_versions
    }

    /// How long a connection, and anything that is asked on one, may take.
    pub fn patience(&self) -> Duration {
        // Checked values are positive; 0 asks for no limit, and gets one that nobody waits for.
        match u64::try_from(self.settings.connection_timeout) {
            Ok(0) | Err(_) => Duration::from_mins(1),
            Ok(seconds) => Duration::from_secs(seconds),
        }
    }

    /// Host and port, for messages.
    pub fn address(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    fn options(&self) -> anyhow::Result<tokio_postgres::Config> {
        let settings = &*self.settings;
        let mut options = tokio_postgres::Config::new();
        // Several hosts, as a cluster without one name has them: the one that takes writes is found.
        for host in settings.host.split(',') {
            options.host(host.trim());
        }
        options
            .port(u16::try_from(settings.port).unwrap_or_default())
            .user(&settings.user)
            .password(settings.current_password()?.reveal())
            .dbname(&settings.db_name)
            .application_name("kuma-cp")
            .connect_timeout(self.patience())
            .tcp_user_timeout(self.patience() * 2)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE)
            .keepalives_retries(2)
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .ssl_mode(if settings.tls.mode == "disable" { SslMode::Disable } else { SslMode::Require });
        Ok(options)
    }

    /// A connection, and where its notifications go. Files of keys and certificates are read each time, so that new ones
    /// count from the next connection on.
    ///
    /// # Errors
    /// What the files, the network or the database said.
    pub async fn connect(&self) -> anyhow::Result<(Client, Arc<Inbox>)> {
        let inbox = Arc::new(Inbox::default());
        let options = self.options()?;
        let connecting = async {
            if self.settings.tls.mode == "disable" {
                let (client, connection) = options.connect(NoTls).await?;
                drive(connection, inbox.clone());
                anyhow::Ok(client)
            } else {
                let tls = client_tls(&self.settings.tls)?;
                let (client, connection) = options.connect(MakeRustlsConnect::new(tls)).await?;
                drive(connection, inbox.clone());
                Ok(client)
            }
        };
        let waited = self.patience();
        let client = tokio::time::timeout(waited, connecting)
            .await
            .with_context(|| format!("no answer from {} within {waited:?}", self.address()))?
            .map_err(|error| match error.downcast::<tokio_postgres::Error>() {
                Ok(error) => anyhow::anyhow!("{}: {}", self.address(), super::said(&error)),
                Err(error) => error,
            })?;
        Ok((client, inbox))
    }
}

/// Runs a connection until it ends.
fn drive<S, T>(mut connection: Connection<S, T>, inbox: Arc<Inbox>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut messages = stream::poll_fn(|context| connection.poll_message(context));
        let why = loop {
            match messages.next().await {
                Some(Ok(AsyncMessage::Notification(told))) => {
                    inbox.note(told.process_id(), told.channel(), told.payload());
                }
                Some(Ok(AsyncMessage::Notice(notice))) => tracing::debug!(target: "kuma-cp.store", %notice),
                Some(Ok(_)) => {}
                Some(Err(error)) => break super::said(&error),
                None => break "the connection was closed".to_owned(),
            }
        };
        inbox.close(&why);
    });
}

/// Notifications that nobody has looked at yet. It holds each object once, so its size is bounded by what is stored.
pub struct Inbox {
    mail: watch::Sender<Mail>,
    /// Process of the database that serves this session: what it tells we have done ourselves.
    own: AtomicI32,
}

/// What is in an [`Inbox`].
#[derive(Clone, Default)]
struct Mail {
    /// Objects of transactions that may not be complete.
    open: BTreeSet<Key>,
    /// Objects of transactions that are.
    complete: BTreeSet<Key>,
    /// Why nothing will come any more.
    closed: Option<Arc<str>>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self { mail: watch::Sender::new(Mail::default()), own: AtomicI32::new(0) }
    }
}

/// How long after the last notification of another program its transaction counts as complete: it does not say so, but
/// sends all of one at once.
const QUIET: Duration = Duration::from_millis(3);

impl Inbox {
    /// Tells which process of the database serves this session.
    pub(super) fn is_of(&self, process: i32) {
        self.own.store(process, Ordering::Relaxed);
    }

    fn note(&self, process: i32, channel: &str, payload: &str) {
        #[derive(Deserialize)]
        struct Event {
            action: String,
            data: Touched,
        }
        #[derive(Deserialize)]
        struct Touched {
            name: String,
            mesh: String,
            #[serde(rename = "type")]
            kind: String,
        }
        self.mail.send_if_modified(|mail| {
            if channel == COMMITS {
                let mut open = std::mem::take(&mut mail.open);
                mail.complete.append(&mut open);
                return !mail.complete.is_empty();
            }
            let Ok(Event { action, data }) = serde_json::from_str::<Event>(payload) else {
                tracing::debug!(target: "kuma-cp.store", payload, "a notification that cannot be read");
                return false;
            };
            // What we wrote we know. What the database deleted along with it we may not.
            if process == self.own.load(Ordering::Relaxed) && action != "DELETE" {
                return false;
            }
            // What we do not know we do not keep.
            let Some(kind) = Kind::by_name(&data.kind) else { return false };
            mail.open.insert(Key::new(kind, data.mesh, data.name))
        });
    }

    fn close(&self, why: &str) {
        self.mail.send_modify(|mail| mail.closed = Some(why.into()));
    }

    /// Waits for changed objects; their transactions are complete.
    ///
    /// # Errors
    /// Why the connection ended.
    pub(super) async fn next(&self) -> Result<BTreeSet<Key>, Arc<str>> {
        let mut seen = self.mail.subscribe();
        loop {
            let (open, complete) = {
                let mail = seen.borrow_and_update();
                if let Some(why) = &mail.closed {
                    return Err(why.clone());
                }
                (!mail.open.is_empty(), !mail.complete.is_empty())
            };
            if complete {
                break;
            }
            if open {
                if tokio::time::timeout(QUIET, seen.changed()).await.is_err() {
                    break;
                }
            } else if seen.changed().await.is_err() {
                return Err("the connection was closed".into());
            }
        }
        let mut keys = BTreeSet::new();
        self.mail.send_if_modified(|mail| {
            keys = std::mem::take(&mut mail.complete);
            if keys.is_empty() {
                keys = std::mem::take(&mut mail.open);
            }
            false
        });
        Ok(keys)
    }
}

fn client_tls(settings: &config::PostgresTls) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let certificates = |path: &str| -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let text = fs::read(path).with_context(|| format!("cannot read {path}"))?;
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let found = found.with_context(|| format!("{path} is not PEM"))?;
        anyhow::ensure!(!found.is_empty(), "there is no certificate in {path}");
        Ok(found)
    };
    let checks: Arc<dyn ServerCertVerifier> = if settings.mode == "verifyNone" {
        Arc::new(Checks { chain: None, name: false, provider: provider.clone() })
    } else {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&settings.ca_path)? {
            roots.add(certificate).with_context(|| format!("{} holds what is no CA", settings.ca_path))?;
        }
        let chain = WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
        Arc::new(Checks { chain: Some(chain), name: settings.mode == "verifyFull", provider: provider.clone() })
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(checks);
    let mut tls = if settings.cert_path.is_empty() {
        builder.with_no_client_auth()
    } else {
        let key = PrivateKeyDer::from_pem_file(&settings.key_path)
            .with_context(|| format!("cannot read a key from {}", settings.key_path))?;
        builder
            .with_client_auth_cert(certificates(&settings.cert_path)?, key)
            .with_context(|| format!("{} and {} do not belong together", settings.cert_path, settings.key_path))?
    };
    tls.enable_sni = !settings.disable_sslsni;
    Ok(tls)
}

/// How much of the server's certificate is checked: with a name, its chain only, or nothing.
#[derive(Debug)]
struct Checks {
    chain: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Checks {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::{CertificateError, Error};
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain was checked before the name.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
