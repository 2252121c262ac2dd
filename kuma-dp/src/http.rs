//! The few HTTP/1 exchanges that kuma-dp makes: one request on one connection, bounded in time and size; and the loop that
//! serves its own small endpoints.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::HOST,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Somebody to talk to on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP address.
    Tcp(SocketAddr),
}

/// How patient and how hungry an exchange is.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For the connection.
    pub connect: Duration,
    /// For everything.
    pub total: Duration,
    /// Longest body in bytes.
    pub body: usize,
}

/// An exchange that failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nobody there, or nobody who lets us in.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The peer does not speak HTTP, or hung up.
    #[error("the exchange broke off: {0}")]
    Protocol(#[source] hyper::Error),
    /// The body is too long, or broke off.
    #[error("cannot read the answer: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl HttpError {
    /// Whether nobody listens there: no socket, or connection refused.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Connect(e)
            if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }
}

/// Sends `request` (whose URI is a path) to `peer`.
pub async fn send(peer: &Peer, request: Request<Full<Bytes>>, limits: Limits) -> Result<Response<Bytes>, HttpError> {
    let work = async {
        match peer {
            Peer::Unix(path) => exchange(connect(UnixStream::connect(path), limits).await?, request, limits.body).await,
            Peer::Tcp(address) => {
                exchange(connect(TcpStream::connect(address), limits).await?, request, limits.body).await
            }
        }
    };
    timeout(limits.total, work).await.map_err(|_| HttpError::Timeout(limits.total))?
}

async fn connect<S>(connecting: impl Future<Output = io::Result<S>>, limits: Limits) -> Result<S, HttpError> {
    let connected = timeout(limits.connect, connecting).await;
    connected.map_err(|_| HttpError::Timeout(limits.connect))?.map_err(HttpError::Connect)
}

/// Sends `request` to `peer` and hands out the answer with its body still flowing; only the time until its head is bounded.
pub async fn open(peer: &Peer, request: Request<Full<Bytes>>, limits: Limits) -> Result<Flowing, HttpError> {
    let work = async {
        match peer {
            Peer::Unix(path) => begin(connect(UnixStream::connect(path), limits).await?, request).await,
            Peer::Tcp(address) => begin(connect(TcpStream::connect(address), limits).await?, request).await,
        }
    };
    timeout(limits.total, work).await.map_err(|_| HttpError::Timeout(limits.total))?
}

/// An answer whose body is still flowing; the connection ends when this is dropped.
#[derive(Debug)]
pub struct Flowing {
    /// Head and body.
    pub response: Response<Incoming>,
    _connection: Driver,
}

/// The task that polls a connection.
#[derive(Debug)]
struct Driver(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn begin<S>(stream: S, mut request: Request<Full<Bytes>>) -> Result<Flowing, HttpError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    if !request.headers().contains_key(HOST) {
        request.headers_mut().insert(HOST, hyper::header::HeaderValue::from_static("localhost"));
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(HttpError::Protocol)?;
    // The connection must be polled beside the request, and ends with it.
    let connection = Driver(tokio::spawn(connection));
    let response = sender.send_request(request).await.map_err(HttpError::Protocol)?;
    Ok(Flowing { response, _connection: connection })
}

/// One request over an open connection, which is closed afterwards.
pub async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, limit: usize) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let flowing = begin(stream, request).await?;
    let (head, body) = flowing.response.into_parts();
    let body = Limited::new(body, limit).collect().await.map_err(HttpError::Body)?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// A GET of `path`.
pub fn get(path: &str) -> Request<Full<Bytes>> {
    with_method("GET", path)
}

/// A POST of nothing to `path`.
pub fn post(path: &str) -> Request<Full<Bytes>> {
    with_method("POST", path)
}

fn with_method(method: &str, path: &str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.method_mut() = method.parse().unwrap_or_default();
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// Serves one accepted connection with `handler`; what a client does wrong ends the connection and nothing else.
pub async fn serve<S, H, F, B>(stream: S, handler: H)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let service = service_fn(|request| {
        let answer = handler(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(1))
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

/// Removes what an earlier run left at `path`, so that it can be bound again.
pub fn clear_socket(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    const QUICK: Limits = Limits { connect: Duration::from_millis(200), total: Duration::from_millis(400), body: 1024 };

    async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
        let text = format!("{} {} {:?}", request.method(), request.uri(), request.headers().get(HOST));
        Response::new(Full::from(text))
    }

    #[tokio::test]
    async fn asks_over_a_unix_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move { serve(listener.accept().await.unwrap().0, echo).await });
        let answer = send(&Peer::Unix(path), get("/ready?x"), QUICK).await.unwrap();
        assert_eq!(answer.body(), "GET /ready?x Some(\"localhost\")");
    }

    #[tokio::test]
    async fn nobody_there_is_told_apart_from_nobody_answering() {
        let missing = send(&Peer::Unix("/nowhere/s.sock".into()), get("/"), QUICK).await.unwrap_err();
        assert!(missing.is_absent(), "{missing}");

        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer::Tcp(silent.local_addr().unwrap());
        let error = send(&peer, get("/"), QUICK).await.unwrap_err();
        assert!(matches!(error, HttpError::Timeout(_)) && !error.is_absent(), "{error}");
    }

    #[tokio::test]
    async fn long_answers_are_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer::Tcp(listener.local_addr().unwrap());
        let long = |_| async { Response::new(Full::from(vec![b'x'; 4096])) };
        tokio::spawn(async move { serve(listener.accept().await.unwrap().0, long).await });
        assert!(matches!(send(&peer, post("/"), QUICK).await, Err(HttpError::Body(_))));
    }
}
