//! `kumactl-resources`: command lines, what they print, and what they leave behind. The command line runs in this
//! process against a REST stub that keeps what it is sent and computes nothing.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Json, Response},
};
use jiff::{Timestamp, tz::TimeZone};
use kuma_core::{
    json::{from_text, to_rest},
    registry::Kind,
    resource::{AnyResource, Key},
};
use kumactl::output::yaml::to_yaml;
use serde_json::{Value, json};

use crate::{
    case::{Case, Check},
    compare,
    report::Outcome,
};

/// What inspections take for the time, where a case does not say.
const NOW: &str = "2008-04-27T16:05:36.995Z";
const PLACEHOLDER: &str = "http://placeholder-address";

pub(crate) fn run(case: &Case) -> Vec<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    case.checks()
        .into_iter()
        .map(|check| {
            let result = match &runtime {
                Ok(runtime) => runtime.block_on(one(case, &check)),
                Err(error) => Err(format!("no runtime: {error}")),
            };
            Outcome::new(check.name, result)
        })
        .collect()
}

async fn one(case: &Case, check: &Check<'_>) -> Result<(), String> {
    let scratch = scratch(case)?;
    let server = Server::start(case).await?;
    if case.area() != "config" {
        let config = format!(
            "controlPlanes: [{{name: local, coordinates: {{apiServer: {{url: \"{}\"}}}}}}]\n\
             contexts: [{{name: local, controlPlane: local}}]\ncurrentContext: local\n",
            server.url
        );
        std::fs::write(scratch.path().join(".client"), config).map_err(|e| e.to_string())?;
    }
    if let Some(setup) = case.param("setup").as_array() {
        let done = kumactl(case, setup, scratch.path(), &server.url).await?;
        if !done.good {
            return Err(format!("the setup failed: {}", done.err));
        }
    }
    let args = check.doc["params"]["args"].as_array().or_else(|| case.param("args").as_array());
    let done = kumactl(case, args.ok_or("the case has no command line")?, scratch.path(), &server.url).await?;
    if check.doc["compare"] == "error-contains" {
        return refused(&done, &check.doc["value"]);
    }
    let actual = match check.doc["output"].as_str().unwrap_or_default() {
        "stdout" if matches!(case.area(), "get-list" | "get-one") => done.out.clone() + &done.err,
        "stdout" => done.out.clone(),
        "stderr" => done.err.clone(),
        "store" => server.store().print(),
        file => std::fs::read_to_string(scratch.path().join(file)).map_err(|e| format!("{file}: {e}"))?,
    };
    let golden = check.golden(case).map(|golden| golden.replace(PLACEHOLDER, &server.url));
    let result = match (check.doc["compare"].as_str().unwrap_or_default(), golden) {
        ("empty", _) if actual.is_empty() => Ok(()),
        ("empty", _) => Err(format!("expected nothing, found {actual:?}")),
        ("yaml", Some(golden)) => {
            compare::yaml(&actual).and_then(|actual| compare::values(&actual, &compare::yaml(&golden)?))
        }
        ("text", Some(golden)) => compare::texts(&actual, &golden),
        (other, _) => Err(format!("comparison {other:?} does not fit this check")),
    };
    result.map_err(|why| if done.err.is_empty() { why } else { format!("{why}\nstderr: {}", done.err) })
}

/// The command fails and says what it should. Behind `invalid <Type> object: ` the message is the decoder's own.
fn refused(done: &Done, expected: &Value) -> Result<(), String> {
    let text = expected["stderrContains"].as_str().unwrap_or_default();
    if done.good {
        return Err("the command succeeded".into());
    }
    let wanted = match text.split_once(" object: ") {
        Some((front, _)) if front.contains("invalid ") => format!("{front} object: "),
        _ => text.to_owned(),
    };
    if done.err.contains(&wanted) { Ok(()) } else { Err(format!("{wanted:?} is not in {:?}", done.err)) }
}

/// A copy of the case folder, as commands write there.
fn scratch(case: &Case) -> Result<tempfile::TempDir, String> {
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    for entry in std::fs::read_dir(&case.dir).map_err(|e| e.to_string())?.flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).map_err(|e| e.to_string())?;
        }
    }
    Ok(dir)
}

/// What a command line did.
struct Done {
    out: String,
    err: String,
    good: bool,
}

async fn kumactl(case: &Case, args: &[Value], dir: &Path, url: &str) -> Result<Done, String> {
    let mut line = vec!["kumactl".to_owned()];
    if case.area() != "config" {
        line.extend(["--config-file".to_owned(), dir.join(".client").display().to_string()]);
    }
    line.extend(args.iter().filter_map(Value::as_str).map(|arg| {
        // The folder of the case is where the command line runs.
        let file = dir.join(arg);
        if file.is_file() { file.display().to_string() } else { arg.replace(PLACEHOLDER, url) }
    }));
    let now = case.param("now").as_str().unwrap_or(NOW);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let input = case.input("stdin").unwrap_or_default();
    let status = kumactl::run(
        line.into_iter().map(Into::into),
        &mut kumactl::Streams {
            out: &mut out,
            err: &mut err,
            input: &mut input.as_bytes(),
            now: now.parse::<Timestamp>().map_err(|e| format!("now: {e}"))?,
            zone: TimeZone::UTC,
            colours: false,
        },
    )
    .await;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Done { out: text(out), err: text(err), good: status == std::process::ExitCode::SUCCESS })
}

