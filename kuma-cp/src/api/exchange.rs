//! One request and its answer: who asks, which endpoint, whether the request has the right form, and the limits on its
//! size and time. What endpoints do is elsewhere.

use std::{net::SocketAddr, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    body::Body,
    extract::connect_info::ConnectInfo,
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body::Body as _;
use http_body_util::BodyExt;

use super::{
    context::{ApiContext, Asked, Scheme},
    cors, gui,
    path::{self, Endpoint, Route, Token},
    print,
    problem::Problem,
    query::Query,
};
use crate::auth::{Caller, api::is_open};

/// Bytes of a body that is too long which are read before that is said.
const MOST_IGNORED: u64 = 64 << 20;

/// Pattern of the path that a request was answered under; in the extensions of each answer of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern(pub String);

/// Answers one request. A handler that panics costs its request only.
pub(super) async fn answer(context: Arc<ApiContext>, scheme: Scheme, request: Request<Body>) -> Response {
    let cors = cors::Origin::of(&context.settings.cors_origins, request.headers());
    let within = tokio::time::timeout(context.settings.write_timeout, exchange(&context, scheme, &cors, request));
    let mut response = match AssertUnwindSafe(within).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", "The answer took too long")
            .into_response(),
        Err(_) => {
            Problem::internal("Internal Server Error", &"a handler panicked; its message is above").into_response()
        }
    };
    cors.mark(&mut response);
    response
}

async fn exchange(context: &Arc<ApiContext>, scheme: Scheme, cors: &cors::Origin, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let remote = head.extensions.get().map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |ConnectInfo(peer)| *peer);
    let raw_path = head.uri.path();
    if let Some(clean) = path::cleaned(raw_path) {
        return redirect(&clean, &head.uri);
    }
    let state = context.state.current();
    let open = is_open(raw_path, &context.settings.base_path);
    let caller = Caller { remote, host: host(&head.uri, &head.headers), headers: &head.headers };
    let user = match context.authenticator.authenticate(caller, open, &*state, (context.now)()) {
        Ok(user) => user,
        Err(reason) => return Problem::unauthenticated(&reason).into_response(),
    };
    if let Some(page) = gui::page(context, raw_path) {
        return page;
    }
    let Some(below) = below_base(raw_path, &context.settings.base_path) else {
        return print::text(StatusCode::NOT_FOUND, "404 page not found\n");
    };
    let Some(Route { endpoint, pattern }) = path::segments(below).and_then(|s| path::find(&s)) else {
        return print::text(StatusCode::NOT_FOUND, "404: Page Not Found");
    };
    if let Some(preflight) = cors.preflight(&head, endpoint.methods()) {
        return preflight;
    }
    if let Err(refusal) = form(&endpoint, &head.method, &head.headers) {
        return *refusal;
    }
    let body = if matches!(head.method, Method::PUT | Method::POST) {
        let asks_first = head.headers.contains_key(header::EXPECT);
        match read(context, body, asks_first).await {
            Ok(body) => body,
            Err(problem) => return problem.into_response(),
        }
    } else {
        Bytes::new()
    };
    let asked = Asked {
        path: raw_path.to_owned(),
        origin: format!("{}://{}", scheme.as_str(), host(&head.uri, &head.headers)),
        query: Query::parse(head.uri.query().unwrap_or_default()),
        user,
        pattern: pattern.clone(),
        body,
        state,
    };
    let mut response = super::dispatch(context, &head.method, endpoint, asked).await.into_response();
    response.extensions_mut().insert(RoutePattern(pattern));
    response
}

/// Whether the request has the form that its endpoint wants; the refusal is the router's, in plain text.
fn form(endpoint: &Endpoint, method: &Method, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let methods = endpoint.methods();
    if !methods.contains(method) {
        let mut response = print::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
        response.headers_mut().insert(header::ALLOW, cors::list(methods));
        return Err(Box::new(response));
    }
    if matches!(*method, Method::PUT | Method::POST) && !is_json(headers.get(header::CONTENT_TYPE)) {
        return Err(Box::new(print::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type")));
    }
    // Tokens and the views of Envoy are not JSON, so nothing is demanded there.
    let free = matches!(endpoint, Endpoint::Token(_) | Endpoint::Proxy(_, _, path::View::Admin(_)));
    if !free && !accepts_json(headers) {
        let text = "406: Not Acceptable\n\nAvailable representations: application/json";
        return Err(Box::new(print::text(StatusCode::NOT_ACCEPTABLE, text)));
    }
    Ok(())
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let text = content_type.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence == "*/*"
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let mut ranges = headers.get_all(header::ACCEPT).into_iter().filter_map(|v| v.to_str().ok()).peekable();
    if ranges.peek().is_none() {
        return true;
    }
    ranges.flat_map(|v| v.split(',')).any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        range.is_empty() || range == "*/*" || range.eq_ignore_ascii_case("application/json")
    })
}

/// The whole body. `asks_first`: the client waits for a word before it sends.
async fn read(context: &ApiContext, mut body: Body, asks_first: bool) -> Result<Bytes, Problem> {
    let max = context.settings.max_body;
    let mut bytes = BytesMut::new();
    let mut length = body.size_hint().lower();
    if length <= max as u64 || !asks_first {
        length = 0;
        let whole = receive(&mut body, &mut bytes, &mut length, max as u64);
        let received = tokio::time::timeout(context.settings.read_timeout, whole).await;
        if length <= max as u64 {
            match received {
                Ok(Ok(())) => return Ok(bytes.freeze()),
                Ok(Err(error)) => return Err(Problem::bad_request(format!("the body could not be read: {error}"))),
                Err(_) => {
                    let detail = "The body took too long to arrive";
                    return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "Request timeout", detail));
                }
            }
        }
    }
    let detail = format!("The body is longer than {max} bytes. Split what it describes into several resources");
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "Body too large", detail))
}

/// Keeps up to `max` bytes, and lets go of some more: a client that is still sending when the connection closes may not
/// get to read the answer.
async fn receive(body: &mut Body, kept: &mut BytesMut, length: &mut u64, max: u64) -> Result<(), axum::Error> {
    while *length <= max.saturating_add(MOST_IGNORED)
        && let Some(frame) = body.frame().await
    {
        let Ok(data) = frame?.into_data() else { continue };
        *length += data.len() as u64;
        if *length <= max {
            kept.extend_from_slice(&data);
        } else {
            *kept = BytesMut::new();
        }
    }
    Ok(())
}

/// The part of a path below the base path. Token requests of users are served without it as well, since that is where
/// clients send them.
fn below_base<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let base = base.trim_end_matches('/');
    match path.strip_prefix(base) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(rest),
        _ => {
            let route = path::find(&path::segments(path)?)?;
            (route.endpoint == Endpoint::Token(Token::User)).then_some(path)
        }
    }
}

fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let header = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    uri.authority().map(axum::http::uri::Authority::as_str).or(header).unwrap_or_default()
}

fn redirect(path: &str, uri: &Uri) -> Response {
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut response = print::empty(StatusCode::TEMPORARY_REDIRECT);
    if let Ok(target) = HeaderValue::from_str(&target) {
        response.headers_mut().insert(header::LOCATION, target);
    }
    response
}
