//! gRPC on our own terms: requests are decoded by tonic, responses are frames that somebody else has already encoded.
//!
//! tonic keeps an encode buffer as large as the largest message for every stream; with thousands of streams that is
//! most of the memory. [`Frames`] hands one exact buffer per message to HTTP/2 and drops it when it is sent.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

/// Frames (5-byte prefix included) in, an HTTP/2 response body out; ends with `grpc-status` in the trailers.
pub struct Frames {
    frames: mpsc::Receiver<Result<Bytes, Status>>,
    ended: bool,
}

impl Frames {
    /// A body that sends what comes through the channel; a `Status` ends it, closing the channel ends it with OK.
    pub fn new(frames: mpsc::Receiver<Result<Bytes, Status>>) -> Self {
        Self { frames, ended: false }
    }

    fn end(&mut self, status: &Status) -> Frame<Bytes> {
        self.ended = true;
        let mut trailers = http::HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            trailers.insert("grpc-status", http::HeaderValue::from_static("2"));
        }
        Frame::trailers(trailers)
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.frames.poll_recv(cx).map(|next| {
            Some(Ok(match next {
                Some(Ok(bytes)) => Frame::data(bytes),
                Some(Err(status)) => self.end(&status),
                None => self.end(&Status::ok("")),
            }))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// The messages of a request body, each of at most `limit` bytes.
pub fn requests<M: Message + Default + 'static>(body: axum::body::Body, limit: usize) -> Streaming<M> {
    use tonic::codec::Codec;
    let mut codec = ProstCodec::<M, M>::default();
    Streaming::new_request(codec.decoder(), body, None, Some(limit))
}

/// The response that carries the frames.
pub fn response(frames: mpsc::Receiver<Result<Bytes, Status>>) -> http::Response<axum::body::Body> {
    let mut response = http::Response::new(axum::body::Body::new(Frames::new(frames)));
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    response
}

/// An answer without any message: status in the headers ("trailers only").
pub fn refuse(status: &Status) -> http::Response<axum::body::Body> {
    let mut response = http::Response::new(axum::body::Body::empty());
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    let _ = status.add_header(response.headers_mut());
    response
}

/// One encoded message as a frame.
pub fn frame<M: Message>(message: &M) -> Bytes {
    use bytes::BufMut;
    let mut out = bytes::BytesMut::with_capacity(5 + message.encoded_len());
    out.put_u8(0);
    out.put_u32(message.encoded_len() as u32);
    out.put_slice(&message.encode_to_vec());
    out.freeze()
}
