//! The port of health, metrics and log levels.
//!
//! It answers from the first moment: a control plane that is still starting is alive and not ready. Readiness is a set
//! of named tasks that are ticked off ([`Readiness`]), metrics are in one place ([`metrics::Metrics`]).

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::logging::{LogControl, LogLevel, levels};

pub mod metrics;
#[cfg(test)]
mod tests;

pub use metrics::Metrics;

/// A change of levels is never longer.
const MAX_BODY: usize = 4096;

/// What has to happen before requests can be served: names that are ticked off one by one. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeSet<&'static str>>>);

impl Readiness {
    /// With the tasks that are waited for.
    pub fn of(tasks: impl IntoIterator<Item = &'static str>) -> Self {
        Self(Arc::new(Mutex::new(tasks.into_iter().collect())))
    }

    /// This task is done. A name that is not waited for changes nothing.
    pub fn done(&self, task: &str) {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.remove(task) {
            tracing::debug!(task, left = ?*left, "a task of the start is done");
        }
    }

    /// This task is waited for (again).
    pub fn wait_for(&self, task: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task);
    }

    /// The tasks that are waited for, sorted.
    pub fn left(&self) -> Vec<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// Is nothing waited for?
    pub fn is_ready(&self) -> bool {
        self.left().is_empty()
    }
}

/// What the port tells about.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    /// What is waited for.
    pub readiness: Readiness,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Levels of logs.
    pub log: LogControl,
}

/// The routes of the port.
pub fn router(diagnostics: Diagnostics) -> Router {
    Router::new()
        .route("/ready", any(ready))
        .route("/healthy", any(|| async { StatusCode::OK }))
        .route("/metrics", any(metrics))
        .route("/logging", any(logging))
        .route("/logging/{component}", any(logging_of))
        .fallback(|| async { text(StatusCode::NOT_FOUND, "404 page not found") })
        .with_state(diagnostics)
}

async fn ready(State(diagnostics): State<Diagnostics>) -> StatusCode {
    if diagnostics.readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn metrics(State(diagnostics): State<Diagnostics>) -> Response {
    match diagnostics.metrics.encode() {
        Ok(body) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], body).into_response(),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("metrics cannot be written: {error}")),
    }
}

/// Body of a change of levels.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LevelChange {
    component: String,
    level: String,
}

async fn logging(State(diagnostics): State<Diagnostics>, request: Request) -> Response {
    match *request.method() {
        Method::GET => components(diagnostics.log.overrides()),
        Method::DELETE => components(diagnostics.log.clear_all()),
        Method::PUT => {
            let body = axum::body::to_bytes(request.into_body(), MAX_BODY).await.unwrap_or_default();
            change(&diagnostics.log, &body)
        }
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
    }
}

fn change(log: &LogControl, body: &Bytes) -> Response {
    // By way of a map: a list is no body, although its items could be taken for the members in order.
    let body = serde_json::from_slice::<Map<String, Value>>(body).map(Value::Object);
    let Ok(LevelChange { component, level }) = body.and_then(serde_json::from_value) else {
        return text(StatusCode::BAD_REQUEST, "invalid request body");
    };
    if let Err(error) = levels::check_name(&component) {
        return text(StatusCode::BAD_REQUEST, &error.to_string());
    }
    match level.parse::<LogLevel>() {
        Err(error) => text(StatusCode::BAD_REQUEST, &format!("invalid log level: {error}")),
        Ok(level) => match log.set(&component, level) {
            Ok(()) => StatusCode::OK.into_response(),
            Err(error) => text(StatusCode::TOO_MANY_REQUESTS, &error.to_string()),
        },
    }
}

async fn logging_of(State(diagnostics): State<Diagnostics>, Path(component): Path<String>, method: Method) -> Response {
    if method != Method::DELETE {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("DELETE"));
        return answer;
    }
    match diagnostics.log.clear(&component) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn components(overrides: impl IntoIterator<Item = (String, LogLevel)>) -> Response {
    let map: Map<String, Value> = overrides.into_iter().map(|(name, level)| (name, level.as_str().into())).collect();
    let body = format!("{}\n", json!({ "components": map }));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn text(status: StatusCode, text: &str) -> Response {
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (status, headers, format!("{text}\n")).into_response()
}
