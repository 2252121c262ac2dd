//! One scenario: its resources as a state, its proxies as facts, what was recorded for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use kuma_core::{
    json::from_rest,
    meta::{Meta, label},
    plan::{Features, Names, NodeFacts, PlanSettings, plan},
    registry::Kind,
    resource::{AnyResource, Key},
    resources::MeshService,
    state::MeshState,
};
use regex::Regex;
use serde_json::{Value, json};
use xds_gen::{
    render::{AdminTls, render_proxy},
    set::Own,
};

use crate::compare::{Names as Placeholders, difference};

const FEATURES: [&str; 4] = [
    "feature-tcp-accesslog-via-named-pipe",
    "feature-otel-via-kuma-dp",
    "feature-strict-inbound-ports",
    "feature-reuse-port",
];

/// What a mesh has without anybody writing it, unless its creator asks for less.
const DEFAULT_POLICIES: &str = include_str!("default-policies.yaml");

/// A scenario that can be run.
pub(crate) struct Scenario {
    mesh: String,
    state: MeshState,
    proxies: Vec<Proxy>,
    placeholders: Placeholders,
    ignore: Vec<Value>,
}

struct Proxy {
    name: String,
    node: NodeFacts,
    recorded: Value,
}

/// Whether a scenario can be run.
pub(crate) enum Loaded {
    /// It can.
    Ready(Box<Scenario>),
    /// It uses kinds that this build does not know.
    Unknown(BTreeSet<String>),
    /// Nothing was recorded for any proxy.
    NoProxy,
}

/// Folders of all scenarios, sorted.
pub(crate) fn folders(data: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> =
        std::fs::read_dir(data).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    out.sort();
    out
}

