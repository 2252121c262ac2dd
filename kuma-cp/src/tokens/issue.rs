//! Issuing tokens.

use jiff::{SignedDuration, Timestamp};
use kuma_core::duration::GoDuration;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Claims, KeyNotFound, KeySource, SigningKey, jwt, key::KeyError, source::FIRST_SERIAL};

/// A token counts from shortly before it is issued, for clocks that are behind.
const BACKDATED: SignedDuration = SignedDuration::from_secs(5);

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is no key to sign with.
    #[error(transparent)]
    KeyNotFound(#[from] KeyNotFound),
    /// The key is there, and is none.
    #[error("signing key in secret {secret:?} cannot be used: {source}")]
    Key {
        /// The secret.
        secret: String,
        /// Why not.
        source: KeyError,
    },
    /// Tokens are signed elsewhere.
    #[error("issuing tokens using the control plane is disabled.")]
    Disabled,
    /// Time or claims that no token can hold.
    #[error("could not sign a token: {0}")]
    Unsignable(String),
}

/// Signs a token with the newest key. `id` is the random id by which it can be revoked; `mesh` counts for dataplane
/// tokens only. Signing takes about a millisecond of computation.
pub fn issue<C: Claims>(
    claims: &C,
    mesh: &str,
    source: &dyn KeySource,
    now: Timestamp,
    id: Uuid,
    valid_for: GoDuration,
) -> Result<String, IssueError> {
    let purpose = C::purpose(mesh);
    let Some(kid) = purpose.newest_key(source) else {
        return Err(KeyNotFound::new(&purpose, FIRST_SERIAL).into());
    };
    let secret = purpose.key_name(&kid);
    let bytes = source.secret(purpose.mesh(), &secret).ok_or_else(|| KeyNotFound::new(&purpose, &kid))?;
    let key = SigningKey::parse(bytes.expose()).map_err(|source| IssueError::Key { secret: secret.clone(), source })?;

    let at = |offset: SignedDuration| {
        now.checked_add(offset).map(Timestamp::as_second).map_err(|e| IssueError::Unsignable(e.to_string()))
    };
    let begin = at(-BACKDATED)?;
    let end = at(SignedDuration::from_nanos(valid_for.as_nanos()))?;
    let mut all = serde_json::to_value(claims).map_err(|e| IssueError::Unsignable(e.to_string()))?;
    if let Value::Object(all) = &mut all {
        for (name, value) in [("exp", json!(end)), ("nbf", json!(begin)), ("iat", json!(begin)), ("jti", json!(id))] {
            all.insert(name.to_owned(), value);
        }
    }
    jwt::encode(&kid, &all, &key).map_err(|source| IssueError::Key { secret, source })
}
