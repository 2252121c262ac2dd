//! Verifying tokens.

use std::{fs, path::PathBuf};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    Claims, KeyNotFound, KeySource, PublicKey, Purpose,
    jwt::{self, Malformed},
    key::KeyError,
};
use crate::config;

/// Why a token is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Its key is not here.
    #[error(transparent)]
    KeyNotFound(#[from] KeyNotFound),
    /// It counts from a time in the future.
    #[error(
        "token is not yet valid: 'valid_from' date is in the future. Check if the system clock on the instance that \
         issued the token is set correctly: token has invalid claims: token is not valid yet"
    )]
    NotYetValid,
    /// It is not of the form, is not signed by its key, or has ended.
    #[error("could not parse token{}: {cause}", likely_cause(*.forgetful))]
    Unacceptable {
        /// Whether keys are lost when the control plane ends, which is then the likely cause.
        forgetful: bool,
        /// What is wrong.
        cause: String,
    },
    /// It is on the list of revoked tokens.
    #[error("token is revoked")]
    Revoked,
}

fn likely_cause(forgetful: bool) -> &'static str {
    if forgetful {
        ". kuma-cp runs with an in-memory database and its state isn't preserved between restarts. Keep in mind that an \
         in-memory database cannot be used with multiple instances of the control plane"
    } else {
        ""
    }
}

/// A public key from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticKey {
    /// Id of the key.
    pub kid: String,
    /// The mesh whose tokens it verifies; empty: every mesh.
    pub mesh: String,
    /// The key.
    pub key: PublicKey,
}

/// A public key of the configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StaticKeyError {
    /// Its file cannot be read.
    #[error("could not read the public key with KID {kid} from {}: {source}", path.display())]
    Read {
        /// Id of the key.
        kid: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is none.
    #[error("the public key with KID {kid} cannot be used: {source}")]
    Key {
        /// Id of the key.
        kid: String,
        /// Why not.
        source: KeyError,
    },
}

/// Verifies one kind of tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verifier {
    /// Keys from the configuration; they count before secrets do.
    pub static_keys: Vec<StaticKey>,
    /// Whether the keys in secrets count.
    pub use_secrets: bool,
    /// Whether keys are lost when the control plane ends; said in errors.
    pub forgetful: bool,
}

impl Verifier {
    /// For the tokens of users. Reads the files of the keys that the configuration names.
    pub fn for_users(config: &config::Config) -> Result<Self, StaticKeyError> {
        let validator = &config.api_server.authn.tokens.validator;
        Self::new(config, validator.use_secrets, validator.public_keys.iter().map(|k| (k, "")))
    }

    /// For the tokens of dataplane proxies. Reads the files of the keys that the configuration names.
    pub fn for_dataplanes(config: &config::Config) -> Result<Self, StaticKeyError> {
        let validator = &config.dp_server.authn.dp_proxy.dp_token.validator;
        Self::new(config, validator.use_secrets, validator.public_keys.iter().map(|k| (&k.key, &*k.mesh)))
    }

    /// For the tokens of zones. Reads the files of the keys that the configuration names.
    pub fn for_zones(config: &config::Config) -> Result<Self, StaticKeyError> {
        let validator = &config.dp_server.authn.zone_proxy.zone_token.validator;
        Self::new(config, validator.use_secrets, validator.public_keys.iter().map(|k| (k, "")))
    }

    fn new<'a>(
        config: &config::Config,
        use_secrets: bool,
        keys: impl Iterator<Item = (&'a config::PublicKey, &'a str)>,
    ) -> Result<Self, StaticKeyError> {
        let static_keys = keys.map(|(key, mesh)| static_key(key, mesh)).collect::<Result<_, _>>()?;
        let forgetful = config.store.kind == config::StoreType::Memory.as_str();
        Ok(Self { static_keys, use_secrets, forgetful })
    }

    /// The claims of a token that is signed by one of our keys, has begun, has not ended, and is not revoked. `mesh`
    /// counts for dataplane tokens only: it is the mesh that the proxy claims to be in.
    pub fn verify<C: Claims>(
        &self,
        token: &str,
        mesh: &str,
        source: &dyn KeySource,
        now: Timestamp,
    ) -> Result<C, TokenError> {
        let purpose = C::purpose(mesh);
        let unacceptable = |cause: String| TokenError::Unacceptable { forgetful: self.forgetful, cause };
        let unverified = jwt::decode(token).map_err(|e: Malformed| unacceptable(e.to_string()))?;
        let key = self.key(&purpose, &unverified.kid, source)?.map_err(|(secret, e)| {
            unacceptable(format!("token is unverifiable: signing key in secret {secret:?} cannot be used: {e}"))
        })?;
        if !key.verifies(unverified.message.as_bytes(), &unverified.signature) {
            return Err(unacceptable("token signature is invalid: crypto/rsa: verification error".to_owned()));
        }
        let invalid = |text: &str| unacceptable(format!("token has invalid claims: {text}"));
        let claims = unverified.claims;
        let now = now.as_second() as f64;
        if time(&claims, "exp").map_err(invalid)?.is_some_and(|end| now >= end) {
            return Err(invalid("token is expired"));
        }
        if time(&claims, "nbf").map_err(invalid)?.is_some_and(|begin| now < begin) {
            return Err(TokenError::NotYetValid);
        }
        let id = claims.get("jti").and_then(Value::as_str).unwrap_or_default();
        if purpose.is_revoked(source, id) {
            return Err(TokenError::Revoked);
        }
        serde_json::from_value(Value::Object(claims))
            .map_err(|e| unacceptable(format!("token is malformed: could not JSON decode claim: {e}")))
    }

    /// The key with this id. The inner error is a secret whose value is no key.
    fn key(
        &self,
        purpose: &Purpose<'_>,
        kid: &str,
        source: &dyn KeySource,
    ) -> Result<Result<PublicKey, (String, KeyError)>, KeyNotFound> {
        let of_mesh = |k: &&StaticKey| k.kid == kid && (k.mesh.is_empty() || k.mesh == purpose.mesh());
        if let Some(found) = self.static_keys.iter().find(of_mesh) {
            return Ok(Ok(found.key.clone()));
        }
        if !self.use_secrets {
            return Err(KeyNotFound { kid: kid.to_owned(), secret: String::new(), mesh: String::new() });
        }
        let name = purpose.key_name(kid);
        if let Some(bytes) = source.secret(purpose.mesh(), &name) {
            return Ok(PublicKey::of_private(bytes.expose()).map_err(|e| (name, e)));
        }
        if let Some(name) = purpose.public_key_name(kid)
            && let Some(bytes) = source.secret(purpose.mesh(), &name)
        {
            return Ok(PublicKey::parse(bytes.expose()).map_err(|e| (name, e)));
        }
        Err(KeyNotFound::new(purpose, kid))
    }
}

fn static_key(key: &config::PublicKey, mesh: &str) -> Result<StaticKey, StaticKeyError> {
    let kid = key.kid.clone();
    let bytes = if key.key.is_empty() {
        let path = key.key_file.clone();
        fs::read(&path).map_err(|source| StaticKeyError::Read { kid: kid.clone(), path, source })?
    } else {
        key.key.clone().into_bytes()
    };
    match PublicKey::parse(&bytes) {
        Ok(key) => Ok(StaticKey { kid, mesh: mesh.to_owned(), key }),
        Err(source) => Err(StaticKeyError::Key { kid, source }),
    }
}

/// A time in seconds since 1970. Absent is allowed; anything but a number is not.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or("a time is not a number"),
    }
}