fn text(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn yaml(text: &str) -> Value {
    let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn documents(text: &str) -> Vec<Value> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    parts.iter().filter(|p| !p.trim().is_empty()).map(|p| yaml(p)).filter(|d| !d.is_null()).collect()
}

impl Scenario {
    pub(crate) fn load(dir: &Path) -> Loaded {
        let doc = yaml(&text(&dir.join("scenario.yaml")).unwrap_or_default());
        let mesh = doc["name"].as_str().unwrap_or_default().to_owned();
        let mut docs = documents(&text(&dir.join("resources.yaml")).unwrap_or_default());
        if let Some(file) = doc["then"]["apply"].as_str() {
            docs.extend(documents(&text(&dir.join(file)).unwrap_or_default()));
        }
        let kinds: BTreeSet<String> = docs.iter().filter_map(|d| d["type"].as_str()).map(str::to_owned).collect();
        let unknown: BTreeSet<String> = kinds.into_iter().filter(|k| Kind::by_name(k).is_none()).collect();
        if !unknown.is_empty() {
            return Loaded::Unknown(unknown);
        }
        let recorded: Value =
            text(&dir.join("expected/resources.json")).and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default();
        let placeholders = Placeholders::of(&recorded);
        let proxies = doc["proxies"].as_array().into_iter().flatten();
        let proxies: Vec<Proxy> = proxies.filter_map(|p| proxy(dir, p, &docs)).collect();
        if proxies.is_empty() {
            return Loaded::NoProxy;
        }
        let state = state(&mesh, docs, &recorded, &placeholders, &doc["then"]["delete"]);
        let ignore = doc["ignore"].as_array().cloned().unwrap_or_default();
        Loaded::Ready(Box::new(Self { mesh, state, proxies, placeholders, ignore }))
    }

    /// Number of proxies that are compared.
    pub(crate) fn proxies(&self) -> usize {
        self.proxies.len()
    }

    /// Places where the plan differs from what was recorded.
    pub(crate) fn run(&self) -> Vec<String> {
        let mut out = Vec::new();
        for proxy in &self.proxies {
            let settings = PlanSettings::default();
            let planned = plan(&self.state, &settings, &Names::default(), &self.mesh, &proxy.name, &proxy.node);
            let Some((facts, ir)) = planned else {
                out.push(format!("{}: no plan", proxy.name));
                continue;
            };
            let tls = AdminTls::default();
            let own = Arc::new(Own::new((*facts.own).clone()));
            let set = render_proxy(&ir, own.clone(), Some(&tls));
            let mut ads: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
            for rendered in set.iter() {
                let url = rendered.type_url.as_str().to_owned();
                let name = url.rsplit('/').next().unwrap_or_default();
                let value = xds_gen::json::bytes_to_json(name, &rendered.value(&own));
                let value = value.unwrap_or_else(|e| json!(format!("{e}")));
                ads.entry(url).or_default().insert(rendered.name.to_string(), value);
            }
            let actual = self.placeholders.normalise(&json!(ads));
            let found = difference(&actual, &proxy.recorded["ads"]);
            let part = format!("proxy-{}/ads", proxy.name);
            out.extend(found.into_iter().filter(|d| !self.ignored(&part, d)).map(|d| format!("{}: {d}", proxy.name)));
        }
        out
    }

    /// The scenario says itself that differences at this place do not count.
    fn ignored(&self, part: &str, difference: &str) -> bool {
        let hit = |pattern: &Value, text: &str| {
            pattern.as_str().and_then(|p| Regex::new(p).ok()).is_none_or(|regex| regex.is_match(text))
        };
        let place = difference.split(": ").next().unwrap_or_default();
        self.ignore.iter().any(|i| hit(&i["part"], part) && hit(&i["path"], place))
    }
}

fn proxy(dir: &Path, doc: &Value, docs: &[Value]) -> Option<Proxy> {
    let name = doc["name"].as_str()?.to_owned();
    let resource = docs.iter().find(|d| d["type"] == "Dataplane" && d["name"] == *name)?;
    let recorded: Value = serde_json::from_str(&text(&dir.join(format!("expected/proxy-{name}.json")))?).ok()?;
    recorded.get("ads").filter(|ads| ads.get("error").is_none())?;
    let named: Vec<&str> = match doc["features"].as_array() {
        Some(list) => list.iter().filter_map(Value::as_str).collect(),
        None => FEATURES.to_vec(),
    };
    let request = &doc["request"];
    let number = |key: &str, or: u16| request[key].as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(or);
    let work_dir = request["workdir"].as_str().unwrap_or("/run/kuma-dp");
    // What the control plane writes into the bootstrap, and Envoy hands back.
    let node = NodeFacts {
        features: Features::from_names(named),
        redirect: request["dataplaneConfig"].is_object().then(|| {
            let metadata = json!({"transparentProxy": request["dataplaneConfig"]});
            NodeFacts::from_metadata(&metadata).redirect.unwrap_or_default()
        }),
        dns_port: number("dnsPort", 15053),
        readiness_port: number("readinessPort", 9902),
        admin_port: resource["networking"]["admin"]["port"].as_u64().and_then(|p| p.try_into().ok()).unwrap_or(9901),
        admin_address: "127.0.0.1".into(),
        // Without a work directory the admin API is a port.
        admin_socket: if work_dir.is_empty() { "".into() } else { kuma_core::sockets::envoy_admin(work_dir).into() },
        ipv6: request["ipv6Enabled"].as_bool().unwrap_or(true),
        work_dir: work_dir.into(),
        ..NodeFacts::default()
    };
    Some(Proxy { name, node, recorded })
}

fn state(mesh: &str, docs: Vec<Value>, recorded: &Value, placeholders: &Placeholders, gone: &Value) -> MeshState {
    let skipped = docs.iter().find(|d| d["type"] == "Mesh").map(|d| d["skipCreatingInitialPolicies"].clone());
    let mut all: BTreeMap<Key, AnyResource> = BTreeMap::new();
    let mut add = |position: usize, doc: &Value| {
        let Some(kind) = doc["type"].as_str().and_then(Kind::by_name) else { return };
        if let Ok(received) = from_rest(kind, doc) {
            let resource = labelled(received.resource, mesh, position);
            all.insert(resource.key(), resource);
        }
    };
    add(0, &json!({"type": "Mesh", "name": mesh}));
    for (position, doc) in docs.iter().enumerate() {
        if doc["type"] != "MeshService" {
            add(position, &not_ready_yet(doc));
        }
    }
    for doc in documents(&DEFAULT_POLICIES.replace("MESH", mesh)) {
        let skip = skipped.iter().filter_map(Value::as_array).flatten();
        if !skip.into_iter().any(|s| *s == "*" || *s == doc["type"]) {
            add(0, &doc);
        }
    }
    for service in recorded["meshservices"]["items"].as_array().into_iter().flatten() {
        let mut service = placeholders.fill(service);
        for key in ["creationTime", "modificationTime", "kri", "snis"] {
            service.as_object_mut().and_then(|s| s.remove(key));
        }
        let position = docs.iter().position(|d| d["type"] == "MeshService" && d["name"] == service["name"]);
        match from_rest(Kind::MeshService, &service) {
            Ok(received) => {
                let resource = labelled(received.resource, mesh, position.unwrap_or(docs.len()));
                assert!(resource.typed::<MeshService>().is_some());
                all.insert(resource.key(), resource);
            }
            Err(fault) => panic!("recorded service: {fault}"),
        }
    }
    for name in gone.as_array().into_iter().flatten().filter_map(Value::as_str) {
        if let Some((kind, name)) = name.split_once('/').and_then(|(k, n)| Some((Kind::by_name(k)?, n))) {
            all.remove(&Key::new(kind, if kind == Kind::Mesh { "" } else { mesh }, name));
        }
    }
    MeshState::of(all.into_values())
}

/// A new Dataplane whose application is probed takes no traffic before the first answer, which never comes here.
fn not_ready_yet(doc: &Value) -> Value {
    let mut doc = doc.clone();
    if let Some(inbounds) = doc.pointer_mut("/networking/inbound").and_then(Value::as_array_mut) {
        for inbound in inbounds {
            if inbound.get("serviceProbe").is_some() {
                inbound["state"] = json!("NotReady");
                inbound["health"] = json!({"ready": false});
            }
        }
    }
    doc
}

/// The labels that a zone control plane computes when it stores a resource.
fn labelled(resource: AnyResource, mesh: &str, position: usize) -> AnyResource {
    let descriptor = resource.kind().descriptor();
    let mut labels = (*resource.meta.labels).clone();
    labels.insert(label::DISPLAY_NAME.into(), resource.meta.name.to_string());
    labels.insert(label::ORIGIN.into(), "zone".into());
    if descriptor.mesh_scoped() {
        labels.entry(label::MESH.into()).or_insert_with(|| mesh.into());
    }
    if descriptor.provided_by_zone() {
        labels.entry(label::ZONE.into()).or_insert_with(|| "default".into());
        labels.entry(label::ENV.into()).or_insert_with(|| "universal".into());
    }
    let created = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(i64::try_from(position).unwrap_or_default());
    let meta = Meta { labels: labels.into(), created, ..resource.meta.clone() };
    resource.with_meta(meta)
}
