//! Who is the admin, who is whom by token, what they may do, and which proxies are let in.

use std::{collections::BTreeMap, net::SocketAddr, sync::OnceLock};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Request};
use jiff::Timestamp;
use kuma_core::{duration::GoDuration, resources::SecretBytes};
use uuid::Uuid;

use super::{api::is_open, localhost::is_direct, *};
use crate::{
    config::Config,
    tokens::{Claims, DataplaneClaims, KeySource, SigningKey, UserClaims, Verifier, issue},
};

const HERE: &str = "127.0.0.1:54321";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair =
        |(k, v): &(&str, &str)| (HeaderName::from_bytes(k.as_bytes()).unwrap(), HeaderValue::from_str(v).unwrap());
    let mut map = HeaderMap::new();
    for (key, value) in pairs.iter().map(pair) {
        map.append(key, value);
    }
    map
}

fn direct(remote: &str, host: &str, pairs: &[(&str, &str)]) -> bool {
    is_direct(remote.parse().unwrap(), host, &headers(pairs))
}

#[test]
fn a_direct_request_from_this_host_is_the_admin() {
    for (remote, host) in [
        (HERE, "localhost:5681"),
        (HERE, "LOCALHOST.:5681"),
        (HERE, "localhost"),
        (HERE, "127.0.0.1"),
        (HERE, "127.8.9.1:1"),
        (HERE, "[::1]:65535"),
        ("[::1]:1", "[0:0:0:0:0:0:0:1]"),
        ("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:5681"),
    ] {
        assert!(direct(remote, host, &[]), "{remote} {host}");
    }
    for (remote, host) in [
        ("10.0.0.1:1", "localhost"),
        ("[::ffff:10.0.0.1]:1", "localhost"),
        (HERE, ""),
        (HERE, "localhost:"),
        (HERE, "localhost:0"),
        (HERE, "localhost:65536"),
        (HERE, "localhost:+80"),
        (HERE, "localhost:a"),
        (HERE, "localhost:1:2"),
        (HERE, "::1"),
        (HERE, "[::1"),
        (HERE, "[::1]x"),
        (HERE, "[::1]:"),
        (HERE, "[::1%25lo]"),
        (HERE, "u@localhost"),
        (HERE, "localhost/x"),
        (HERE, "localhost?x"),
        (HERE, "localhost#x"),
        (HERE, " localhost"),
        (HERE, "localhost.."),
        (HERE, "localhost.example.com"),
        (HERE, "127.0.0.1.nip.io"),
        (HERE, "127.1"),
        (HERE, "0x7f000001"),
        (HERE, "10.0.0.1"),
        (HERE, "."),
    ] {
        assert!(!direct(remote, host, &[]), "{remote} {host:?}");
    }
}

