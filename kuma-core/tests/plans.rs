//! Files in, files out: every `*.in.yaml` below `src` (which proxy, and the resources of mesh `default`) is planned from
//! scratch and compared with the `*.ir.yaml` beside it, which rendering takes up in turn. `UPDATE_GOLDENS=1 cargo test
//! -p kuma-core --test plans` writes them anew and removes those that have no input; what moved is reviewed like code.
#![expect(clippy::unwrap_used, reason = "a test ends where its files are not what they should be")]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use kuma_core::{
    ir::{Own, ProxyIr},
    json::from_rest,
    labels::{self, Site},
    meta::Meta,
    plan::{Names, NodeFacts, PlanSettings, plan},
    registry::Kind,
    resource::AnyResource,
    state::MeshState,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const MESH: &str = "default";

/// What a case is about: the first document of its file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    /// Name of the Dataplane.
    proxy: String,
    /// Metadata of its node.
    #[serde(default)]
    node: Value,
}

/// What a plan comes to, as rendering reads it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Planned {
    own: Own,
    proxy: ProxyIr,
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A resource as a zone stores it: the labels computed, one second younger than the document before it.
fn stored(position: usize, mut document: Value) -> AnyResource {
    let kind = Kind::by_name(document["type"].as_str().unwrap()).unwrap_or_else(|| panic!("{document}"));
    if kind != Kind::Mesh {
        document["mesh"] = json!(MESH);
    }
    let resource = from_rest(kind, &document).unwrap_or_else(|e| panic!("{e}: {document}")).resource;
    let created = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(position.try_into().unwrap());
    let labels = labels::compute(&Site::zone("default"), &resource).into();
    let meta = Meta { labels, created, ..resource.meta.clone() };
    resource.with_meta(meta)
}

fn planned(input: &Path) -> Planned {
    let text = fs::read_to_string(input).unwrap();
    let mut documents = text.split("\n---\n").map(yaml);
    let about: About = serde_json::from_value(documents.next().unwrap()).unwrap();
    let mesh = json!({"type": "Mesh", "name": MESH});
    let resources = std::iter::once(mesh).chain(documents).enumerate();
    let state = MeshState::of(resources.map(|(position, document)| stored(position, document)));
    let node = NodeFacts::from_metadata(&about.node);
    // One block of addresses keeps the goldens short.
    let internal = [kuma_core::ir::CidrText { address: "10.0.0.0".into(), length: 8 }];
    let settings = PlanSettings::new("default", internal);
    let (facts, proxy) = plan(&state, &settings, &Names::default(), MESH, &about.proxy, &node)
        .unwrap_or_else(|| panic!("{}: there is no proxy {}", input.display(), about.proxy));
    Planned { own: (*facts.own).clone(), proxy }
}

/// Files below a folder whose names end so, sorted.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn beside(path: &Path, ending: &str, other: &str) -> PathBuf {
    PathBuf::from(path.to_str().unwrap().strip_suffix(ending).unwrap().to_owned() + other)
}

#[test]
fn every_case_is_planned_as_its_golden_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let inputs = files(&root, ".in.yaml");
    assert!(!inputs.is_empty(), "no cases below {}", root.display());
    let mut differing = String::new();
    for input in &inputs {
        let golden = beside(input, ".in.yaml", ".ir.yaml");
        let actual = serde_saphyr::to_string(&serde_json::to_value(planned(input)).unwrap()).unwrap();
        if update {
            fs::write(&golden, actual).unwrap();
            continue;
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if actual != expected {
            let diff = similar::TextDiff::from_lines(&expected, &actual).unified_diff().to_string();
            writeln!(differing, "--- {} (golden -> plan)\n{diff}", input.display()).unwrap();
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDENS=1 accepts this:\n{differing}");

    for golden in files(&root, ".ir.yaml") {
        if !beside(&golden, ".ir.yaml", ".in.yaml").exists() {
            assert!(update, "{} has no input beside it", golden.display());
            fs::remove_file(&golden).unwrap();
        }
    }
}

#[test]
fn goldens_are_read_back_as_they_were_planned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for input in files(&root, ".in.yaml") {
        let golden: Planned =
            serde_json::from_value(yaml(&fs::read_to_string(beside(&input, ".in.yaml", ".ir.yaml")).unwrap())).unwrap();
        let planned = planned(&input);
        assert!(golden.own == planned.own && golden.proxy == planned.proxy, "{}", input.display());
    }
}
