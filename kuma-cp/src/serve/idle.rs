//! Time limits of one HTTP/1 connection: the head of a request has to arrive in one time once it has begun, and a
//! connection may be idle for another, much longer one. The HTTP library has a limit for the head alone, and takes an
//! idle connection for one whose head is late: a client that keeps its connection would find it closed, sometimes at the
//! very moment in which it sends the next request.
//!
//! HTTP/2 has its own pings and is left alone.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How every HTTP/2 connection begins. Until all of it is there, it is a head like another: the HTTP library waits for the
/// rest without a limit, and pings nobody before.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Limits of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the head of a request.
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
}

/// Requests of one connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    arrived: AtomicUsize,
    unanswered: AtomicUsize,
}

impl Requests {
    /// One has arrived. It counts until the body of its answer is gone.
    pub(super) fn arrived(&self) -> Unanswered {
        self.0.arrived.fetch_add(1, Ordering::Relaxed);
        self.0.unanswered.fetch_add(1, Ordering::Relaxed);
        Unanswered(self.clone())
    }

    /// Whether one is being answered.
    pub(super) fn has_unanswered(&self) -> bool {
        self.0.unanswered.load(Ordering::Relaxed) > 0
    }
}

/// Held while a request is answered.
#[derive(Debug)]
pub(super) struct Unanswered(Requests);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.0.unanswered.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Unanswered {
    /// The body, which lets go of the request when it is dropped.
    pub(super) fn until_end_of(self, body: Body) -> Body {
        Body::new(Answer { body, _unanswered: self })
    }
}

struct Answer {
    body: Body,
    _unanswered: Unanswered,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing of the next request is there.
    Idle,
    /// Some of it is.
    Head,
    /// Somebody works on an answer.
    Busy,
    /// Not HTTP/1.
    Unlimited,
}

/// How much of [`HTTP2`] was read, if that goes on with `read`.
fn continued(known: usize, read: &[u8]) -> Option<usize> {
    let rest = &HTTP2[known..];
    let length = rest.len().min(read.len());
    (read[..length] == rest[..length]).then_some(known + length)
}

/// A stream that fails to read when a limit is over.
pub(super) struct Timed<S> {
    stream: S,
    requests: Requests,
    patience: Patience,
    phase: Phase,
    /// Requests that had arrived at the last look.
    known: usize,
    /// How much of [`HTTP2`] was read; `None` if something else was.
    preface: Option<usize>,
    limit: Pin<Box<Sleep>>,
}

impl<S> Timed<S> {
    /// A connection that has just been accepted: its first head is due.
    pub(super) fn new(stream: S, requests: Requests, patience: Patience) -> Self {
        let limit = Box::pin(tokio::time::sleep(patience.head));
        Self { stream, requests, patience, phase: Phase::Head, known: 0, preface: Some(0), limit }
    }

    /// The requests that are counted.
    pub(super) fn requests(&self) -> Requests {
        self.requests.clone()
    }

    fn enter(&mut self, phase: Phase, limit: Duration) {
        self.phase = phase;
        self.limit.as_mut().reset(Instant::now() + limit);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.phase != Phase::Unlimited {
            let arrived = this.requests.0.arrived.load(Ordering::Relaxed);
            if this.requests.has_unanswered() {
                this.phase = Phase::Busy;
            } else if this.phase == Phase::Busy || arrived != this.known {
                // It may have been answered without a look in between.
                this.enter(Phase::Idle, this.patience.idle);
            }
            this.known = arrived;
        }
        let before = buf.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(outcome) => {
                let read = &buf.filled()[before..];
                this.preface = this.preface.and_then(|known| continued(known, read));
                if this.preface == Some(HTTP2.len()) {
                    this.phase = Phase::Unlimited;
                } else if this.phase == Phase::Idle && !read.is_empty() {
                    this.enter(Phase::Head, this.patience.head);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending if matches!(this.phase, Phase::Idle | Phase::Head) => {
                std::task::ready!(this.limit.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(1), idle: Duration::from_secs(100) };

    fn connection() -> (DuplexStream, Timed<DuplexStream>, Requests) {
        let (client, server) = duplex(64);
        let requests = Requests::default();
        (client, Timed::new(server, requests.clone(), PATIENCE), requests)
    }

    /// Sends these bytes, which the server reads at once.
    async fn pass(client: &mut DuplexStream, server: &mut Timed<DuplexStream>, bytes: &[u8]) {
        client.write_all(bytes).await.expect("room");
        let mut read = [0; 64];
        assert_eq!(server.read(&mut read).await.expect("what was sent"), bytes.len());
    }

    /// How long a read waits before it gives up.
    async fn gives_up_after(server: &mut Timed<DuplexStream>) -> Duration {
        let begin = Instant::now();
        let error = server.read(&mut [0; 8]).await.expect_err("the end of patience");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_waited_for_in_vain() {
        let (mut client, mut server, _) = connection();
        tokio::time::advance(PATIENCE.head / 2).await;
        pass(&mut client, &mut server, b"GET /").await;
        // What has come does not buy more time.
        assert_eq!(gives_up_after(&mut server).await, PATIENCE.head / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_stays_longer_and_an_answer_may_take_its_time() {
        let (mut client, mut server, requests) = connection();
        pass(&mut client, &mut server, b"GET /").await;
        let unanswered = requests.arrived();
        let read = tokio::time::timeout(PATIENCE.idle * 9, server.read(&mut [0; 8])).await;
        assert!(read.is_err(), "no limit while it is answered");
        drop(unanswered.until_end_of(Body::from("done")));
        assert_eq!(gives_up_after(&mut server).await, PATIENCE.idle);

        let (mut client, mut server, requests) = connection();
        pass(&mut client, &mut server, b"a").await;
        drop(requests.arrived());
        // The next head begins, and is due from then on.
        let idle = tokio::time::timeout(PATIENCE.idle / 2, server.read(&mut [0; 8])).await;
        assert!(idle.is_err());
        pass(&mut client, &mut server, b"b").await;
        assert_eq!(gives_up_after(&mut server).await, PATIENCE.head);
    }

    #[tokio::test(start_paused = true)]
    async fn http2_is_left_alone() {
        let (mut client, mut server, _) = connection();
        pass(&mut client, &mut server, &HTTP2[..9]).await;
        pass(&mut client, &mut server, &HTTP2[9..]).await;
        let read = tokio::time::timeout(PATIENCE.idle * 9, server.read(&mut [0; 8])).await;
        assert!(read.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_begin_like_that_of_http2_is_no_way_to_stay() {
        for begin in [&HTTP2[..3], &HTTP2[..23], b"PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n"] {
            let (mut client, mut server, _) = connection();
            pass(&mut client, &mut server, begin).await;
            assert_eq!(gives_up_after(&mut server).await, PATIENCE.head);
        }
    }
}
