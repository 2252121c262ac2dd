//! The compact form of a JSON web token, signed with RS256.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::key::{KeyError, SigningKey};

/// A longer text is no token: it is not even taken apart.
const MAX_LENGTH: usize = 64 * 1024;

/// The one algorithm.
const ALGORITHM: &str = "RS256";

/// Why a text is no token that can be verified.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// Not of the form.
    #[error("token is malformed: {0}")]
    Form(String),
    /// Of the form, but nothing that is signed with one of our keys.
    #[error("token is unverifiable: {0}")]
    Unverifiable(String),
}

/// A token taken apart. Nothing of it is to be believed before the signature is verified.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    /// Id of the key.
    pub kid: String,
    /// The signed part of the text.
    pub message: &'a str,
    /// The signature.
    pub signature: Vec<u8>,
    /// The claims.
    pub claims: Map<String, Value>,
}

/// Signs claims with the key of that id.
pub(super) fn encode(kid: &str, claims: &Value, key: &SigningKey) -> Result<String, KeyError> {
    let header = json!({"alg": ALGORITHM, "kid": kid, "typ": "JWT"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes())?);
    Ok(format!("{message}.{signature}"))
}

/// Takes a token apart.
pub(super) fn decode(token: &str) -> Result<Unverified<'_>, Malformed> {
    let form = |text: &str| Malformed::Form(text.to_owned());
    if token.len() > MAX_LENGTH {
        return Err(form("token is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(form("token contains an invalid number of segments"));
    };
    let message = &token[..header.len() + 1 + claims.len()];
    let header = object(header, "header")?;
    let claims = object(claims, "claim")?;
    let keyfunc = |text: String| Malformed::Unverifiable(format!("error while executing keyfunc: {text}"));
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(Malformed::Unverifiable("signing method (alg) is unspecified".to_owned()));
    };
    let kid = match header.get("kid") {
        None => return Err(keyfunc("JWT token must have kid header".to_owned())),
        Some(Value::String(kid)) => kid.clone(),
        Some(_) => return Err(keyfunc("JWT token kid header must be a string".to_owned())),
    };
    if algorithm != ALGORITHM {
        return Err(keyfunc(format!("unsupported token alg {algorithm}. Allowed algorithm is {ALGORITHM}")));
    }
    let signature = URL_SAFE_NO_PAD
        .decode(signature)
        .map_err(|e| Malformed::Form(format!("could not base64 decode signature: {e}")))?;
    Ok(Unverified { kid, message, signature, claims })
}

fn object(part: &str, name: &str) -> Result<Map<String, Value>, Malformed> {
    let bytes =
        URL_SAFE_NO_PAD.decode(part).map_err(|e| Malformed::Form(format!("could not base64 decode {name}: {e}")))?;
    serde_json::from_slice(&bytes).map_err(|e| Malformed::Form(format!("could not JSON decode {name}: {e}")))
}
