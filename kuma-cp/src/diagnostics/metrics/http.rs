//! HTTP requests of one server: how long they take, how large the answers are, how many there are at the moment.

use std::{fmt::Debug, time::Instant};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{Method, header},
    middleware::{self, Next},
    response::Response,
};
use http_body::Body as _;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::api::RoutePattern;

/// Upper bounds of durations in seconds.
const SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of sizes in bytes.
const BYTES: [f64; 8] = [1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// Metrics of one server. Clones share them.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    duration: Family<Answered, Histogram>,
    size: Family<Answered, Histogram>,
    inflight: Family<Handled, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    /// Pattern of the path; empty for a path that nothing is served under.
    handler: String,
    method: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Handled {
    /// Pattern of the path, if it is known before the request is answered.
    handler: String,
}

impl HttpMetrics {
    /// Metrics whose names begin with the name of the server.
    pub(super) fn new(registry: &mut Registry, server: &'static str) -> Self {
        let this = Self {
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            size: Family::new_with_constructor(|| Histogram::new(BYTES)),
            inflight: Family::default(),
        };
        let name = |rest: &str| format!("{server}_http_{rest}");
        registry.register(name("request_duration_seconds"), "Time until an answer begins", this.duration.clone());
        registry.register(name("response_size_bytes"), "Size of the body of an answer", this.size.clone());
        registry.register(name("requests_inflight"), "Requests that are being answered", this.inflight.clone());
        this
    }

    /// The same router, observed. gRPC is none of its business.
    pub fn observe(&self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(self.clone(), observe))
    }
}

async fn observe(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    if super::grpc::is_grpc(request.headers()) {
        return next.run(request).await;
    }
    let method = method(request.method());
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let handled = Handled { handler: matched.clone().unwrap_or_default() };
    let _inflight = Inflight::new(metrics.inflight.get_or_create(&handled).clone());
    let begin = Instant::now();
    let response = next.run(request).await;
    let pattern = response.extensions().get::<RoutePattern>().map(|pattern| pattern.0.clone());
    let labels =
        Answered { handler: pattern.or(matched).unwrap_or_default(), method, code: response.status().as_u16() };
    metrics.duration.get_or_create(&labels).observe(begin.elapsed().as_secs_f64());
    let declared = || response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    if let Some(size) = response.body().size_hint().exact().or_else(declared) {
        metrics.size.get_or_create(&labels).observe(size as f64);
    }
    response
}

/// Everything else is one: a client must not be able to make up series.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Counts for as long as it lives.
struct Inflight(Gauge);

impl Inflight {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Inflight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
