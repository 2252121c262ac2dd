//! Commands against a stub of the REST API: what is asked, and how answers and errors are shown.

mod history;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
};
use jiff::{Timestamp, tz::TimeZone};

/// A request that the stub saw.
#[derive(Clone, Debug)]
struct Seen {
    /// Method, path and query.
    line: String,
    headers: HeaderMap,
    body: String,
}

/// Status and body by method, path and query. Everything else is 404.
type Answers = BTreeMap<String, (u16, String)>;

struct Stub {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    dir: tempfile::TempDir,
}

impl Stub {
    async fn start(answers: &[(&str, u16, &str)]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut all: Answers =
            answers.iter().map(|(line, status, body)| ((*line).to_owned(), (*status, (*body).to_owned()))).collect();
        all.entry("GET /".into()).or_insert_with(|| {
            (200, format!("{{\"product\": \"Kuma\", \"version\": \"{}\"}}", kumactl::version::VERSION))
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let app = Router::new().fallback(answer).with_state((Arc::new(all), seen.clone()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let stub = Self { url, seen, dir: tempfile::tempdir().expect("a folder") };
        stub.configure("");
        stub
    }

    /// Writes the configuration; `more` is YAML of further fields of the API server.
    fn configure(&self, more: &str) {
        let config = format!(
            "controlPlanes: [{{name: stub, coordinates: {{apiServer: {{url: \"{}\"{more}}}}}}}]\n\
             contexts: [{{name: stub, controlPlane: stub}}, {{name: demo, controlPlane: stub, defaults: {{mesh: demo}}}}]\n\
             currentContext: stub\n",
            self.url
        );
        self.file("config", &config);
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    async fn run(&self, args: &[&str], input: &str) -> Done {
        self.run_in(false, args, input).await
    }

    async fn run_in(&self, colours: bool, args: &[&str], input: &str) -> Done {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = self.run_to(&mut out, &mut err, colours, args, input).await;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Done { out: text(out), err: text(err), good: status == ExitCode::SUCCESS }
    }

    async fn run_to(
        &self,
        out: &mut (dyn Write + Send),
        err: &mut (dyn Write + Send),
        colours: bool,
        args: &[&str],
        input: &str,
    ) -> ExitCode {
        let config = self.dir.path().join("config").display().to_string();
        let line = ["kumactl", "--config-file", &config].into_iter().chain(args.iter().copied());
        let mut streams = kumactl::Streams {
            out,
            err,
            input: &mut input.as_bytes(),
            now: "2026-01-02T03:04:05Z".parse::<Timestamp>().expect("a time"),
            zone: TimeZone::UTC,
            colours,
        };
        kumactl::run(line.map(Into::into), &mut streams).await
    }

    /// What was asked, apart from the version.
    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").iter().filter(|seen| seen.line != "GET /").cloned().collect()
    }

    fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

async fn answer(
    State((answers, seen)): State<(Arc<Answers>, Arc<Mutex<Vec<Seen>>>)>,
    request: Request,
) -> (StatusCode, String) {
    let (parts, body) = request.into_parts();
    let line = format!("{} {}", parts.method, parts.uri);
    let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
    let body = String::from_utf8(body.to_vec()).expect("text");
    seen.lock().expect("not poisoned").push(Seen { line: line.clone(), headers: parts.headers, body });
    let (status, body) = answers.get(&line).cloned().unwrap_or((404, "404: Page Not Found".into()));
    (StatusCode::from_u16(status).expect("a status"), body)
}

#[derive(Debug, PartialEq, Eq)]
struct Done {
    out: String,
    err: String,
    good: bool,
}

fn good(out: &str) -> Done {
    Done { out: out.into(), err: String::new(), good: true }
}

fn bad(err: &str) -> Done {
    Done { out: String::new(), err: err.into(), good: false }
}

const TIMEOUT: &str = "type: MeshTimeout\nmesh: demo\nname: mt-1\nlabels: {team: a}\nspec:\n  to:\n  - targetRef: {kind: Mesh}\n    default: {connectionTimeout: 5s}\nstatus: {}\n";

#[tokio::test]
async fn files_of_a_control_plane_are_found_from_any_folder() {
    let stub = Stub::start(&[]).await;
    let add = ["config", "control-planes", "add", "--name", "prod", "--address", "https://cp:5682", "--skip-check"];
    let files = ["--ca-cert-file", "ca.crt", "--client-cert-file", "/etc/me.crt", "--client-key-file", "keys/me.key"];
    let added = stub.run(&[&add[..], &files[..]].concat(), "").await;
    assert!(added.good, "{added:?}");
    let stored = std::fs::read_to_string(stub.dir.path().join("config")).expect("a file");
    let here = std::env::current_dir().expect("a folder");
    for line in [
        format!("caCertFile: {}", here.join("ca.crt").display()),
        "clientCertFile: /etc/me.crt".to_owned(),
        format!("clientKeyFile: {}", here.join("keys/me.key").display()),
    ] {
        assert!(stored.contains(&line), "{line} is not in {stored}");
    }
    let bare = stub.run(&[&add[..], &["--overwrite"]].concat(), "").await;
    assert!(bare.good, "{bare:?}");
    let stored = std::fs::read_to_string(stub.dir.path().join("config")).expect("a file");
    assert!(!stored.contains("File"), "none stays none: {stored}");
}

#[tokio::test]
async fn apply_creates_what_is_not_there_and_updates_what_is() {
    let stub = Stub::start(&[
        ("GET /meshes/m-1", 200, "{}"),
        ("PUT /meshes/m-1", 200, "{}"),
        ("PUT /meshes/demo/meshtimeouts/mt-1", 201, "{\"warnings\": [\"mind the gap\"]}"),
    ])
    .await;
    let input = format!("type: Mesh\nname: m-1\n---\n{TIMEOUT}");
    let done = stub.run(&["apply", "-f", "-"], &input).await;
    let out = "resource type=\"Mesh\" mesh=\"\" name=\"m-1\" Updated\n\
               resource type=\"MeshTimeout\" mesh=\"demo\" name=\"mt-1\" Created\n";
    assert_eq!(done, Done { out: out.into(), err: "Warning: mind the gap\n".into(), good: true });
    assert_eq!(
        stub.lines(),
        [
            "GET /meshes/m-1",
            "PUT /meshes/m-1",
            "GET /meshes/demo/meshtimeouts/mt-1",
            "PUT /meshes/demo/meshtimeouts/mt-1"
        ]
    );
    assert_eq!(
        stub.seen()[3].body,
        "{\"type\":\"MeshTimeout\",\"mesh\":\"demo\",\"name\":\"mt-1\",\"labels\":{\"team\":\"a\"},\
         \"spec\":{\"to\":[{\"targetRef\":{\"kind\":\"Mesh\"},\"default\":{\"connectionTimeout\":\"5s\"}}]}}"
    );
}

/// Standard output of which the first lines were enough.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[tokio::test]
async fn a_reader_that_leaves_stops_nothing() {
    let stub = Stub::start(&[
        ("GET /meshes/m-1", 200, "{}"),
        ("PUT /meshes/m-1", 200, "{\"warnings\": [\"mind the gap\"]}"),
        ("GET /meshes/m-2", 200, "{}"),
        ("PUT /meshes/m-2", 200, "{}"),
    ])
    .await;
    let input = "type: Mesh\nname: m-1\n---\ntype: Mesh\nname: m-2\n";
    let args = ["apply", "-f", "-"];
    let mut err = Vec::new();
    let status = stub.run_to(&mut Closed, &mut err, false, &args, input).await;
    assert_eq!((status, err.as_slice()), (ExitCode::SUCCESS, &b"Warning: mind the gap\n"[..]));
    assert_eq!(stub.run_to(&mut Closed, &mut Closed, false, &args, input).await, ExitCode::SUCCESS);
    let written = stub.lines().into_iter().filter(|line| line == "PUT /meshes/m-2").count();
    assert_eq!(written, 2, "what comes after the warning is applied as well");
}

#[tokio::test]
async fn apply_writes_nothing_if_one_document_is_wrong() {
    let stub = Stub::start(&[]).await;
    let done = stub.run(&["apply", "-f", "-"], "type: Mesh\nname: m-1\n---\ntype: Foo\n---\ntype: Mesh\n").await;
    assert_eq!(
        done,
        bad("resource[1]: failed to parse resource: invalid resource type \"Foo\"\n\
             resource[2]: failed to read meta: name: cannot be empty\n\
             Error: failed to validate some resources\n")
    );
    assert!(stub.lines().is_empty());
}

#[tokio::test]
async fn apply_reads_folders_in_order_and_fills_templates() {
    let stub = Stub::start(&[]).await;
    stub.file("in/b.yml", "type: Zone\nname: {{ zone }}");
    stub.file("in/a.YAML", "# nothing\n# here\n---\ntype: Mesh\nname: m-1\n");
    stub.file("in/c.json", "{\"type\": \"Mesh\", \"name\": \"m-2\"}");
    stub.file("in/d.txt", "not looked at");
    stub.file("in/deeper/e.yaml", "not looked at");
    let dir = stub.dir.path().join("in").display().to_string();
    let done = stub.run(&["apply", "-f", &dir, "--var", "zone=east", "--dry-run"], "").await;
    let head = |name: &str, kri: &str| {
        format!(
            "creationTime: \"0001-01-01T00:00:00Z\"\nkri: {kri}\nmodificationTime: \"0001-01-01T00:00:00Z\"\nname: {name}\n"
        )
    };
    let out = [
        head("m-1", "kri_m____m-1_") + "type: Mesh\n",
        head("east", "kri_z____east_") + "type: Zone\n",
        head("m-2", "kri_m____m-2_") + "type: Mesh\n",
    ];
    assert_eq!(done, good(&out.join("---\n")));
    assert!(stub.lines().is_empty());
    let missing = stub.run(&["apply", "-f", "/does/not/exist"], "").await;
    assert!(missing.err.starts_with("Error: error while reading provided file: /does/not/exist: "), "{}", missing.err);
}

#[tokio::test]
async fn faults_in_a_folder_tell_file_and_place() {
    let stub = Stub::start(&[]).await;
    let good = stub.file("in/a.yaml", "type: Mesh\nname: m-1\n");
    let bad = stub.file("in/b.yaml", "type: Zone\nname: z\n---\ntype: Mesh\nname: [\n");
    let twice = stub.file("in/c.yaml", "type: Mesh\nname: m-1\n");
    let dir = stub.dir.path().join("in").display().to_string();
    let done = stub.run(&["apply", "-f", &dir], "").await;
    let expected = format!("resource[2] in {bad}: failed to parse resource: invalid meta type: ");
    assert!(done.err.starts_with(&expected) && done.err.contains("line 5, column 7: "), "{}", done.err);
    let warning = format!("Warning: resource[3] in {twice}: Mesh \"m-1\" is there twice; the last one counts\n");
    assert!(done.err.contains(&warning) && !done.err.contains(&good), "{}", done.err);
    assert!(stub.lines().is_empty());
    std::fs::write(&bad, b"type: Zone\nname: \xe9\n").expect("a file");
    let done = stub.run(&["apply", "-f", &dir], "").await;
    let expected = format!(
        "Error: error while reading provided file: {bad}: line 2, column 7: the text is not UTF-8; save it as UTF-8\n"
    );
    assert_eq!(done.err, expected);
}

#[tokio::test]
async fn apply_reads_urls() {
    let stub = Stub::start(&[
        ("GET /mesh.yaml", 200, "type: Mesh\nname: m-1\n"),
        ("GET /meshes/m-1", 404, ""),
        ("PUT /meshes/m-1", 201, ""),
    ])
    .await;
    let done = stub.run(&["apply", "-f", &format!("{}/mesh.yaml", stub.url)], "").await;
    assert_eq!(done, good("resource type=\"Mesh\" mesh=\"\" name=\"m-1\" Created\n"));
    let missing = stub.run(&["apply", "-f", &format!("{}/none.yaml", stub.url)], "").await;
    assert!(missing.err.starts_with("Error: error while retrieving URL"), "{}", missing.err);
}

#[tokio::test]
async fn problems_of_the_server_are_shown_whole() {
    let problem = "{\"title\": \"Could not process a resource\", \"detail\": \"Resource is not valid\", \
                   \"invalid_parameters\": [{\"field\": \"spec.a\", \"reason\": \"wrong\"}, {\"field\": \"b\", \"reason\": \"worse\"}]}";
    let stub = Stub::start(&[
        ("PUT /meshes/m-1", 400, problem),
        ("GET /meshes?size=2000", 400, problem),
        ("GET /zones", 500, "boom"),
        ("DELETE /meshes/m-2", 400, problem),
        ("DELETE /meshes/m-3", 405, "read only"),
    ])
    .await;
    let bullets = "Error: Could not process a resource (Resource is not valid)\n* spec.a: wrong\n* b: worse\n";
    assert_eq!(
        stub.run(&["apply", "-f", "-"], "type: Mesh\nname: m-1").await,
        bad("Error: resource type=\"Mesh\" mesh=\"\" name=\"m-1\": failed server side: Could not process a resource \
             (Resource is not valid);spec.a=wrong ;b=worse ;\n")
    );
    assert_eq!(stub.run(&["get", "meshes", "--size", "2000"], "").await, bad(bullets));
    assert_eq!(stub.run(&["get", "zones"], "").await, bad("Error: failed to list Zone: (500): boom\n"));
    assert_eq!(stub.run(&["delete", "mesh", "m-2"], "").await, bad(bullets));
    assert_eq!(
        stub.run(&["delete", "mesh", "m-3"], "").await,
        bad("Error: failed to delete Mesh with the name \"m-3\": read only\n")
    );
    assert_eq!(stub.run(&["delete", "mesh", "m-4"], "").await, bad("Error: there is no Mesh with name \"m-4\"\n"));
    assert_eq!(stub.run(&["get", "mesh", "x"], "").await, bad("Error: No resources found\n"));
    assert_eq!(stub.run(&["get", "secret", "x", "-m", "m"], "").await, bad("Error: No resources found in m mesh\n"));
}

#[tokio::test]
async fn lists_are_whole_unless_a_page_is_asked_for() {
    let mesh = |name: &str, at: &str| format!("{{\"name\": \"{name}\", \"modificationTime\": \"{at}\"}}");
    let (a, b) = (mesh("a", "2026-01-02T03:03:05Z"), mesh("b", "2026-01-01T03:04:05Z"));
    let first = format!("{{\"total\": 2, \"items\": [{a}], \"next\": \"http://x/meshes?offset=1\"}}");
    let second = format!("{{\"total\": 2, \"items\": [{b}], \"next\": null}}");
    let stub = Stub::start(&[
        ("GET /meshes", 200, &first),
        ("GET /meshes?size=1", 200, &first),
        ("GET /meshes?size=1000&offset=1", 200, &second),
    ])
    .await;
    assert_eq!(stub.run(&["get", "meshes"], "").await, good("NAME   AGE\na      1m\nb      1d\n"));
    let page = "NAME   AGE\na      1m\n\nRerun command with --offset=1 argument to retrieve more resources\n";
    assert_eq!(stub.run(&["get", "meshes", "--size=1"], "").await, good(page));
    let json = stub.run(&["get", "meshes", "-o", "json"], "").await.out;
    assert!(json.ends_with("  ],\n  \"next\": null\n}\n") && json.contains("\"b\""), "{json}");
}

#[tokio::test]
async fn deleting_says_what_is_gone() {
    let stub = Stub::start(&[("DELETE /meshes/demo/secrets/s", 200, ""), ("DELETE /globalsecrets/g", 200, "")]).await;
    assert_eq!(stub.run(&["--context", "demo", "delete", "secret", "s"], "").await, good("deleted Secret \"s\"\n"));
    assert_eq!(stub.run(&["delete", "global-secret", "g"], "").await, good("deleted GlobalSecret \"g\"\n"));
    let unknown = stub.run(&["delete", "mesch", "g"], "").await;
    assert!(unknown.err.starts_with("Error: unknown TYPE: mesch. Allowed values: "), "{}", unknown.err);
    assert!(unknown.err.ends_with("\nDid you mean mesh?\n"), "{}", unknown.err);
}

#[tokio::test]
async fn headers_and_tokens_are_sent_with_every_request() {
    let stub = Stub::start(&[("GET /zones", 200, "{\"total\": 0, \"items\": [], \"next\": null}")]).await;
    stub.configure(", headers: [{key: x-team, value: a}], authType: tokens, authConf: {token: secret}");
    assert_eq!(stub.run(&["get", "zones"], "").await, good("NAME   AGE\n"));
    let headers = stub.seen()[0].headers.clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!((header("x-team"), header("authorization")), ("a", "Bearer secret"));
    assert!(header("user-agent").starts_with(&format!("kumactl/{} (", kumactl::version::VERSION)));
    stub.configure(", authType: magic");
    let done = stub.run(&["get", "zones"], "").await;
    assert!(done.err.ends_with("authentication plugin of type \"magic\" not found\n"), "{}", done.err);
}

#[tokio::test]
async fn versions_are_shown_and_compared() {
    let index = "{\"product\": \"Kuma\", \"version\": \"9.9.9\"}";
    let stub = Stub::start(&[("GET /", 200, index), ("GET /zones", 200, "{\"total\": 0, \"items\": []}")]).await;
    let own = kumactl::version::VERSION;
    assert_eq!(stub.run(&["version"], "").await, good(&format!("Client: Kuma {own}\nServer: Kuma 9.9.9\n")));
    let detailed = stub.run(&["version", "-a"], "").await.out;
    assert!(detailed.starts_with("Client:\nProduct:       Kuma\n"), "{detailed}");
    assert!(
        detailed.ends_with("Server: {\n     \"product\": \"Kuma\",\n     \"version\": \"9.9.9\"\n   }\n"),
        "{detailed}"
    );
    let warned = stub.run(&["get", "zones"], "").await;
    assert!(warned.good && warned.err.starts_with(&format!("WARNING: You are using kumactl version {own} for Kuma")));
}

#[tokio::test]
async fn an_unreachable_control_plane_is_named() {
    let stub = Stub::start(&[]).await;
    // Nothing listens on the port of a listener that is gone.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    stub.file(
        "config",
        &format!(
            "controlPlanes: [{{name: x, coordinates: {{apiServer: {{url: \"http://{address}\"}}}}}}]\n\
             contexts: [{{name: x, controlPlane: x}}]\ncurrentContext: x\n"
        ),
    );
    let done = stub.run(&["get", "zones"], "").await;
    assert!(!done.good && done.err.contains(&format!("http://{address} cannot be reached")), "{}", done.err);
    let version = stub.run(&["version"], "").await;
    assert!(version.good && version.err.starts_with("Unable to connect to control plane: "), "{}", version.err);
}

#[tokio::test]
async fn completion_needs_no_configuration() {
    let stub = Stub::start(&[]).await;
    stub.file("config", "no: [configuration");
    for shell in ["bash", "zsh", "fish"] {
        let done = stub.run(&["completion", shell], "").await;
        assert!(done.good && done.out.contains("meshtimeouts"), "{shell}: {}", done.err);
    }
}

#[tokio::test]
async fn inspecting_proxies_filters_on_the_server_and_sums_up() {
    let overview = r#"{"total": 1, "items": [{"type": "DataplaneOverview", "mesh": "default", "name": "web-1",
        "labels": {"app": "web"},
        "dataplane": {"networking": {"address": "10.0.0.1", "inbound": [{"port": 80}]}},
        "dataplaneInsight": {
            "mTLS": {"issuedBackend": "kri_mid", "supportedBackends": ["kri_a", "kri_b"], "certificateRegenerations": 3,
                "certificateExpirationTime": "2026-02-03T04:05:06Z", "lastCertificateRegeneration": "2026-01-02T01:04:05Z"},
            "subscriptions": [
                {"connectTime": "2025-12-31T03:04:05Z", "disconnectTime": "2026-01-01T03:04:05Z",
                 "status": {"total": {"responsesSent": "5", "responsesRejected": "1"}}},
                {"connectTime": "2026-01-01T03:04:05Z",
                 "status": {"lastUpdateTime": "2026-01-02T03:03:35Z", "total": {"responsesSent": "7"}},
                 "version": {"kumaDp": {"version": "3.0.0"}, "envoy": {"version": "1.40.0"},
                             "dependencies": {"coredns": "1.11", "b": "2"}}}]}}], "next": null}"#;
    let stub = Stub::start(&[(
        "GET /meshes/default/dataplanes/_overview?gateway=true&tag=app%3Aweb&tag=v%3A1",
        200,
        overview,
    )])
    .await;
    let done = stub.run(&["inspect", "dataplanes", "--gateway", "--tag", "app=web", "--tag", "v=1"], "").await;
    assert!(done.good, "{}", done.err);
    let cells: Vec<&str> = done.out.lines().nth(1).unwrap_or_default().split("   ").map(str::trim).collect();
    let cells: Vec<&str> = cells.into_iter().filter(|cell| !cell.is_empty()).collect();
    assert_eq!(
        cells,
        [
            "default",
            "web-1",
            "app=web",
            "Online",
            "1d",
            "30s",
            "12",
            "1",
            "2h",
            "2026-02-03 04:05:06",
            "3",
            "kri_mid",
            "kri_a,kri_b",
            "3.0.0",
            "1.40.0",
            "coredns: 1.11, b: 2"
        ]
    );
    let meshes = stub.run(&["inspect", "meshes"], "").await;
    assert!(
        meshes.err.starts_with("Error: this control plane does not offer what `inspect meshes` asks for"),
        "{}",
        meshes.err
    );
}