#[test]
fn a_proxy_or_a_foreign_page_is_not() {
    for (expected, pairs) in [
        (true, &[("Forwarded", "")][..]),
        (false, &[("Forwarded", "for=1.2.3.4")]),
        (false, &[("X-Forwarded-For", ""), ("X-Forwarded-For", "1.2.3.4")]),
        (false, &[("X-Real-IP", "::1")]),
        (true, &[("Sec-Fetch-Site", "same-origin")]),
        (true, &[("Sec-Fetch-Site", "none")]),
        (false, &[("Sec-Fetch-Site", "same-site")]),
        (false, &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")]),
        (true, &[("Origin", "http://localhost:5681")]),
        (true, &[("Origin", "HTTPS://LocalHost.:5681")]),
        (true, &[("Origin", "")]),
        (false, &[("Origin", "http://localhost:5681"), ("Origin", "http://localhost:5681")]),
        (false, &[("Origin", "http://localhost:5681/")]),
        (false, &[("Origin", "http://localhost:5681#f")]),
        (false, &[("Origin", "http://u@localhost:5681")]),
        (false, &[("Origin", "http://localhost:5681:")]),
        (false, &[("Origin", "http://127.0.0.1:5681")]),
        (false, &[("Origin", "http://localhost")]),
        (false, &[("Origin", "https://localhost")]),
        (false, &[("Origin", "ftp://localhost:5681")]),
        (false, &[("Origin", "//localhost:5681")]),
        (false, &[("Origin", "http://evil.example:5681")]),
        (false, &[("Origin", "null")]),
    ] {
        assert_eq!(direct(HERE, "localhost:5681", pairs), expected, "{pairs:?}");
    }
    // A page may be of a name that resolves to this host.
    assert!(!direct(HERE, "evil.example:5681", &[("Origin", "http://evil.example:5681")]));
    assert!(direct(HERE, "[::1]", &[("Origin", "http://[0:0::1]:80")]));
    assert!(direct(HERE, "localhost", &[("Origin", "https://localhost:443")]));
}

/// Secrets by (mesh, name).
struct Secrets(Vec<(&'static str, &'static str, String)>);

impl KeySource for Secrets {
    fn secret(&self, mesh: &str, name: &str) -> Option<SecretBytes> {
        let found = self.0.iter().find(|(m, n, _)| *m == mesh && *n == name);
        found.map(|(.., value)| SecretBytes::new(value.clone().into_bytes()))
    }

    fn names(&self, mesh: &str, prefix: &str) -> Vec<String> {
        self.0.iter().filter(|(m, n, _)| *m == mesh && n.starts_with(prefix)).map(|(_, n, _)| (*n).to_owned()).collect()
    }
}

fn secrets() -> &'static Secrets {
    static SECRETS: OnceLock<Secrets> = OnceLock::new();
    SECRETS.get_or_init(|| {
        let key = SigningKey::generate().unwrap().to_pem().unwrap().to_string();
        Secrets(vec![("", "user-token-signing-key-1", key.clone()), ("m", "dataplane-token-signing-key-m-1", key)])
    })
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn token<C: Claims>(claims: &C) -> String {
    issue(claims, "m", secrets(), now(), Uuid::nil(), GoDuration::from_hours(1)).unwrap()
}

fn verifier() -> Verifier {
    Verifier { use_secrets: true, ..Verifier::default() }
}

fn who(remote: &str, open: bool, authorization: &str) -> Result<User, InvalidCredentials> {
    let authenticator = ApiAuthenticator { localhost_is_admin: true, tokens: verifier() };
    let headers = headers(&[("authorization", authorization)]);
    let caller = Caller { remote: remote.parse().unwrap(), host: "localhost", headers: &headers };
    authenticator.authenticate(caller, open, secrets(), now())
}

#[test]
fn callers_of_the_api_are_told_apart() {
    let john = UserClaims { name: "john".into(), groups: vec!["ops".into()] };
    let bearer = format!("Bearer {}", token(&john));
    let user = who("10.0.0.1:1", false, &bearer).unwrap();
    assert_eq!(user.to_string(), "john/ops,mesh-system:authenticated");
    assert_eq!(who("10.0.0.1:1", true, &bearer).unwrap(), User::anonymous(), "an open path looks at no token");
    for other in ["", "Basic x", "bearer x", "Bearer"] {
        assert_eq!(who("10.0.0.1:1", false, other).unwrap(), User::anonymous(), "{other}");
    }
    let error = who("10.0.0.1:1", false, "Bearer x").unwrap_err();
    assert!(error.to_string().contains("token contains an invalid number of segments"), "{error}");
    let admin = who(HERE, false, "Bearer x").unwrap();
    assert_eq!(admin.to_string(), "mesh-system:admin/mesh-system:admin,mesh-system:authenticated");
    let off = ApiAuthenticator { localhost_is_admin: false, tokens: verifier() };
    let none = HeaderMap::new();
    let caller = Caller { remote: HERE.parse().unwrap(), host: "localhost", headers: &none };
    assert_eq!(off.authenticate(caller, false, secrets(), now()).unwrap(), User::anonymous());
}

#[test]
fn the_host_of_a_request_is_found_once() {
    let remote: SocketAddr = HERE.parse().unwrap();
    let host = |request: Request<()>| Caller::of(&request, remote).host.to_owned();
    let builder = || Request::builder().header("host", "a:1");
    assert_eq!(host(builder().uri("/x").body(()).unwrap()), "a:1");
    assert_eq!(host(builder().uri("http://b:2/x").body(()).unwrap()), "b:2");
    assert_eq!(host(builder().header("host", "localhost").uri("/x").body(()).unwrap()), "");
    assert_eq!(host(Request::builder().uri("/x").body(()).unwrap()), "");
}

#[test]
fn the_index_and_the_gui_are_open() {
    for (path, base, open) in [
        ("/", "/", true),
        ("/meshes", "/", false),
        ("/gui", "/", true),
        ("/gui/x", "/api", true),
        ("/api", "/api", true),
        ("/api/", "/api/", true),
        ("/api/meshes", "/api", false),
        ("/apiary", "/api", false),
        ("/", "/api", false),
    ] {
        assert_eq!(is_open(path, base), open, "{path} below {base}");
    }
}

#[test]
fn actions_are_guarded_by_their_lists() {
    let access = Access::new(Config::default().access.fixed);
    let (admin, anonymous) = (User::admin(), User::anonymous());
    let denied = |action| access.check(&anonymous, action).unwrap_err().to_string();
    let user = "user \"mesh-system:anonymous/mesh-system:unauthenticated\" cannot access";
    assert_eq!(denied(Action::AdminResource("Secret")), format!("{user} the resource of type \"Secret\""));
    assert_eq!(denied(Action::GenerateDataplaneToken), format!("{user} generate dataplane token"));
    assert_eq!(denied(Action::GenerateZoneToken("z")), format!("{user} generate zone token for zone 'z'"));
    assert_eq!(denied(Action::GenerateUserToken), "action not allowed");
    let all = [
        Action::AdminResource("GlobalSecret"),
        Action::GenerateDataplaneToken,
        Action::GenerateUserToken,
        Action::GenerateZoneToken("z"),
        Action::ViewConfigDump,
        Action::ViewStats,
        Action::ViewClusters,
        Action::ControlPlaneMetadata,
    ];
    for action in all {
        access.check(&admin.clone().authenticated(), action).unwrap();
    }
    for action in &all[4..] {
        access.check(&anonymous, *action).unwrap();
    }
    let mut lists = Config::default().access.fixed;
    lists.view_stats = crate::config::Allowed { users: vec!["john".into()], groups: vec![] };
    lists.control_plane_metadata = lists.view_stats.clone();
    let access = Access::new(lists);
    let error = access.check(&anonymous, Action::ViewStats).unwrap_err().to_string();
    assert_eq!(error, format!("{user} envoy proxy info"));
    let error = access.check(&anonymous, Action::ControlPlaneMetadata).unwrap_err().to_string();
    assert_eq!(error, format!("{user} control-plane metadata"));
    access.check(&User { name: "john".into(), groups: vec![] }, Action::ViewStats).unwrap();
}

fn let_in(claims: &DataplaneClaims, labels: &[(&str, &str)], identity_from_workload: bool) -> Result<(), String> {
    let labels: BTreeMap<String, String> = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let proxy = ProxyFacts { mesh: "m", name: "dp", labels: &labels, identity_from_workload };
    let authenticator = ProxyAuthenticator::DpToken(verifier());
    authenticator.check(&token(claims), proxy, secrets(), now()).map_err(|e| {
        let text = e.to_string();
        text.strip_prefix("authentication failed: ").map(str::to_owned).unwrap_or(text)
    })
}

#[test]
fn a_proxy_is_what_its_token_says() {
    let any = DataplaneClaims::default;
    let named = DataplaneClaims { name: "dp".into(), mesh: "m".into(), ..any() };
    let_in(&any(), &[], false).unwrap();
    let_in(&named, &[], false).unwrap();
    let error = let_in(&DataplaneClaims { name: "x".into(), ..any() }, &[], false).unwrap_err();
    assert_eq!(error, "proxy name from requestor: dp is different than in token: x");
    let error = let_in(&DataplaneClaims { mesh: "x".into(), ..any() }, &[], false).unwrap_err();
    assert_eq!(error, "proxy mesh from requestor: m is different than in token: x");

    let team = DataplaneClaims { tags: [("team".into(), vec!["c".into(), "b".into()])].into(), ..any() };
    let_in(&team, &[("team", "b")], false).unwrap();
    let error = let_in(&team, &[("team", "a")], false).unwrap_err();
    assert_eq!(
        error,
        r#"dataplane contains tag "team" with value "a" which is not allowed with this token. Allowed values in token are ["b" "c"]"#
    );
    assert_eq!(let_in(&team, &[], false).unwrap_err(), r#"dataplane has no tag "team" required by the token"#);

    let bound = DataplaneClaims { workload: "w".into(), ..any() };
    let_in(&bound, &[("kuma.io/workload", "w")], true).unwrap();
    let error = let_in(&bound, &[("kuma.io/workload", "a")], true).unwrap_err();
    assert_eq!(error, r#"dataplane workload "a" is not allowed with this token. Allowed workload in token is "w""#);
    assert_eq!(let_in(&bound, &[], false).unwrap_err(), "dataplane has no workload label required by the token");
    let_in(&any(), &[("kuma.io/workload", "w")], false).unwrap();
    let_in(&any(), &[], true).unwrap();
    let error = let_in(&any(), &[("kuma.io/workload", "w")], true).unwrap_err();
    assert_eq!(
        error,
        r#"dataplane with "kuma.io/workload" label "w" derives its identity from the workload, so it requires a workload-bound token"#
    );
}

#[test]
fn a_proxy_shows_one_bare_token() {
    let several = headers(&[("authorization", "a"), ("authorization", "b")]);
    assert_eq!(credential(&headers(&[("authorization", "a.b.c")])), Ok("a.b.c"));
    assert_eq!(credential(&HeaderMap::new()), Ok(""));
    let error = credential(&several).unwrap_err().to_string();
    assert_eq!(
        error,
        "could not extract credential from DiscoveryRequest: request must have exactly 1 \"authorization\" header, got 2"
    );
    let labels = BTreeMap::new();
    let proxy = ProxyFacts { mesh: "m", name: "dp", labels: &labels, identity_from_workload: false };
    ProxyAuthenticator::None.check("", proxy, secrets(), now()).unwrap();
    let error = ProxyAuthenticator::DpToken(verifier()).check("", proxy, secrets(), now()).unwrap_err().to_string();
    assert_eq!(
        error,
        "authentication failed: could not parse token: token is malformed: token contains an invalid number of segments"
    );
}
