//! Files in, files out: every `*.ir.yaml` (a proxy in the intermediate form, with the facts of the replica), those of
//! `testdata` and those that planning has written beside its inputs, is rendered and compared with the `*.envoy.yaml`
//! beside it. `UPDATE_GOLDENS=1 cargo test -p xds-gen --test goldens`
//! writes them anew and removes those that have no input; what moved is then reviewed like code.
#![expect(clippy::unwrap_used, reason = "a test ends where its files are not what they should be")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use kuma_core::ir::{self, ProxyIr};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xds_gen::{
    json,
    render::{self, AdminTls, units},
    set::{Own, Rendered, ResourceSet, Source, TypeUrl, Version},
};

/// Input of a case.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    own: ir::Own,
    proxy: ProxyIr,
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Paths of the files with this ending within the project, without it.
fn stems(ending: &str) -> Vec<String> {
    let mut stems = Vec::new();
    for root in ["xds-gen/testdata", "kuma-core/src"] {
        add_stems(root, ending, &mut stems);
    }
    stems.sort();
    stems
}

fn add_stems(folder: &str, ending: &str, out: &mut Vec<String>) {
    for entry in fs::read_dir(project().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            add_stems(&path, ending, out);
        } else if let Some(stem) = path.strip_suffix(ending) {
            out.push(stem.to_owned());
        }
    }
}

fn load(stem: &str) -> Case {
    let text = fs::read_to_string(project().join(format!("{stem}.ir.yaml"))).unwrap();
    let value: Value = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{stem}: {e}"));
    serde_path_to_error::deserialize(value).unwrap_or_else(|e| panic!("{stem}: {e}"))
}

fn cases() -> Vec<(String, Case)> {
    let cases: Vec<_> = stems(".ir.yaml").into_iter().map(|stem| (stem.clone(), load(&stem))).collect();
    assert!(!cases.is_empty(), "no cases");
    cases
}

/// Material that shows where it goes; whoever starts an Envoy with it puts real material in its place.
fn admin_tls() -> AdminTls {
    AdminTls { certificate_chain: b"certificate".to_vec(), private_key: b"key".to_vec(), ca: b"ca".to_vec() }
}

fn rendered(case: &Case) -> ResourceSet {
    render::render_proxy(&case.proxy, Arc::new(Own::new(case.own.clone())), Some(&admin_tls()))
}

/// The set as protobuf JSON, by kind of resource.
fn printed(set: &ResourceSet) -> Value {
    let mut kinds: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for resource in set.iter() {
        let kind = match resource.type_url {
            TypeUrl::Cluster => "clusters",
            TypeUrl::Endpoint => "endpoints",
            TypeUrl::Listener => "listeners",
            other => panic!("{other} is not rendered"),
        };
        let value = json::bytes_to_json(resource.type_url.as_str(), &resource.value(set.own())).unwrap();
        kinds.entry(kind).or_default().push(value);
    }
    sorted(serde_json::to_value(kinds).unwrap())
}

/// Keys in alphabetical order: maps of messages come in any order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.into_iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(fields.into_iter().collect())
        }
        other => other,
    }
}

#[test]
fn every_case_renders_to_its_golden() {
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut differing = Vec::new();
    for (stem, case) in cases() {
        let path = project().join(format!("{stem}.envoy.yaml"));
        let actual = printed(&rendered(&case));
        if update {
            fs::write(&path, serde_saphyr::to_string(&actual).unwrap()).unwrap();
            continue;
        }
        let expected: Value = match fs::read_to_string(&path) {
            Ok(text) => serde_saphyr::from_str(&text).unwrap(),
            Err(_) => Value::Null,
        };
        if actual != expected {
            let print = |value| serde_saphyr::to_string(value).unwrap();
            let diff = similar::TextDiff::from_lines(print(&expected), print(&actual)).unified_diff().to_string();
            differing.push(format!("--- {stem} (golden -> rendered)\n{diff}"));
        }
    }
    assert!(differing.is_empty(), "UPDATE_GOLDENS=1 accepts this:\n{}", differing.join("\n"));

    let inputs = stems(".ir.yaml");
    for orphan in stems(".envoy.yaml").into_iter().filter(|stem| !inputs.contains(stem)) {
        assert!(update, "{orphan}.envoy.yaml has no input beside it");
        fs::remove_file(project().join(format!("{orphan}.envoy.yaml"))).unwrap();
    }
}

struct Issuer;
impl units::AdminIssuer for Issuer {
    fn version(&self) -> Version {
        Version::of(b"first CA")
    }
    fn issue(&self, _: &ir::Own) -> Option<AdminTls> {
        Some(admin_tls())
    }
}

/// The resources of a proxy put together from units, as streams get them.
fn from_units(case: &Case) -> Vec<Arc<Rendered>> {
    let ir = &case.proxy;
    let issuer: Arc<dyn units::AdminIssuer> = Arc::new(Issuer);
    let mut out = units::wide(&ir.wide);
    if let Some(unit) = ir.wide.admin.as_ref().filter(|_| render::has_admin_listener(&case.own)) {
        out.push(units::admin_listener(unit, &issuer));
    }
    out.extend(ir.inbounds.values().flat_map(units::inbound));
    out.extend(ir.outbounds.values().map(units::outbound));
    out.extend(ir.clusters.values().map(|unit| units::cluster(unit)));
    out.extend(ir.endpoints.iter().map(|(name, unit)| units::endpoints(name, unit)));
    out.sort_by(|a, b| (a.type_url, &a.name).cmp(&(b.type_url, &b.name)));
    out
}

#[test]
fn units_come_to_the_same_bytes_and_know_their_clusters() {
    for (stem, case) in cases() {
        let whole = rendered(&case);
        let parts = from_units(&case);
        let names = |list: &mut dyn Iterator<Item = &Arc<Rendered>>| -> Vec<_> {
            list.map(|r| (r.type_url, r.name.clone())).collect()
        };
        assert_eq!(names(&mut parts.iter()), names(&mut whole.iter()), "{stem}");
        for (part, all) in parts.iter().zip(whole.iter()) {
            assert_eq!(part.value(whole.own()), all.value(whole.own()), "{stem}: {}", part.name);
            assert!(part.size_hint() >= part.value(whole.own()).len() / 2, "{stem}: hint of {}", part.name);
            if part.type_url == TypeUrl::Listener {
                let named =
                    clusters_in(&json::bytes_to_json(part.type_url.as_str(), &part.value(whole.own())).unwrap());
                let said: Vec<_> = part.uses.as_deref().unwrap().iter().map(ToString::to_string).collect();
                assert!(named.iter().all(|n| said.contains(n)), "{stem}: {} names {named:?}, says {said:?}", part.name);
            }
        }
    }
}

/// Names of clusters anywhere in a listener.
fn clusters_in(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(clusters_in).collect(),
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| match (key.as_str(), value) {
                ("cluster", Value::String(name)) => vec![name.clone()],
                ("weightedClusters", Value::Object(weighted)) => weighted["clusters"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|c| c["name"].as_str().unwrap().to_owned())
                    .collect(),
                _ => clusters_in(value),
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn inputs_survive_being_printed() {
    for (stem, case) in cases() {
        let again: Case = serde_json::from_value(serde_json::to_value(&case).unwrap()).unwrap();
        assert!(again.own == case.own && again.proxy == case.proxy, "{stem}");
    }
}
