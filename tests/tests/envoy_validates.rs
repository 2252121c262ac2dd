//! Every golden of the renderer is a configuration that the Envoy that is shipped accepts.
//!
//! Its resources are put into a bootstrap as static ones. Two things are replaced by what Envoy can load: the material
//! of the admin listener, of which goldens hold placeholders, and endpoints, which become a cluster of their own.
#![expect(clippy::unwrap_used, reason = "a test ends where its files are not what they should be")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

/// Folders that hold `*.envoy.yaml`, at any depth.
const FOLDERS: [&str; 2] = ["../xds-gen/testdata", "../kuma-core/src"];

fn goldens() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        add_goldens(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    }
    files.sort();
    files
}

fn add_goldens(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_goldens(&path, out);
        } else if path.to_str().unwrap().ends_with(".envoy.yaml") {
            out.push(path);
        }
    }
}

fn list(golden: &Value, kind: &str) -> Vec<Value> {
    golden[kind].as_array().cloned().unwrap_or_default()
}

/// A bootstrap with the resources of a golden.
fn bootstrap(golden: &Value, (certificate, key): &(String, String)) -> Value {
    let ads = json!({
        "name": "ads",
        "type": "STATIC",
        "loadAssignment": {"clusterName": "ads", "endpoints": [{"lbEndpoints": [
            {"endpoint": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 5678}}}}
        ]}]},
    });
    let mut clusters = vec![ads];
    clusters.extend(list(golden, "clusters"));
    clusters.extend(list(golden, "endpoints").into_iter().map(|assignment| {
        let name = format!("endpoints of {}", assignment["clusterName"].as_str().unwrap());
        json!({"name": name, "type": "STATIC", "loadAssignment": assignment})
    }));
    let mut listeners = list(golden, "listeners");
    for chain in listeners
        .iter_mut()
        .filter(|listener| listener["name"] == "system_envoy_admin")
        .flat_map(|listener| listener["filterChains"].as_array_mut().unwrap())
        .filter(|chain| chain.get("transportSocket").is_some())
    {
        let context = &mut chain["transportSocket"]["typedConfig"]["commonTlsContext"];
        context["tlsCertificates"] =
            json!([{"certificateChain": {"inlineString": certificate}, "privateKey": {"inlineString": key}}]);
        context["validationContext"]["trustedCa"] = json!({"inlineString": certificate});
    }
    json!({
        "node": {"id": "default.web-1", "cluster": "web"},
        "dynamicResources": {"adsConfig": {
            "apiType": "DELTA_GRPC",
            "transportApiVersion": "V3",
            "grpcServices": [{"envoyGrpc": {"clusterName": "ads"}}],
        }},
        "staticResources": {"clusters": clusters, "listeners": listeners},
    })
}

/// A certificate that stands for server and CA, and its key.
fn material() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["web-1".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// What Envoy says against a bootstrap, if anything.
fn objection(envoy: &Path, folder: &Path, bootstrap: &Value) -> Option<String> {
    let file = folder.join("bootstrap.json");
    fs::write(&file, serde_json::to_vec(bootstrap).unwrap()).unwrap();
    let output = Command::new(envoy)
        .args(["--mode", "validate", "--log-level", "error", "--config-path"])
        .arg(&file)
        .current_dir(folder)
        .output()
        .unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn envoy_accepts_every_golden() {
    let envoy = release::envoy::ensure().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let material = material();
    let goldens = goldens();
    assert!(goldens.len() >= 15, "only {goldens:?}");
    for path in goldens {
        let golden: Value = serde_saphyr::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        if let Some(objection) = objection(&envoy, folder.path(), &bootstrap(&golden, &material)) {
            panic!("{}: {objection}", path.display());
        }
    }
}

/// The test above would notice: an expression that is none, and a chain without an end.
#[test]
fn envoy_objects_to_what_is_wrong() {
    let envoy = release::envoy::ensure().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xds-gen/testdata/routes.envoy.yaml");
    let text = fs::read_to_string(path).unwrap();
    for (good, bad, about) in [
        ("/items/[0-9]+", "/items/[0-9+", "missing ]"),
        ("network.tcp_proxy.v3.TcpProxy", "http.router.v3.Router", "no such field"),
    ] {
        assert!(text.contains(good), "{good}");
        let golden: Value = serde_saphyr::from_str(&text.replace(good, bad)).unwrap();
        let objection = objection(&envoy, folder.path(), &bootstrap(&golden, &material())).unwrap();
        // Some builds put a varying number of spaces between the words of such messages.
        let words: Vec<&str> = objection.split_whitespace().collect();
        assert!(words.join(" ").contains(about), "{objection}");
    }
}
