//! Whether a proxy is the Dataplane that it says it is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::tokens::{DataplaneClaims, KeySource, TokenError, Verifier};

/// Label that names the workload of a Dataplane.
const WORKLOAD: &str = "kuma.io/workload";

/// What the check needs to know about a Dataplane.
#[derive(Clone, Copy, Debug)]
pub struct ProxyFacts<'a> {
    /// Mesh of the Dataplane.
    pub mesh: &'a str,
    /// Name of the Dataplane.
    pub name: &'a str,
    /// Labels of the Dataplane.
    pub labels: &'a BTreeMap<String, String>,
    /// Whether the MeshIdentity that matches it best builds the identity from the label `kuma.io/workload`.
    pub identity_from_workload: bool,
}

/// Why a proxy is not let in. Users see it after `authentication failed: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyAuthError {
    /// The header is there more than once.
    #[error(
        "could not extract credential from DiscoveryRequest: request must have exactly 1 \"authorization\" header, got {0}"
    )]
    SeveralCredentials(usize),
    /// The header holds something else than text.
    #[error("could not extract credential from DiscoveryRequest: the \"authorization\" header is not text")]
    UnreadableCredential,
    /// The token is not good.
    #[error("authentication failed: {0}")]
    Token(#[from] TokenError),
    /// The token is for another name.
    #[error("authentication failed: proxy name from requestor: {found} is different than in token: {expected}")]
    Name {
        /// Name of the Dataplane.
        found: String,
        /// Name in the token.
        expected: String,
    },
    /// The token is for another mesh.
    #[error("authentication failed: proxy mesh from requestor: {found} is different than in token: {expected}")]
    Mesh {
        /// Mesh of the Dataplane.
        found: String,
        /// Mesh in the token.
        expected: String,
    },
    /// The Dataplane lacks a label that the token demands.
    #[error("authentication failed: dataplane has no tag {0:?} required by the token")]
    TagAbsent(String),
    /// The Dataplane has a label with a value that the token does not allow.
    #[error(
        "authentication failed: dataplane contains tag {tag:?} with value {found:?} which is not allowed with this token. \
         Allowed values in token are {}", list(.allowed)
    )]
    TagValue {
        /// Key of the label.
        tag: String,
        /// Its value.
        found: String,
        /// Values that the token allows, sorted.
        allowed: Vec<String>,
    },
    /// The Dataplane has no workload, and the token is for one.
    #[error("authentication failed: dataplane has no workload label required by the token")]
    WorkloadAbsent,
    /// The token is for another workload.
    #[error(
        "authentication failed: dataplane workload {found:?} is not allowed with this token. Allowed workload in token is \
         {expected:?}"
    )]
    Workload {
        /// Workload of the Dataplane.
        found: String,
        /// Workload in the token.
        expected: String,
    },
    /// The identity comes from a label that the token does not vouch for.
    #[error(
        "authentication failed: dataplane with \"kuma.io/workload\" label {0:?} derives its identity from the workload, \
         so it requires a workload-bound token"
    )]
    WorkloadUnbound(String),
}

/// `["a" "b"]`
fn list(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|v| format!("{v:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// The credential of a stream: the one `authorization` header of its metadata, without any scheme in front; empty when
/// there is none.
pub fn credential(headers: &axum::http::HeaderMap) -> Result<&str, ProxyAuthError> {
    let mut values = headers.get_all(axum::http::header::AUTHORIZATION).into_iter();
    let Some(first) = values.next() else { return Ok("") };
    match values.count() {
        0 => first.to_str().map_err(|_| ProxyAuthError::UnreadableCredential),
        more => Err(ProxyAuthError::SeveralCredentials(more + 1)),
    }
}

/// How proxies prove who they are outside of Kubernetes.
#[derive(Clone, Debug)]
pub enum ProxyAuthenticator {
    /// With a dataplane token.
    DpToken(Verifier),
    /// Not at all.
    None,
}

impl ProxyAuthenticator {
    /// Must a proxy show a credential, already when it asks for its bootstrap?
    pub fn wants_credential(&self) -> bool {
        matches!(self, Self::DpToken(_))
    }

    /// May the bearer of this credential be this Dataplane? To replace a Dataplane that is stored, it must be allowed
    /// to be that one too. A stream that is open is checked again when keys or revocations change.
    pub fn check(
        &self,
        credential: &str,
        proxy: ProxyFacts<'_>,
        source: &dyn KeySource,
        now: Timestamp,
    ) -> Result<(), ProxyAuthError> {
        match self {
            Self::None => Ok(()),
            Self::DpToken(verifier) => {
                let claims = verifier.verify::<DataplaneClaims>(credential, proxy.mesh, source, now)?;
                check_claims(claims, proxy)
            }
        }
    }
}

/// Everything that the token names must be so.
fn check_claims(claims: DataplaneClaims, proxy: ProxyFacts<'_>) -> Result<(), ProxyAuthError> {
    if !claims.name.is_empty() && claims.name != proxy.name {
        return Err(ProxyAuthError::Name { found: proxy.name.to_owned(), expected: claims.name });
    }
    if !claims.mesh.is_empty() && claims.mesh != proxy.mesh {
        return Err(ProxyAuthError::Mesh { found: proxy.mesh.to_owned(), expected: claims.mesh });
    }
    for (tag, mut allowed) in claims.tags {
        let Some(found) = proxy.labels.get(&tag) else { return Err(ProxyAuthError::TagAbsent(tag)) };
        if !allowed.contains(found) {
            allowed.sort();
            return Err(ProxyAuthError::TagValue { tag, found: found.clone(), allowed });
        }
    }
    match (claims.workload, proxy.labels.get(WORKLOAD)) {
        (token, Some(label)) if token.is_empty() && proxy.identity_from_workload => {
            Err(ProxyAuthError::WorkloadUnbound(label.clone()))
        }
        (token, _) if token.is_empty() => Ok(()),
        (_, None) => Err(ProxyAuthError::WorkloadAbsent),
        (token, Some(label)) if token == *label => Ok(()),
        (expected, Some(label)) => Err(ProxyAuthError::Workload { found: label.clone(), expected }),
    }
}
