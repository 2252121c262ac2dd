//! Replays the recorded cases of the suite `config-defaults` that concern the control plane.

use std::path::{Path, PathBuf};

use kuma_cp::config;
use serde_json::Value;

/// The folder of the recorded cases. Missing cases fail: a run without them would mean nothing.
fn suite(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let given = std::env::var_os("KUMA_CONFORMANCE_DIR").map(PathBuf::from);
    let near = ["../shared/conformance", "../../shared/conformance"].map(|p| root.join(p));
    let dir = given.into_iter().chain(near).map(|d| d.join(name)).find(|d| d.is_dir());
    dir.unwrap_or_else(|| panic!("no folder {name} of recorded cases: set KUMA_CONFORMANCE_DIR"))
}

fn yaml(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn sections_have_the_recorded_defaults() {
    let mut seen = 0;
    for area in std::fs::read_dir(suite("config-defaults").join("cases")).unwrap() {
        for case in std::fs::read_dir(area.unwrap().path()).unwrap() {
            let dir = case.unwrap().path();
            let case = yaml(&dir.join("case.yaml"));
            let section = case["params"]["section"].as_str().unwrap();
            let Some(section) = section.strip_suffix(" section of kuma-cp") else { continue };
            let shown = config::layer(None, []).unwrap().config.display();
            for check in case["checks"].as_array().unwrap() {
                let expected = yaml(&dir.join(check["expected"].as_str().unwrap()));
                let found = shown.pointer(&format!("/{}", section.replace('.', "/")));
                assert_eq!(found, Some(&expected), "{}", case["id"]);
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no case concerns the control plane");
}
