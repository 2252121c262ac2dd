//! Issuing and verifying, keys in every form, rotation, revocation, and what is refused.

use std::{collections::BTreeMap, sync::OnceLock};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use kuma_core::{duration::GoDuration, resources::SecretBytes};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{key::PublicKey, *};
use crate::{config::Config, tls::pem};

/// Secrets by (mesh, name).
#[derive(Clone, Default)]
struct Secrets(BTreeMap<(String, String), Vec<u8>>);

impl Secrets {
    fn with(mut self, mesh: &str, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.0.insert((mesh.into(), name.into()), value.into());
        self
    }
}

impl KeySource for Secrets {
    fn secret(&self, mesh: &str, name: &str) -> Option<SecretBytes> {
        self.0.get(&(mesh.to_owned(), name.to_owned())).cloned().map(SecretBytes::new)
    }

    fn names(&self, mesh: &str, prefix: &str) -> Vec<String> {
        self.0.keys().filter(|(m, n)| m == mesh && n.starts_with(prefix)).map(|(_, n)| n.clone()).collect()
    }
}

/// Two keys, made once: making one takes long in a debug build.
fn pem_of(index: usize) -> &'static str {
    static KEYS: OnceLock<[String; 2]> = OnceLock::new();
    &KEYS.get_or_init(|| [0, 1].map(|_| SigningKey::generate().unwrap().to_pem().unwrap().to_string()))[index]
}

fn now() -> Timestamp {
    "2026-05-01T10:00:00.7Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + seconds).unwrap()
}

fn users() -> Secrets {
    Secrets::default().with("", "user-token-signing-key-1", pem_of(0))
}

fn john() -> UserClaims {
    UserClaims { name: "john".into(), groups: vec!["ops".into()] }
}

fn user_token(secrets: &Secrets) -> String {
    issue(&john(), "", secrets, now(), Uuid::from_u128(7), GoDuration::from_hours(1)).unwrap()
}

fn verifier() -> Verifier {
    Verifier { use_secrets: true, ..Verifier::default() }
}

fn verify(token: &str, secrets: &Secrets, at: Timestamp) -> Result<UserClaims, String> {
    verifier().verify(token, "", secrets, at).map_err(|e| e.to_string())
}

fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|p| URL_SAFE_NO_PAD.decode(p).unwrap());
    let mut next = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
    (next(), next())
}

