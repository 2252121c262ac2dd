//! The one connection loop of all servers: accept, TLS where it is asked for, HTTP/1.1 and HTTP/2 on one port, limits
//! on time and number, and a graceful end.

mod drain;
mod idle;

use std::{
    convert::Infallible,
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::connect_info::ConnectInfo};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::dp_server::handover::Handover;
use drain::{Connections, Open};
use idle::{Patience, Requests, Timed};

pub use drain::Drain;

/// A TLS handshake that takes longer is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// HTTP/2 pings an idle peer this often, and gives it as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After an accept that failed (no file descriptors, say), wait before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of a server.
#[derive(Clone, Debug)]
pub struct ServeLimits {
    /// All headers of an HTTP/1 request must be there in this time.
    pub header_timeout: Duration,
    /// An HTTP/1 connection may be without a request for so long.
    pub idle_timeout: Duration,
    /// Connections at one time; further ones wait in the kernel's queue.
    pub connections: usize,
    /// HTTP/2 streams of one connection.
    pub streams: u32,
    /// How long connections may take to finish after the server is told to stop.
    pub drain: Duration,
    /// When clients have to go to another instance.
    pub handover: Handover,
    /// How many connections that are answering something are told in a second to finish; all at once without it.
    pub departures: Option<u32>,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_mins(2),
            connections: 20_000,
            streams: 128,
            drain: Duration::from_secs(10),
            handover: Handover::default(),
            departures: None,
        }
    }
}

/// Binds a port. `setting` is the variable that chooses it.
///
/// # Errors
/// `listen tcp ADDRESS: bind: address already in use` and its like.
pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|cause| BindError { address, setting, cause })
}

/// Binds a port of all interfaces, IPv4 and IPv6: `localhost` may mean either to a client. On a machine without IPv6,
/// IPv4 alone.
///
/// # Errors
/// As [`bind`].
pub async fn bind_everywhere(port: u16, setting: &'static str) -> Result<TcpListener, BindError> {
    match bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), setting).await {
        Err(error) if !matches!(error.cause.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), setting).await
        }
        outcome => outcome,
    }
}

/// A port that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listen tcp {address}: bind: {}{}", reason(cause), advice(cause, setting))]
pub struct BindError {
    /// The wanted address.
    pub address: SocketAddr,
    /// The variable that chooses the port.
    pub setting: &'static str,
    /// What the operating system said; no source, since the text says it already.
    pub cause: std::io::Error,
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => "address already in use".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::AddrNotAvailable => "cannot assign requested address".into(),
        _ => error.to_string(),
    }
}

fn advice(error: &std::io::Error, setting: &str) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => format!(" (by another kuma-cp, perhaps); {setting} chooses another port"),
        ErrorKind::PermissionDenied => format!("; {setting} chooses another port"),
        _ => String::new(),
    }
}

/// Serves `router` until `stop`, then lets what is under way finish within the drain time. With `tls`, every
/// connection is TLS. Handlers find the peer as [`ConnectInfo<SocketAddr>`], and hear by [`Drain`] that it is to go.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    limits: ServeLimits,
    stop: CancellationToken,
) {
    let mut connections = Connections::default();
    let mut term = limits.handover.term();
    let acceptor = tls.map(TlsAcceptor::from);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut server = auto::Builder::new(TokioExecutor::new());
    // Limits of HTTP/1 are kept by the connection, see `idle`.
    server.http1().timer(TokioTimer::new()).header_read_timeout(None);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(32 << 10);
    let server = Arc::new(server);
    // Nobody has come in since the last handover.
    let mut is_new = false;
    let patience = Patience { head: limits.header_timeout, idle: limits.idle_timeout };
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot,
            () = stop.cancelled() => break,
        };
        let (tcp, peer) = tokio::select! {
            () = term.cancelled(), if !is_new => {
                // Clients that are told so open no stream on the connection any more.
                let (old, within) = (std::mem::take(&mut connections), limits.drain);
                tokio::spawn(async move { old.drain(within, None).await });
                is_new = true;
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = stop.cancelled() => break,
        };
        term = limits.handover.term();
        if term.is_cancelled() {
            continue;
        }
        is_new = false;
        // A proxy waits for each small frame.
        let _ = tcp.set_nodelay(true);
        let (server, acceptor, router) = (server.clone(), acceptor.clone(), router.clone());
        let requests = Requests::default();
        let open = connections.open(requests.clone());
        tokio::spawn(async move {
            let _slot = slot;
            match acceptor {
                None => connection(&server, Timed::new(tcp, requests, patience), router, peer, open).await,
                Some(acceptor) => {
                    let secure = tokio::select! {
                        secure = handshake(&acceptor, tcp) => secure,
                        // It has asked for nothing yet.
                        () = open.drain.begun() => return,
                    };
                    if let Some(tls) = secure {
                        connection(&server, Timed::new(tls, requests, patience), router, peer, open).await;
                    } else {
                        tracing::debug!(%peer, "a TLS handshake failed");
                    }
                }
            }
        });
    }
    drop(listener);
    if !connections.drain(limits.drain, limits.departures).await {
        tracing::info!("some connections did not end within the drain time and are closed");
    }
}

async fn handshake(acceptor: &TlsAcceptor, tcp: TcpStream) -> Option<tokio_rustls::server::TlsStream<TcpStream>> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await.ok()?.ok()
}

async fn connection<S>(
    server: &auto::Builder<TokioExecutor>,
    stream: Timed<S>,
    router: Router,
    peer: SocketAddr,
    open: Open,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, drain) = (stream.requests(), open.drain.clone());
    let service = tower::service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let unanswered = requests.arrived();
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(drain.clone());
        let answer = router.clone().oneshot(request);
        async move { Ok::<_, Infallible>(answer.await?.map(|body| unanswered.until_end_of(body))) }
    });
    let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = open.drain.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%peer, %error, "a connection ended with an error");
    }
}
