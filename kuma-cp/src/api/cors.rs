//! Requests from pages of other origins.

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};

use super::print;

/// The origin of a request, if pages from there may read the answers.
pub(super) struct Origin(Option<HeaderValue>);

/// Headers that a page may send; browsers allow these without asking.
const SIMPLE_HEADERS: HeaderValue = HeaderValue::from_static("Accept, Accept-Language, Content-Language, Content-Type");

impl Origin {
    /// Compares the `Origin` of a request with the configured ones: whole origins, without regard to case, or `.*`.
    pub(super) fn of(allowed: &[String], headers: &HeaderMap) -> Self {
        let origin = headers.get(header::ORIGIN);
        let known = origin.and_then(|o| o.to_str().ok()).is_some_and(|origin| {
            !origin.is_empty() && allowed.iter().any(|a| a == ".*" || a.eq_ignore_ascii_case(origin))
        });
        Self(origin.filter(|_| known).cloned())
    }

    /// Tells the browser that the page may read the answer.
    pub(super) fn mark(&self, response: &mut Response) {
        let Some(origin) = &self.0 else { return };
        if response.extensions().get::<Refused>().is_some() {
            return;
        }
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        let exposed = HeaderValue::from_static("Access-Control-Allow-Origin");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }

    /// The answer to a question of a browser before the real request. A page gets no leave to send headers of its own,
    /// and with it none to write: that would open every anonymous write to it.
    pub(super) fn preflight(&self, head: &Parts, methods: &[Method]) -> Option<Response> {
        self.0.as_ref()?;
        let wanted = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if head.method != Method::OPTIONS {
            return None;
        }
        let mut response = print::empty(StatusCode::OK);
        let exists = methods.iter().any(|m| m.as_str().as_bytes() == wanted.as_bytes());
        if exists && !head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, list(methods));
            response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, SIMPLE_HEADERS);
        } else {
            response.extensions_mut().insert(Refused);
        }
        Some(response)
    }
}

/// A preflight that gets no leave, and so no mark either.
#[derive(Clone, Copy)]
struct Refused;

/// Methods as a header lists them.
pub(super) fn list(methods: &[Method]) -> HeaderValue {
    let text = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("GET"))
}