/// A token with any header and claims, signed with the first key.
fn forge(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = SigningKey::parse(pem_of(0).as_bytes()).unwrap().sign(message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_token_has_the_published_form() {
    let (header, claims) = parts(&user_token(&users()));
    assert_eq!(header, json!({"alg": "RS256", "kid": "1", "typ": "JWT"}));
    let second = now().as_second();
    assert_eq!(
        claims,
        json!({
            "Name": "john", "Groups": ["ops"], "jti": "00000000-0000-0000-0000-000000000007",
            "iat": second - 5, "nbf": second - 5, "exp": second + 3600,
        })
    );
    let secrets = Secrets::default().with("m", "dataplane-token-signing-key-m-1", pem_of(0)).with(
        "",
        "zone-token-signing-key-1",
        pem_of(0),
    );
    let dataplane = DataplaneClaims { mesh: "m".into(), ..DataplaneClaims::default() };
    let token = issue(&dataplane, "m", &secrets, now(), Uuid::nil(), GoDuration::from_secs(1)).unwrap();
    let claims = parts(&token).1;
    assert_eq!(
        (&claims["Name"], &claims["Mesh"], &claims["Tags"], &claims["Type"], &claims["Workload"]),
        (&json!(""), &json!("m"), &json!({}), &json!(""), &json!(""))
    );
    let token = issue(&ZoneClaims::default(), "", &secrets, now(), Uuid::nil(), GoDuration::from_secs(1)).unwrap();
    let claims = parts(&token).1;
    assert_eq!((&claims["Zone"], &claims["Scope"]), (&json!(""), &json!(null)));
    let nobody: UserClaims = serde_json::from_value(json!({"Groups": null, "Name": "x"})).unwrap();
    assert_eq!(nobody.groups, [""; 0]);
}

#[test]
fn what_was_issued_is_accepted_while_it_counts() {
    let (secrets, token) = (users(), user_token(&users()));
    assert_eq!(verify(&token, &secrets, now()), Ok(john()));
    assert_eq!(verify(&token, &secrets, after(-5)), Ok(john()));
    assert_eq!(verify(&token, &secrets, after(3599)), Ok(john()));
    assert_eq!(
        verify(&token, &secrets, after(3600)),
        Err("could not parse token: token has invalid claims: token is expired".to_owned())
    );
    assert_eq!(
        verify(&token, &secrets, after(-6)),
        Err("token is not yet valid: 'valid_from' date is in the future. Check if the system clock on the instance that issued the token is set correctly: token has invalid claims: token is not valid yet".to_owned())
    );
}

#[test]
fn the_newest_key_signs_and_older_keys_verify_until_they_go() {
    let old = user_token(&users());
    let rotated = users()
        .with("", "user-token-signing-key-2", pem_of(1))
        .with("", "user-token-signing-key", pem_of(1))
        .with("", "user-token-signing-key-old", pem_of(1))
        .with("", "user-token-signing-key-10", pem_of(1));
    let new = user_token(&rotated);
    assert_eq!(parts(&new).0["kid"], "10", "numbers are compared, not texts");
    assert_eq!(verify(&new, &rotated, now()), Ok(john()));
    assert_eq!(verify(&old, &rotated, now()), Ok(john()));
    let without = Secrets::default().with("", "user-token-signing-key-2", pem_of(1));
    assert_eq!(
        verify(&old, &without, now()),
        Err(r#"there is no signing key with KID 1. GlobalSecret of name "user-token-signing-key-1" is not found. If signing key was rotated, regenerate the token"#.to_owned())
    );
    let legacy = Secrets::default().with("", "user-token-signing-key", pem_of(0));
    let token = user_token(&legacy);
    assert_eq!(parts(&token).0["kid"], "0");
    assert_eq!(verify(&token, &legacy, now()), Ok(john()));
    let replaced = Secrets::default().with("", "user-token-signing-key-1", pem_of(1));
    assert_eq!(
        verify(&old, &replaced, now()),
        Err("could not parse token: token signature is invalid: crypto/rsa: verification error".to_owned())
    );
}

#[test]
fn without_a_key_nothing_is_issued() {
    let claims = DataplaneClaims::default();
    let hour = GoDuration::from_hours(1);
    let error = issue(&claims, "m", &users(), now(), Uuid::nil(), hour).unwrap_err().to_string();
    assert_eq!(
        error,
        r#"there is no signing key with KID 1. Secret of name "dataplane-token-signing-key-m-1" in mesh "m" is not found. If signing key was rotated, regenerate the token"#
    );
    let broken = Secrets::default().with("", "user-token-signing-key-3", "no key");
    let error = issue(&john(), "", &broken, now(), Uuid::nil(), hour).unwrap_err().to_string();
    assert!(error.starts_with(r#"signing key in secret "user-token-signing-key-3" cannot be used: "#), "{error}");
    let error = issue(&john(), "", &users(), now(), Uuid::nil(), GoDuration::MAX).map(|_| ());
    error.unwrap();
    assert_eq!(IssueError::Disabled.to_string(), "issuing tokens using the control plane is disabled.");
}

#[test]
fn dataplane_tokens_belong_to_the_keys_of_their_mesh() {
    let secrets = Secrets::default().with("m", "dataplane-token-signing-key-m-1", pem_of(0)).with(
        "n",
        "dataplane-token-signing-key-n-1",
        pem_of(1),
    );
    let claims = DataplaneClaims { name: "dp".into(), mesh: "m".into(), ..DataplaneClaims::default() };
    let token = issue(&claims, "m", &secrets, now(), Uuid::nil(), GoDuration::from_hours(1)).unwrap();
    assert_eq!(verifier().verify::<DataplaneClaims>(&token, "m", &secrets, now()).unwrap(), claims);
    let error = verifier().verify::<DataplaneClaims>(&token, "n", &secrets, now()).unwrap_err();
    assert!(error.to_string().ends_with("verification error"), "{error}");
    let error = verifier().verify::<UserClaims>(&token, "", &secrets, now()).unwrap_err();
    assert!(matches!(error, TokenError::KeyNotFound(_)), "{error}");
}

#[test]
fn revoked_ids_are_refused() {
    let token = user_token(&users());
    let id = Uuid::from_u128(7);
    for list in [format!("{id}"), format!("a,{id}"), format!("{id},b\n")] {
        let secrets = users().with("", "user-token-revocations", list);
        assert_eq!(verify(&token, &secrets, now()), Err("token is revoked".to_owned()));
    }
    for list in [format!(" {id}"), format!("{id}x"), String::new(), ",".to_owned()] {
        let secrets = users().with("", "user-token-revocations", list);
        assert_eq!(verify(&token, &secrets, now()), Ok(john()));
    }
    let keys = Secrets::default().with("m", "dataplane-token-signing-key-m-1", pem_of(0));
    let token = issue(&DataplaneClaims::default(), "m", &keys, now(), id, GoDuration::from_hours(1)).unwrap();
    for mesh in ["m", ""] {
        let secrets = keys.clone().with(mesh, "dataplane-token-revocations-m", id.to_string());
        let found = verifier().verify::<DataplaneClaims>(&token, "m", &secrets, now());
        assert_eq!(found, Err(TokenError::Revoked), "in mesh {mesh:?}");
    }
}

#[test]
fn zones_verify_with_the_public_half() {
    let keys = Secrets::default().with("", "zone-token-signing-key-1", pem_of(0));
    let claims = ZoneClaims { zone: "z".into(), scope: vec!["cp".into()] };
    let token = issue(&claims, "", &keys, now(), Uuid::nil(), GoDuration::from_hours(1)).unwrap();
    let public = SigningKey::parse(pem_of(0).as_bytes()).unwrap().public().to_pem();
    let zone = Secrets::default().with("", "zone-token-signing-public-key-1", public);
    assert_eq!(verifier().verify::<ZoneClaims>(&token, "", &zone, now()).unwrap(), claims);
}

#[test]
fn public_keys_of_the_configuration_count_first() {
    let token = user_token(&users());
    let public = SigningKey::parse(pem_of(0).as_bytes()).unwrap().public();
    let mut config = Config::default();
    let key = crate::config::PublicKey { kid: "1".into(), key: public.to_pem(), ..Default::default() };
    config.api_server.authn.tokens.validator.public_keys = vec![key.clone()];
    config.api_server.authn.tokens.validator.use_secrets = false;
    assert!(!Verifier::for_users(&config).unwrap().forgetful);
    config.store.kind = "memory".into();
    let verifier = Verifier::for_users(&config).unwrap();
    assert!(verifier.forgetful);
    assert_eq!(verifier.verify::<UserClaims>(&token, "", &Secrets::default(), now()).unwrap(), john());
    let other = Verifier { static_keys: Vec::new(), ..verifier };
    let error = other.verify::<UserClaims>(&token, "", &users(), now()).unwrap_err().to_string();
    assert_eq!(
        error,
        "there is no signing key with KID 1. None of the public keys in the configuration has it, and secrets are not used"
    );

    let meshed = |mesh: &str| crate::config::MeshedPublicKey { key: key.clone(), mesh: mesh.into() };
    config.dp_server.authn.dp_proxy.dp_token.validator.public_keys = vec![meshed("other")];
    let keys = Secrets::default().with("m", "dataplane-token-signing-key-m-1", pem_of(0));
    let token = issue(&DataplaneClaims::default(), "m", &keys, now(), Uuid::nil(), GoDuration::from_hours(1)).unwrap();
    let check = |config: &Config, mesh: &str| {
        let verifier = Verifier::for_dataplanes(config).unwrap();
        verifier
            .verify::<DataplaneClaims>(&token, mesh, &Secrets::default(), now())
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    assert!(check(&config, "m").unwrap_err().contains(r#"in mesh "m" is not found"#));
    check(&config, "other").unwrap();
    config.dp_server.authn.dp_proxy.dp_token.validator.public_keys = vec![meshed("")];
    check(&config, "m").unwrap();

    let mut config = Config::default();
    let file = crate::config::PublicKey { kid: "9".into(), key_file: "/no/key.pem".into(), ..Default::default() };
    config.dp_server.authn.zone_proxy.zone_token.validator.public_keys = vec![file];
    let error = Verifier::for_zones(&config).unwrap_err().to_string();
    assert!(error.starts_with("could not read the public key with KID 9 from /no/key.pem: "), "{error}");
    let bad = crate::config::PublicKey { kid: "9".into(), key: pem_of(0).into(), ..Default::default() };
    config.dp_server.authn.zone_proxy.zone_token.validator.public_keys = vec![bad];
    let error = Verifier::for_zones(&config).unwrap_err().to_string();
    assert_eq!(error, "the public key with KID 9 cannot be used: not an RSA public key in PEM or DER");
}

#[test]
fn what_is_no_token_is_refused_with_a_reason() {
    let secrets = users();
    let claims = json!({"Name": "x", "exp": now().as_second() + 60});
    let rs256 = |kid: Value| json!({"alg": "RS256", "kid": kid});
    let keyfunc = "token is unverifiable: error while executing keyfunc: ";
    let long = "a".repeat(1 << 20);
    for (token, expected) in [
        ("", "token is malformed: token contains an invalid number of segments".to_owned()),
        ("a.b", "token is malformed: token contains an invalid number of segments".to_owned()),
        ("a.b.c.d", "token is malformed: token contains an invalid number of segments".to_owned()),
        (&long, "token is malformed: token is too long".to_owned()),
        (&forge(&json!({"alg": "RS256"}), &claims), format!("{keyfunc}JWT token must have kid header")),
        (&forge(&rs256(json!(1)), &claims), format!("{keyfunc}JWT token kid header must be a string")),
        (
            &forge(&json!({"alg": "HS256", "kid": "1"}), &claims),
            format!("{keyfunc}unsupported token alg HS256. Allowed algorithm is RS256"),
        ),
        (
            &forge(&json!({"alg": "none", "kid": "1"}), &claims),
            format!("{keyfunc}unsupported token alg none. Allowed algorithm is RS256"),
        ),
        (
            &forge(&json!({"kid": "1"}), &claims),
            "token is unverifiable: signing method (alg) is unspecified".to_owned(),
        ),
        (
            &forge(&rs256(json!("1")), &json!({"exp": "soon"})),
            "token has invalid claims: a time is not a number".to_owned(),
        ),
    ] {
        assert_eq!(verify(token, &secrets, now()), Err(format!("could not parse token: {expected}")));
    }
    let beginnings = [
        ("!.e30.x".to_owned(), "token is malformed: could not base64 decode header: "),
        ("e.e30.x".to_owned(), "token is malformed: could not base64 decode header: "),
        ("e30.W10.x".to_owned(), "token is malformed: could not JSON decode claim: "),
        (forge(&rs256(json!("1")), &json!({"Name": 5})), "token is malformed: could not JSON decode claim: "),
        (format!("{}=", user_token(&secrets)), "token is malformed: could not base64 decode signature: "),
    ];
    for (token, expected) in beginnings {
        let error = verify(&token, &secrets, now()).unwrap_err();
        assert!(error.starts_with(&format!("could not parse token: {expected}")), "{error}");
    }
    let forgetful = Verifier { forgetful: true, ..verifier() };
    assert_eq!(
        forgetful.verify::<UserClaims>("x", "", &secrets, now()).unwrap_err().to_string(),
        "could not parse token. kuma-cp runs with an in-memory database and its state isn't preserved between restarts. Keep in mind that an in-memory database cannot be used with multiple instances of the control plane: token is malformed: token contains an invalid number of segments"
    );
    let broken = Secrets::default().with("", "user-token-signing-key-1", "junk");
    let error = verify(&user_token(&secrets), &broken, now()).unwrap_err();
    assert!(error.contains(r#"signing key in secret "user-token-signing-key-1" cannot be used"#), "{error}");
}

#[test]
fn a_changed_token_is_no_token() {
    let token = user_token(&users());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let claims = URL_SAFE_NO_PAD.encode(json!({"Name": "mesh-system:admin", "exp": i64::from(i32::MAX)}).to_string());
    let error = verify(&format!("{header}.{claims}.{signature}"), &users(), now()).unwrap_err();
    assert!(error.ends_with("token signature is invalid: crypto/rsa: verification error"), "{error}");
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"1"}"#);
    verify(&format!("{none}.{claims}."), &users(), now()).unwrap_err();
}

#[test]
fn keys_are_read_in_every_stored_form() {
    let text = pem_of(0);
    assert!(text.starts_with("-----BEGIN RSA PRIVATE KEY-----\n") && text.ends_with("-----END RSA PRIVATE KEY-----\n"));
    let key = SigningKey::parse(text.as_bytes()).unwrap();
    assert_eq!(format!("{key:?}"), "***");
    let public = key.public();
    let (_, der) = pem::section(text.as_bytes()).unwrap();
    assert_eq!(SigningKey::parse(&der).unwrap().public(), public, "DER of PKCS#1");
    assert_eq!(PublicKey::of_private(&der).unwrap(), public);
    let pkcs8 = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let other = SigningKey::parse(pkcs8.serialize_pem().as_bytes()).unwrap();
    assert_eq!(PublicKey::of_private(pkcs8.serialize_pem().as_bytes()).unwrap(), other.public(), "PKCS#8");
    assert_eq!(PublicKey::parse(pkcs8.public_key_pem().as_bytes()).unwrap(), other.public(), "SPKI");
    assert_eq!(PublicKey::parse(other.public().to_pem().as_bytes()).unwrap(), other.public(), "PKCS#1");
    assert_eq!(other.to_pem().unwrap().lines().next(), Some("-----BEGIN RSA PRIVATE KEY-----"));
    let elliptic = rcgen::KeyPair::generate().unwrap();
    for bad in
        [elliptic.serialize_pem().as_bytes(), b"", b"\x30\x84\xff\xff\xff\xff", b"-----BEGIN RSA PRIVATE KEY-----"]
    {
        SigningKey::parse(bad).unwrap_err();
        PublicKey::parse(bad).unwrap_err();
        PublicKey::of_private(bad).unwrap_err();
    }
    assert!(PublicKey::parse(elliptic.public_key_pem().as_bytes()).is_err());
}

#[tokio::test]
async fn a_key_is_made_off_the_async_threads() {
    let pem = SigningKey::generate_pem().await.unwrap();
    SigningKey::parse(pem.as_bytes()).unwrap();
}

#[test]
fn secrets_of_the_state_are_a_source() {
    use kuma_core::{
        meta::Meta,
        resource::Resource,
        resources::{GlobalSecret, Secret},
        state::MeshState,
    };
    let data = || SecretBytes::new(b"v".to_vec());
    let meta = |mesh: &str, name: &str| Meta::new(mesh, name, BTreeMap::new());
    let state = MeshState::of([
        Resource::new(meta("m", "k-1"), Secret { data: data() }, Default::default()).erase(),
        Resource::new(meta("", "k-2"), GlobalSecret { data: data() }, Default::default()).erase(),
    ]);
    assert_eq!(state.names("m", "k"), ["k-1"]);
    assert_eq!(state.names("", "k"), ["k-2"]);
    assert_eq!(state.names("", "x"), [""; 0]);
    assert_eq!(state.secret("m", "k-1").unwrap().expose(), b"v");
    assert!(state.secret("", "k-1").is_none());
}

#[test]
fn requests_are_validated_in_the_published_words() {
    use request::*;
    let texts = |v: kuma_core::validate::Violations| {
        v.0.into_iter().map(|v| format!("{}: {}", v.field, v.message)).collect::<Vec<_>>()
    };
    let dataplane: DataplaneTokenRequest =
        serde_json::from_value(json!({"mesh": "", "type": "ingress", "validFor": "x", "tags": null})).unwrap();
    assert_eq!(
        texts(dataplane.validate().unwrap_err()),
        [
            "mesh: cannot be empty",
            "validFor: is invalid: time: invalid duration \"x\"",
            "type: ingress is not a valid proxy type"
        ]
    );
    let dataplane: DataplaneTokenRequest =
        serde_json::from_value(json!({"mesh": "m", "name": "n", "tags": {"a": ["b"]}, "workload": "w", "more": 1}))
            .unwrap();
    let (claims, valid_for) = dataplane.validate().unwrap();
    assert_eq!(
        (claims.name.as_str(), claims.workload.as_str(), valid_for.to_string().as_str()),
        ("n", "w", "87600h0m0s")
    );
    let user = |v: Value| texts(serde_json::from_value::<UserTokenRequest>(v).unwrap().validate().unwrap_err());
    assert_eq!(user(json!({})), ["name: cannot be empty", "validFor: cannot be empty"]);
    assert_eq!(
        user(json!({"name": "a", "validFor": "x"})),
        ["validFor: is invalid: time: invalid duration \"x\"", "validFor: cannot be empty or nil"]
    );
    assert_eq!(user(json!({"name": "a", "validFor": "0s"})), ["validFor: cannot be empty or nil"]);
    let zone: ZoneTokenRequest = serde_json::from_value(json!({})).unwrap();
    assert_eq!(zone.validate().unwrap(), (ZoneClaims::default(), DEFAULT_VALIDITY));
}
