//! Tokens of users, dataplane proxies and zones: signed with RSA keys that lie in secrets, verified with those or with
//! public keys from the configuration.
//!
//! Everything here is a function of values: where secrets are is the business of [`KeySource`], and the time and the id
//! of a token are arguments. [`issue`] signs with the newest key, [`Verifier`] picks the key by the `kid` of the token,
//! then looks at the times and the list of revoked ids, and [`request`] is what the endpoints are asked.

mod claims;
mod issue;
mod jwt;
pub mod key;
pub mod request;
mod source;
#[cfg(test)]
mod tests;
mod verify;

pub use claims::{Claims, DataplaneClaims, UserClaims, ZoneClaims};
pub use issue::{IssueError, issue};
pub use key::{KeyError, PublicKey, SigningKey};
pub use source::{KeyNotFound, KeySource, Purpose};
pub use verify::{StaticKey, StaticKeyError, TokenError, Verifier};

/// Lifetime of the tokens whose request names none: ten years.
pub const DEFAULT_VALIDITY: kuma_core::duration::GoDuration = kuma_core::duration::GoDuration::from_hours(87_600);

/// Secret with the token of the admin user, made at the first start.
pub const ADMIN_TOKEN_SECRET: &str = "admin-user-token";
