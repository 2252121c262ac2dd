//! Bootstraps as a whole: those that were recorded for the same question are equal, and Envoy takes every form.
//!
//! Recorded ones are read from `../shared/differential/scenarios` beside the project.
#![expect(clippy::unwrap_used, reason = "a test ends where its files are not what they should be")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use kuma_core::{json::from_rest, registry::Kind, resource::Resource, resources::Dataplane};
use serde_json::{Value, json};
use xds_gen::bootstrap::{BootstrapRequest, BootstrapResponse, BootstrapSettings, Door, Stored, answer};

/// Host of the control plane that is asked.
const HOST: &str = "127.0.0.1";

fn yaml(text: &str) -> Value {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).unwrap()
}

/// The documents of a scenario.
struct Documents(Vec<Value>);

impl Stored for Documents {
    fn has_mesh(&self, name: &str) -> bool {
        self.0.iter().any(|d| d["type"] == "Mesh" && d["name"] == name)
    }
    fn dataplane(&self, mesh: &str, name: &str) -> Option<Resource<Dataplane>> {
        let found = self.0.iter().find(|d| d["type"] == "Dataplane" && d["mesh"] == mesh && d["name"] == name)?;
        from_rest(Kind::Dataplane, found).unwrap().resource.typed()
    }
}

/// The request that recordings were made with.
fn request(mesh: &str, proxy: &Value) -> Value {
    let mut request = json!({
        "mesh": mesh, "name": proxy["name"], "proxyType": "dataplane", "caCert": "",
        "version": {
            "kumaDp": {"version": "3.0.0", "gitTag": "v3.0.0", "gitCommit": "unknown", "buildDate": "unknown"},
            "envoy": {"version": "1.39.0", "build": "unknown", "kumaDpCompatible": true},
        },
        "dynamicMetadata": {}, "dnsPort": 15053, "readinessPort": 9902, "operatingSystem": "linux",
        "features": [
            "feature-tcp-accesslog-via-named-pipe", "feature-otel-via-kuma-dp", "feature-strict-inbound-ports",
            "feature-reuse-port",
        ],
        "resources": {}, "workdir": "/run/kuma-dp", "metricsResources": {"certPath": "", "keyPath": ""},
        "spireResources": {"socketPath": ""}, "systemCaPath": "/etc/ssl/certs/ca-certificates.crt", "ipv6Enabled": true,
    });
    if proxy["features"].is_array() {
        request["features"] = proxy["features"].clone();
    }
    for (key, value) in proxy["request"].as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    request
}

fn ask(request: &Value, settings: &BootstrapSettings, stored: &dyn Stored) -> BootstrapResponse {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let chain_pem = params.self_signed(&key).unwrap().pem();
    let request = BootstrapRequest::parse(request.to_string().as_bytes()).unwrap();
    let door = Door { host: HOST, ipv4_only: false, chain_pem: &chain_pem, sans: &[HOST.to_owned()] };
    answer(&request, &door, settings, stored).unwrap()
}

/// What differs between two control planes is hidden in recordings.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match key.as_str() {
                    "inlineBytes" => *value = json!("<pem CERTIFICATE>"),
                    _ => hide(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::String(text) if text == HOST => *value = json!("<dp-host>"),
        Value::Number(number) if number.as_u64() == Some(5678) => *value = json!("<dp-port>"),
        _ => {}
    }
}

/// What was recorded; says so if there is nothing.
fn scenarios() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/differential/scenarios");
    let found: Vec<_> = fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    if found.is_empty() {
        // Not with a macro: what those print is shown for failures only.
        let note = format!("bootstraps: 0 COMPARED, there are no recordings in {}\n", folder.display());
        std::io::stderr().write_all(note.as_bytes()).unwrap();
    }
    found
}

#[test]
fn recorded_bootstraps_are_equal() {
    let scenarios = scenarios();
    let mut compared = 0;
    for dir in &scenarios {
        let scenario = yaml(&fs::read_to_string(dir.join("scenario.yaml")).unwrap());
        let proxies = scenario["proxies"].as_array().cloned().unwrap_or_default();
        for proxy in proxies.iter().filter(|p| p["bootstrap"] == true) {
            let name = proxy["name"].as_str().unwrap();
            let recorded = fs::read_to_string(dir.join(format!("expected/proxy-{name}.json"))).unwrap();
            let mut recorded: Value = serde_json::from_str(&recorded).unwrap();
            let documents = fs::read_to_string(dir.join("resources.yaml")).unwrap();
            let documents = Documents(documents.split("\n---\n").map(yaml).collect());
            let settings = BootstrapSettings { token_required: false, ..Default::default() };
            let mesh = scenario["name"].as_str().unwrap();
            let response = ask(&request(mesh, proxy), &settings, &documents);
            let mut bootstrap = yaml(&response.to_yaml());
            let statics = &mut bootstrap["staticResources"];
            hide(&mut statics["clusters"][1]);
            hide(&mut statics["secrets"]);
            let sidecar = &response.to_json()["kumaSidecarConfiguration"];
            let found = json!({"bootstrap": bootstrap, "kumaSidecarConfiguration": sidecar});
            assert_eq!(found, recorded["bootstrap"].take(), "{}", dir.display());
            compared += 1;
        }
    }
    assert!(scenarios.is_empty() || compared >= 4, "only {compared} recorded bootstraps were found");
}

#[test]
fn envoy_accepts_every_form() {
    let envoy = release::envoy::ensure().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().to_str().unwrap();
    let stored = Documents(vec![
        json!({"type": "Mesh", "name": "default"}),
        json!({"type": "Dataplane", "mesh": "default", "name": "web", "networking": {"address": "10.0.0.1"}}),
    ]);
    let reloadable = BootstrapSettings { reloadable_tokens: true, ..Default::default() };
    let host = BootstrapSettings { xds_host: "localhost".to_owned(), hds: false, ..Default::default() };
    for (settings, over) in [
        (BootstrapSettings::default(), json!({"workdir": work})),
        (BootstrapSettings::default(), json!({"workdir": ""})),
        (reloadable, json!({"workdir": work, "dataplaneTokenPath": "/token"})),
        (
            host,
            json!({"workdir": work, "dataplaneConfig": {"redirect": {"inbound": {"enabled": true, "port": 15006}}}}),
        ),
    ] {
        let mut request = request("default", &json!({"name": "web"}));
        request["dataplaneToken"] = json!("token");
        for (key, value) in over.as_object().unwrap() {
            request[key] = value.clone();
        }
        let file = folder.path().join("bootstrap.yaml");
        fs::write(&file, ask(&request, &settings, &stored).to_yaml()).unwrap();
        let output = Command::new(&envoy)
            .args(["--mode", "validate", "--log-level", "error", "--config-path"])
            .arg(&file)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{over}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
