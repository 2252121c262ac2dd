//! The error object of the API, and the texts that are part of its interface.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kuma_core::{
    admit::Rejection,
    store::StoreError,
    validate::{Path, Violation, Violations},
};
use serde_json::{Map, Value, json};

use super::print;
use crate::{
    auth::{AccessDenied, InvalidCredentials},
    tokens::{IssueError, KeyNotFound},
};

/// What went wrong with a request, as its sender sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Status of the answer.
    pub status: StatusCode,
    /// Which operation failed.
    pub title: String,
    /// Why.
    pub detail: String,
    /// The fields that are wrong.
    pub violations: Vec<Violation>,
}

/// Title of the answer to a request that cannot be understood.
pub(super) const BAD_REQUEST: &str = "Bad Request";
/// Detail of every answer about invalid fields of a resource.
const NOT_VALID: &str = "Resource is not valid";

impl Problem {
    /// A problem without fields.
    pub fn new(status: StatusCode, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { status, title: title.into(), detail: detail.into(), violations: Vec::new() }
    }

    /// Something is not there. The cause is not told.
    pub fn not_found(title: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, title, "Not found")
    }

    /// 400 under the title of an operation.
    pub fn bad(title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, title, detail)
    }

    /// 400 for what cannot be understood at all.
    pub fn bad_request(detail: impl std::fmt::Display) -> Self {
        Self::bad(BAD_REQUEST, format!("bad request: {detail}"))
    }

    /// 400 with the fields that are wrong.
    pub fn invalid(title: impl Into<String>, violations: Violations) -> Self {
        Self { violations: violations.0, ..Self::bad(title, NOT_VALID) }
    }

    /// 400 with one field that is wrong.
    pub fn invalid_field(title: impl Into<String>, field: &str, reason: impl Into<String>) -> Self {
        let mut violations = Violations::new();
        violations.add(&Path::root(field), reason);
        Self::invalid(title, violations)
    }

    /// 500; the cause goes to the log, not to the sender.
    pub fn internal(title: impl Into<String>, cause: &dyn std::fmt::Display) -> Self {
        let title = title.into();
        tracing::error!(error = %cause, title, "a request could not be answered");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, title, "Internal Server Error")
    }

    /// 403.
    pub fn denied(denied: &AccessDenied) -> Self {
        Self::new(StatusCode::FORBIDDEN, AccessDenied::TITLE, denied.to_string())
    }

    /// 401. The reason is for the log.
    pub fn unauthenticated(reason: &InvalidCredentials) -> Self {
        tracing::info!(%reason, "a request showed a token that is not good");
        Self::new(StatusCode::UNAUTHORIZED, InvalidCredentials::TITLE, InvalidCredentials::DETAIL)
    }

    /// 405 for a resource that cannot be written here.
    pub fn read_only(detail: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", detail)
    }

    /// What the store said about a write or a read.
    pub fn store(title: &str, error: &StoreError) -> Self {
        match error {
            StoreError::NotFound(_) => Self::not_found(title),
            StoreError::AlreadyExists(_) | StoreError::Conflict(_) | StoreError::Unreadable(_) => {
                Self::new(StatusCode::CONFLICT, "Conflict", error.to_string())
            }
            StoreError::Unavailable(_) | StoreError::Fenced => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", error.to_string())
            }
        }
    }

    /// Why no token was issued.
    pub fn issue(title: &str, error: &IssueError) -> Self {
        match error {
            IssueError::KeyNotFound(key) => Self::key(key),
            IssueError::Disabled => Self::bad(title, error.to_string()),
            IssueError::Key { .. } | IssueError::Unsignable(_) => Self::internal(title, error),
        }
    }

    fn key(key: &KeyNotFound) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Signing Key not found", key.to_string())
    }

    /// The object that is sent. `details` and `causes` repeat for clients of earlier releases.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("type".into(), "/std-errors".into());
        out.insert("status".into(), self.status.as_u16().into());
        out.insert("title".into(), self.title.as_str().into());
        out.insert("detail".into(), self.detail.as_str().into());
        let list = |text: &str| -> Value {
            self.violations.iter().map(|v| json!({"field": v.field, text: v.message})).collect()
        };
        if !self.violations.is_empty() {
            out.insert("invalid_parameters".into(), list("reason"));
        }
        out.insert("details".into(), self.detail.as_str().into());
        if !self.violations.is_empty() {
            out.insert("causes".into(), list("message"));
        }
        Value::Object(out)
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Invalid { title, violations } => Self::invalid(title, violations),
            Rejection::BadRequest(text) => Self::bad_request(text),
        }
    }
}

/// When somebody who was told that something is away may ask again, in seconds.
const RETRY_AFTER: &str = "5";

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = print::json(self.status, &self.to_json());
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        response
    }
}