/// What the stub answers from.
struct Stub {
    store: Mutex<Store>,
    /// The answer to everything but the root, if the case has one.
    fixed: Option<String>,
    version: &'static str,
}

/// Resources in the order of their creation.
#[derive(Default)]
struct Store(Vec<AnyResource>);

struct Server {
    url: String,
    stub: Arc<Stub>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(case: &Case) -> Result<Self, String> {
        // Fails only if another test of this process chose before, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let version = if case.area() == "config" { "unknown" } else { kumactl::version::VERSION };
        let stub = Arc::new(Stub { store: Mutex::default(), fixed: case.input("serverResponse"), version });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
        let url = format!("http://{}", listener.local_addr().map_err(|e| e.to_string())?);
        let app = Router::new().fallback(answer).with_state(stub.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                println!("the stub stopped: {error}");
            }
        });
        Ok(Self { url, stub, task })
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.stub.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(stub): State<Arc<Stub>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().trim_matches('/').to_owned();
    if path.is_empty() {
        return Json(json!({"product": "Kuma", "version": stub.version})).into_response();
    }
    if let Some(fixed) = &stub.fixed {
        return fixed.clone().into_response();
    }
    let Ok(body) = axum::body::to_bytes(body, 1 << 22).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let segments: Vec<&str> = path.split('/').collect();
    let (mesh, collection, name) = match segments[..] {
        ["meshes", mesh, collection] => (mesh, collection, None),
        ["meshes", mesh, collection, name] => (mesh, collection, Some(name)),
        [collection] => ("", collection, None),
        [collection, name] => ("", collection, Some(name)),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let Some(kind) = Kind::by_path(collection) else { return StatusCode::NOT_FOUND.into_response() };
    let mut store = stub.store.lock().unwrap_or_else(PoisonError::into_inner);
    match (parts.method, name) {
        (Method::GET, None) => Json(store.list(kind, mesh, parts.uri.query().unwrap_or_default())).into_response(),
        (Method::GET, Some(name)) => match store.find(&Key::new(kind, mesh, name)) {
            Some(at) => Json(to_rest(&store.0[at])).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        (Method::PUT, Some(_)) => match from_text(kind, &body) {
            Ok(received) => {
                store.put(received.resource);
                Json(json!({})).into_response()
            }
            Err(fault) => (StatusCode::BAD_REQUEST, fault.to_string()).into_response(),
        },
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

impl Store {
    fn find(&self, key: &Key) -> Option<usize> {
        self.0.iter().position(|r| r.key() == *key)
    }

    fn put(&mut self, resource: AnyResource) {
        match self.find(&resource.key()) {
            Some(at) => self.0[at] = resource,
            None => self.0.push(resource),
        }
    }

    /// All in the order of creation, or one page in the order of names.
    fn list(&self, kind: Kind, mesh: &str, query: &str) -> Value {
        let mut found: Vec<&AnyResource> =
            self.0.iter().filter(|r| r.kind() == kind && *r.meta.mesh == *mesh).collect();
        let total = found.len();
        let parameter = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<usize>().ok())
        };
        let mut next = Value::Null;
        if let Some(size) = parameter("size") {
            found.sort_by_key(|r| r.key());
            let end = parameter("offset").unwrap_or_default().saturating_add(size);
            if end < total {
                next = format!("http://stub/{}?size={size}&offset={end}", kind.descriptor().path).into();
            }
            found = found.into_iter().take(end).skip(end - size).collect();
        }
        let items: Vec<Value> = found.into_iter().map(to_rest).collect();
        json!({"total": total, "items": items, "next": next})
    }

    /// The store as goldens show it.
    fn print(&self) -> String {
        let mut types: BTreeMap<&str, Vec<&AnyResource>> = BTreeMap::new();
        for resource in &self.0 {
            types.entry(resource.kind().name()).or_default().push(resource);
        }
        let mut out = String::new();
        for (name, mut resources) in types {
            resources.sort_by_key(|r| r.meta.name.clone());
            out.push_str(&format!("# {name}\n"));
            for resource in resources {
                let mut value = to_rest(resource);
                strip(&mut value);
                out.push_str(&format!("---\n{}\n", to_yaml(&value)));
            }
        }
        out
    }
}

/// Takes out what differs from run to run.
fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match (key.as_str(), &*value) {
                    ("version" | "buildDate" | "gitCommit" | "gitTag", Value::String(_)) => {
                        *value = "STRIPPED_VERSION".into();
                    }
                    ("config", Value::String(_)) => *value = "STRIPPED_CONFIG".into(),
                    _ => strip(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        Value::String(text) if is_uuid(text) => *text = "STRIPPED_UUID".into(),
        _ => {}
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.chars().enumerate().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}
