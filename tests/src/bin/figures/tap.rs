//! A wire between Envoys and the control plane that both take for the other end, and that notes what passes.
//!
//! It speaks TLS on both sides, with the certificate of the control plane, and hands every byte on. So the moment of an
//! ack is the moment at which Envoy's request came out of its socket: nobody is polled, and nobody's own word is taken
//! for it. What the tap costs is part of every figure.

mod messages;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use envoy_api::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use kuma_cp::tls::{self, ClientAuth, Limits, ServedCertificate};
use kuma_dp::bootstrap::tls::{Trust, client_config};
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use messages::Messages;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// A stream of discovery: connection, and number in it.
pub(crate) type StreamKey = (u64, u32);

/// A response and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) stream: StreamKey,
    nonce: String,
    /// Last part of the type, such as `Cluster`.
    pub(crate) kind: String,
    /// Resources in it.
    pub(crate) names: Vec<String>,
    /// Size of the message.
    pub(crate) bytes: usize,
    /// When the control plane had written it.
    pub(crate) sent: Instant,
    /// When Envoy had answered it.
    pub(crate) answered: Option<Instant>,
    /// Why Envoy refused it.
    pub(crate) refused: Option<String>,
}

/// What passed so far.
#[derive(Debug, Default)]
struct Notes {
    streams: BTreeSet<StreamKey>,
    exchanges: Vec<Exchange>,
    /// Messages of discovery, in both directions.
    passed: u64,
}

/// A running tap.
pub(crate) struct Tap {
    notes: Arc<Mutex<Notes>>,
    // Dropped with the tap: ends all connections.
    _runtime: Runtime,
}

impl Tap {
    /// Listens on `port` and passes on to `upstream`, with certificate and key of the control plane.
    pub(crate) fn open(port: u16, upstream: SocketAddr, certificate: &Path, key: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let served = ServedCertificate::load(certificate, key).unwrap();
        let mut connect = client_config(&Trust::Ca(served.chain_pem())).unwrap();
        connect.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(connect));
        let server = tls::server_config(served, &Limits::default(), &ClientAuth::None, &["h2"]).unwrap();
        let acceptor = TlsAcceptor::from(server);
        let notes = Arc::new(Mutex::new(Notes::default()));
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, port))).unwrap();
        let written = notes.clone();
        runtime.spawn(async move {
            let next = AtomicU64::new(0);
            while let Ok((envoy, _)) = listener.accept().await {
                let (acceptor, connector, notes) = (acceptor.clone(), connector.clone(), written.clone());
                let connection = next.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    // A peer that has gone is none of the tap's business.
                    let _ = pass(envoy, upstream, &acceptor, &connector, connection, &notes).await;
                });
            }
        });
        Self { notes, _runtime: runtime }
    }

    /// Responses that were sent so far.
    pub(crate) fn count(&self) -> usize {
        self.notes.lock().unwrap().exchanges.len()
    }

    /// Messages that have passed, in both directions: while this stays, so do the exchanges.
    pub(crate) fn passed(&self) -> u64 {
        self.notes.lock().unwrap().passed
    }

    /// Responses from the `first` on, counted from 0.
    pub(crate) fn exchanges(&self, first: usize) -> Vec<Exchange> {
        self.notes.lock().unwrap().exchanges[first..].to_vec()
    }
}

async fn pass(
    envoy: TcpStream,
    upstream: SocketAddr,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    connection: u64,
    notes: &Mutex<Notes>,
) -> std::io::Result<()> {
    let control_plane = TcpStream::connect(upstream).await?;
    envoy.set_nodelay(true)?;
    control_plane.set_nodelay(true)?;
    let name = ServerName::IpAddress(upstream.ip().into());
    let (from_envoy, to_envoy) = tokio::io::split(acceptor.accept(envoy).await?);
    let (from_cp, to_cp) = tokio::io::split(connector.connect(name, control_plane).await?);
    let requests = copy(from_envoy, to_cp, Messages::of_client(), |stream, message, at| {
        request(&mut notes.lock().unwrap(), (connection, stream), message, at);
    });
    let responses = copy(from_cp, to_envoy, Messages::of_server(), |stream, message, at| {
        response(&mut notes.lock().unwrap(), (connection, stream), message, at);
    });
    tokio::select! {
        outcome = requests => outcome,
        outcome = responses => outcome,
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut messages: Messages,
    mut found: impl FnMut(u32, &[u8], Instant),
) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        let at = Instant::now();
        // Before the bytes go on, so that a response is known when its answer comes.
        messages.take(&chunk[..read], |stream, message| found(stream, message, at));
        to.write_all(&chunk[..read]).await?;
        to.flush().await?;
    }
}

/// A message of Envoy. Streams of other services share the connection; they have no type URL.
fn request(notes: &mut Notes, stream: StreamKey, message: &[u8], at: Instant) {
    let Ok(request) = DeltaDiscoveryRequest::decode(message) else { return };
    if !request.type_url.starts_with("type.googleapis.com/") {
        return;
    }
    notes.streams.insert(stream);
    notes.passed += 1;
    let answered = notes.exchanges.iter_mut().rev().find(|exchange| {
        exchange.stream == stream && exchange.nonce == request.response_nonce && exchange.answered.is_none()
    });
    if let Some(exchange) = answered {
        exchange.answered = Some(at);
        exchange.refused = request.error_detail.map(|status| status.message);
    }
}

fn response(notes: &mut Notes, stream: StreamKey, message: &[u8], at: Instant) {
    if !notes.streams.contains(&stream) {
        return;
    }
    notes.passed += 1;
    let response = DeltaDiscoveryResponse::decode(message).unwrap();
    let names = response.resources.into_iter().map(|resource| resource.name).chain(response.removed_resources);
    notes.exchanges.push(Exchange {
        stream,
        nonce: response.nonce,
        kind: response.type_url.rsplit('.').next().unwrap_or_default().to_owned(),
        names: names.collect(),
        bytes: message.len(),
        sent: at,
        answered: None,
        refused: None,
    });
}
