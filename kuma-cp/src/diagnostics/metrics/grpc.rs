//! gRPC calls of the data plane server, by the usual names: calls that began and ended, messages in both directions.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::{self, Next},
    response::Response,
};
use bytes::Bytes;
use http_body::Frame;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use tonic::Code;

/// Methods that are counted under their names. Whatever else is called is counted as one.
const METHODS: [(&str, &str); 3] = [
    ("envoy.service.discovery.v3.AggregatedDiscoveryService", "DeltaAggregatedResources"),
    ("envoy.service.discovery.v3.AggregatedDiscoveryService", "StreamAggregatedResources"),
    ("envoy.service.health.v3.HealthDiscoveryService", "StreamHealthCheck"),
];

/// Metrics of all calls. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct GrpcMetrics {
    started: Family<Call, Counter>,
    handled: Family<Ended, Counter>,
    received: Family<Call, Counter>,
    sent: Family<Call, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    grpc_service: &'static str,
    grpc_method: &'static str,
    grpc_type: &'static str,
    grpc_code: String,
}

impl GrpcMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register("grpc_server_started", "Calls that began", this.started.clone());
        registry.register("grpc_server_handled", "Calls that ended, by their status", this.handled.clone());
        registry.register("grpc_server_msg_received", "Messages received", this.received.clone());
        registry.register("grpc_server_msg_sent", "Messages sent", this.sent.clone());
        this
    }

    /// The same router, observed. What is not gRPC is none of its business.
    pub fn observe(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), observe))
    }
}

/// Is this a request or a response of gRPC?
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

async fn observe(State(metrics): State<GrpcMetrics>, request: Request, next: Next) -> Response {
    if !is_grpc(request.headers()) {
        return next.run(request).await;
    }
    let path = request.uri().path().trim_start_matches('/').split_once('/').unwrap_or_default();
    let (grpc_service, grpc_method) = METHODS.into_iter().find(|known| *known == path).unwrap_or(("other", "other"));
    let call = Call { grpc_service, grpc_method, grpc_type: "bidi_stream" };
    metrics.started.get_or_create(&call).inc();
    let received = metrics.received.get_or_create(&call).clone();
    let request = request.map(|body| Body::new(Messages { body, counter: received, prefix: Prefix::default() }));
    let response = next.run(request).await;
    let mut end = End { metrics: metrics.clone(), call: call.clone(), told: false };
    if response.headers().contains_key("grpc-status") {
        end.tell(response.headers());
    }
    let sent = metrics.sent.get_or_create(&call).clone();
    response.map(|body| {
        let body = Messages { body, counter: sent, prefix: Prefix::default() };
        Body::new(Watched { body, end })
    })
}

/// A body whose messages are counted as they pass.
struct Messages {
    body: Body,
    counter: Counter,
    prefix: Prefix,
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let whole = self.prefix.feed(data);
            self.counter.inc_by(whole);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// Finds the beginnings of messages: each has a prefix of five bytes, the last four of them its length.
#[derive(Default)]
struct Prefix {
    /// Bytes of a prefix that has not come whole.
    begun: Vec<u8>,
    /// Bytes of the message that are still to come.
    rest: usize,
}

impl Prefix {
    /// Takes bytes in; how many messages began with them.
    fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        let mut messages = 0;
        while !bytes.is_empty() {
            let body = self.rest.min(bytes.len());
            self.rest -= body;
            bytes = &bytes[body..];
            let missing = (5 - self.begun.len()).min(bytes.len());
            if self.rest == 0 && missing > 0 {
                self.begun.extend_from_slice(&bytes[..missing]);
                bytes = &bytes[missing..];
                if let [_, a, b, c, d] = self.begun[..] {
                    self.rest = u32::from_be_bytes([a, b, c, d]) as usize;
                    self.begun.clear();
                    messages += 1;
                }
            }
        }
        messages
    }
}

/// A response that tells how its call ended.
struct Watched {
    body: Messages,
    end: End,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(trailers) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref()) {
            self.end.tell(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// The end of a call, told once. A call whose connection breaks is cancelled.
struct End {
    metrics: GrpcMetrics,
    call: Call,
    told: bool,
}

impl End {
    fn tell(&mut self, headers: &HeaderMap) {
        let code = headers.get("grpc-status").map_or(Code::Unknown, |status| Code::from_bytes(status.as_bytes()));
        self.count(code);
    }

    fn count(&mut self, code: Code) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let grpc_code = match code {
            Code::Ok => "OK".to_owned(),
            Code::Cancelled => "Canceled".to_owned(),
            other => format!("{other:?}"),
        };
        let Call { grpc_service, grpc_method, grpc_type } = self.call;
        self.metrics.handled.get_or_create(&Ended { grpc_service, grpc_method, grpc_type, grpc_code }).inc();
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.count(Code::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let bytes = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[1, 0, 0, 1, 0], &[7; 256]].concat();
        for size in 1..bytes.len() {
            let mut prefix = Prefix::default();
            let counted: u64 = bytes.chunks(size).map(|chunk| prefix.feed(chunk)).sum();
            assert_eq!((counted, prefix.rest, prefix.begun.len()), (3, 0, 0), "in pieces of {size}");
        }
    }
}
