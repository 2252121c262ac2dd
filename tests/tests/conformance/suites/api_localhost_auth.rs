//! `api-localhost-auth`: when a request from the same host is the admin. The authenticator of the API is called with
//! the request as a value.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use kuma_core::state::MeshState;
use kuma_cp::{
    auth::{ApiAuthenticator, Caller, User},
    tokens::Verifier,
};

use crate::{case::Case, report::Outcome};

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    case.checks().into_iter().map(|check| Outcome::new(check.name, decide(&case.doc))).collect()
}

fn decide(doc: &serde_json::Value) -> Result<(), String> {
    let input = &doc["input"];
    let text = |name: &str| input[name].as_str().unwrap_or_default();
    let mut headers = HeaderMap::new();
    let origin = Some(("Origin", text("origin"))).filter(|(_, origin)| !origin.is_empty());
    let others = input["headers"].as_object().into_iter().flatten();
    let others = others.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
    for (name, value) in origin.into_iter().chain(others) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| format!("header {name:?}: {e}"))?;
        headers.append(name, HeaderValue::from_str(value).map_err(|e| format!("value {value:?}: {e}"))?);
    }
    let remote = text("remoteAddr").parse().map_err(|e| format!("remoteAddr: {e}"))?;
    let caller = Caller { remote, host: text("host"), headers: &headers };
    let authenticator = ApiAuthenticator { localhost_is_admin: true, tokens: Verifier::default() };
    let found = authenticator
        .authenticate(caller, false, &MeshState::new(), jiff::Timestamp::UNIX_EPOCH)
        .map_err(|e| e.to_string())?;
    let admin = doc["expected"]["admin"].as_bool().ok_or("the case does not say who it is")?;
    let expected = if admin { User::admin().authenticated() } else { User::anonymous() };
    if found == expected { Ok(()) } else { Err(format!("the caller is {found}, expected {expected}")) }
}
