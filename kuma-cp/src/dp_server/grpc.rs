//! gRPC on our own terms: requests are decoded by tonic, responses are frames that somebody else has already encoded.
//!
//! tonic keeps an encode buffer as large as the largest message for every stream; with thousands of streams that is
//! most of the memory. [`Frames`] hands one exact buffer per message to HTTP/2 and drops it when it is sent.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
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
        write_status(status, &mut trailers);
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
    write_status(status, response.headers_mut());
    response
}

/// Writes a status. tonic escapes spaces and much else in its text, which the protocol does not ask for, and which
/// Envoy shows as it comes: `authentication%20failed`.
fn write_status(status: &Status, headers: &mut HeaderMap) {
    if status.add_header(headers).is_err() {
        headers.insert("grpc-status", HeaderValue::from_static("2"));
    }
    if let Some(message) = headers.get_mut("grpc-message")
        && let Ok(text) = HeaderValue::from_str(&escape(status.message()))
    {
        *message = text;
    }
}

/// Escapes what is not printable ASCII, and the sign of escaping.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            printable => out.push(char::from(printable)),
        }
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_well_where_nobody_decodes_it() {
        let status = Status::unauthenticated("token is for \"a\", 100% of it\nä");
        let mut headers = HeaderMap::new();
        write_status(&status, &mut headers);
        assert_eq!(headers["grpc-status"], "16");
        assert_eq!(headers["grpc-message"], "token is for \"a\", 100%25 of it%0A%C3%A4");
        let read = Status::from_header_map(&headers).expect("a status");
        assert_eq!(read.message(), status.message());
    }
}
