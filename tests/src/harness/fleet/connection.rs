//! One HTTP/2 connection over TLS to a control plane, as an Envoy has one: gRPC streams in it, and how it came to its end.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use futures::stream;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kuma_cp::dp_server::grpc;
use prost::Message;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, sync::mpsc, task::JoinHandle, time::timeout};
use tokio_rustls::TlsConnector;
use tokio_util::io::InspectReader;
use tonic::{Status, Streaming, codec::Codec};
use tonic_prost::ProstCodec;

/// For a connection and its handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// A server that ends a stream may take so long to end the connection, before that is done from here.
const FAREWELL: Duration = Duration::from_secs(1);
/// Messages that wait to be written.
const QUEUE: usize = 16;

/// A connection that stands.
pub(super) struct Connection {
    calls: SendRequest<Body>,
    driver: JoinHandle<()>,
    goes: Arc<AtomicBool>,
}

impl Connection {
    pub(super) async fn open(door: SocketAddr, tls: &TlsConnector) -> Result<Self, String> {
        let connecting = async {
            let tcp = TcpStream::connect(door).await?;
            tcp.set_nodelay(true)?;
            tls.connect(ServerName::IpAddress(door.ip().into()), tcp).await
        };
        let secure = timeout(CONNECT, connecting).await.map_err(|error| error.to_string())?;
        let goes = Arc::new(AtomicBool::new(false));
        // The HTTP/2 library does not tell of a GOAWAY without an error.
        let heard = InspectReader::new(secure.map_err(|error| error.to_string())?, {
            let (mut frame, goes) = (Frame::default(), goes.clone());
            move |read: &[u8]| {
                if frame.take(read) {
                    goes.store(true, Ordering::Release);
                }
            }
        });
        let (calls, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(heard)).await.map_err(|error| error.to_string())?;
        // How it ends is told by the calls and by what was heard.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { calls, driver, goes })
    }

    /// Opens a stream; the status with which it is refused.
    pub(super) async fn call<A>(&mut self, path: &str, token: &str) -> Result<Call<A>, Status>
    where
        A: Message + Default + 'static,
    {
        let (requests, written) = mpsc::channel(QUEUE);
        let written = stream::unfold(written, |mut written| async move {
            let bytes = written.recv().await?;
            Some((Ok::<_, Infallible>(bytes), written))
        });
        let request = http::Request::post(format!("https://control-plane{path}"))
            .header(http::header::CONTENT_TYPE, "application/grpc")
            .header(http::header::TE, "trailers")
            .header(http::header::AUTHORIZATION, token)
            .body(Body::from_stream(written))
            .unwrap();
        let broken = |error: hyper::Error| Status::unavailable(error.to_string());
        self.calls.ready().await.map_err(broken)?;
        let response = self.calls.send_request(request).await.map_err(broken)?;
        if let Some(refusal) = Status::from_header_map(response.headers()) {
            return Err(refusal);
        }
        let (head, body) = response.into_parts();
        let decoder = ProstCodec::<A, A>::default().decoder();
        Ok(Call { requests, answers: Streaming::new_response(decoder, body, head.status, None, None) })
    }

    /// Waits for the server to end the connection, and ends it otherwise. Whether the server had asked to go elsewhere.
    pub(super) async fn ended(mut self) -> bool {
        let _ = timeout(FAREWELL, &mut self.driver).await;
        self.driver.abort();
        self.goes.load(Ordering::Acquire)
    }
}

/// A stream of requests and answers.
pub(super) struct Call<A> {
    requests: mpsc::Sender<bytes::Bytes>,
    answers: Streaming<A>,
}

impl<A: Message + Default + 'static> Call<A> {
    /// Sends a request. That nobody reads it is told by the answers.
    pub(super) async fn say(&self, message: &impl Message) {
        let _ = self.requests.send(grpc::frame(message)).await;
    }

    /// The next answer, or how the stream ended.
    pub(super) async fn hear(&mut self) -> Result<A, Status> {
        self.answers.message().await?.ok_or_else(|| Status::ok("the stream ended"))
    }
}

/// The frame that is being read.
#[derive(Default)]
struct Frame {
    /// Its header, and of a GOAWAY what tells the reason.
    head: Vec<u8>,
    /// Bytes of it that are still to come and say nothing of interest.
    rest: usize,
}

impl Frame {
    const HEADER: usize = 9;
    const GOAWAY: u8 = 7;
    /// The last stream, and the reason.
    const REASON: usize = 8;

    /// Takes the next bytes; whether they end a GOAWAY whose reason is no error.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut goes = false;
        loop {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return goes;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if self.head.len() < Self::HEADER {
                continue;
            }
            let length = self.head[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            if self.head[3] == Self::GOAWAY && length >= Self::REASON {
                let Some(told) = self.head.get(Self::HEADER..Self::HEADER + Self::REASON) else { continue };
                goes |= told[4..] == [0; 4];
                self.rest = length - Self::REASON;
            } else {
                self.rest = length;
            }
            self.head.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, 0, 0, 0, 0, 0], payload].concat()
    }

    #[test]
    fn a_goaway_is_heard_however_bytes_are_cut() {
        let others = [frame(4, &[]), frame(0, &[7; 30])].concat();
        let leaving = |reason: u8| frame(Frame::GOAWAY, &[0, 0, 0, 1, 0, 0, 0, reason, b'x']);
        for chunk in [1, 2, 9, 13, 100] {
            let heard = |bytes: &[u8]| {
                let mut frame = Frame::default();
                bytes.chunks(chunk).filter(|chunk| frame.take(chunk)).count()
            };
            assert_eq!(heard(&[&*others, &leaving(0), &others].concat()), 1, "in chunks of {chunk}");
            assert_eq!(heard(&[&*others, &leaving(2), &others].concat()), 0, "an error, in chunks of {chunk}");
        }
    }
}
