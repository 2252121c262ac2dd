//! Replays the recorded cases of the suite `api-localhost-auth`: when a request from the same host is the admin.

use std::path::{Path, PathBuf};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use kuma_core::state::MeshState;
use kuma_cp::auth::{ApiAuthenticator, Caller, User};
use kuma_cp::tokens::Verifier;
use serde_json::Value;

/// The folder of the recorded cases. Missing cases fail: a run without them would mean nothing.
fn suite(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let given = std::env::var_os("KUMA_CONFORMANCE_DIR").map(PathBuf::from);
    let near = ["../shared/conformance", "../../shared/conformance"].map(|p| root.join(p));
    let dir = given.into_iter().chain(near).map(|d| d.join(name)).find(|d| d.is_dir());
    dir.unwrap_or_else(|| panic!("no folder {name} of recorded cases: set KUMA_CONFORMANCE_DIR"))
}

#[test]
fn a_request_from_the_same_host_is_the_admin_as_recorded() {
    let authenticator = ApiAuthenticator { localhost_is_admin: true, tokens: Verifier::default() };
    let mut seen = 0;
    for file in std::fs::read_dir(suite("api-localhost-auth").join("cases")).unwrap() {
        let path = file.unwrap().path();
        let case: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let input = &case["input"];
        let mut headers = HeaderMap::new();
        let origin = input["origin"].as_str().filter(|o| !o.is_empty()).map(|o| ("Origin", o));
        let others = input["headers"].as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap()));
        for (name, value) in origin.into_iter().chain(others) {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let remote = input["remoteAddr"].as_str().unwrap().parse().unwrap();
        let caller = Caller { remote, host: input["host"].as_str().unwrap(), headers: &headers };
        let user = authenticator.authenticate(caller, false, &MeshState::new(), jiff::Timestamp::UNIX_EPOCH).unwrap();
        let expected = if case["expected"]["admin"].as_bool().unwrap() {
            User::admin().authenticated()
        } else {
            User::anonymous()
        };
        assert_eq!(user, expected, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0, "there are no cases");
}
