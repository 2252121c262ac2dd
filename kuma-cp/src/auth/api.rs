//! Who calls the API: a program on this host, the bearer of a user token, or somebody unknown.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};
use jiff::Timestamp;

use super::{User, localhost};
use crate::tokens::{KeySource, TokenError, UserClaims, Verifier};

/// A token that is shown and is not good. Users are told only that it is not; the reason is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("authentication rejected: {0}")]
pub struct InvalidCredentials(#[source] pub TokenError);

impl InvalidCredentials {
    /// Title of the answer, whose status is 401.
    pub const TITLE: &'static str = "Invalid authentication data";
    /// Detail of the answer.
    pub const DETAIL: &'static str = "Unauthenticated";
}

/// What a request says about its sender.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Address of the other end of the connection.
    pub remote: SocketAddr,
    /// The `Host` header, or `:authority`; empty when there is none.
    pub host: &'a str,
    /// All headers.
    pub headers: &'a HeaderMap,
}

impl<'a> Caller<'a> {
    /// Of a request. Where the target is a whole URL, or the protocol is HTTP/2, the host is in there; several `Host`
    /// headers count as none.
    pub fn of<B>(request: &'a axum::http::Request<B>, remote: SocketAddr) -> Self {
        let headers = request.headers();
        let mut hosts = headers.get_all(header::HOST).into_iter();
        let header = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            _ => None,
        };
        let host = request.uri().authority().map(axum::http::uri::Authority::as_str).or(header).unwrap_or_default();
        Self { remote, host, headers }
    }
}

/// Finds out who calls the API.
#[derive(Clone, Debug)]
pub struct ApiAuthenticator {
    /// Whether a direct request from this host is the admin.
    pub localhost_is_admin: bool,
    /// Verifies user tokens.
    pub tokens: Verifier,
}

impl ApiAuthenticator {
    /// The sender of a request. A direct request from this host is not asked for a token, so a bad one does no harm.
    /// `open` is a path that anybody may see ([`is_open`]): tokens are not looked at there.
    pub fn authenticate(
        &self,
        caller: Caller<'_>,
        open: bool,
        source: &dyn KeySource,
        now: Timestamp,
    ) -> Result<User, InvalidCredentials> {
        if self.localhost_is_admin && localhost::is_direct(caller.remote, caller.host, caller.headers) {
            return Ok(User::admin().authenticated());
        }
        match bearer(caller.headers) {
            Some(token) if !open => {
                let claims: UserClaims = self.tokens.verify(token, "", source, now).map_err(InvalidCredentials)?;
                Ok(User { name: claims.name, groups: claims.groups }.authenticated())
            }
            _ => Ok(User::anonymous()),
        }
    }
}

/// The token of an `Authorization` header. Any other scheme or spelling is no token, as it never was.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// May anybody see this path? It is the index of the API and the GUI.
pub fn is_open(path: &str, base_path: &str) -> bool {
    let base = base_path.trim_end_matches('/');
    path.starts_with("/gui") || path.strip_prefix(base).is_some_and(|rest| matches!(rest, "" | "/"))
}
