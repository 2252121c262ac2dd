//! kumactl and the REST API together: what was is shown, and applied again through the same checks as anything else.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use jiff::{Timestamp, tz::TimeZone};
use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::AnyResource,
    store::Store,
};
use kuma_cp::api::{Scheme, Site, over_memory, router};

/// Where an API answers, and what it keeps things in.
async fn control_plane(holds: Vec<AnyResource>) -> (SocketAddr, Arc<dyn Store>) {
    let mut context = over_memory(Site::zone("default"), holds).await.unwrap();
    let store = context.store.clone();
    kumactl::version::VERSION.clone_into(&mut context.about.version);
    let app = router(context.into(), Scheme::Http).into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, store)
}

struct Kumactl {
    folder: tempfile::TempDir,
}

impl Kumactl {
    async fn new() -> Self {
        Self::over(Vec::new()).await.0
    }

    async fn over(holds: Vec<AnyResource>) -> (Self, Arc<dyn Store>) {
        kuma_cp::tls::install_provider();
        let kumactl = Self { folder: tempfile::tempdir().unwrap() };
        let (address, store) = control_plane(holds).await;
        let address = format!("http://{address}");
        kumactl.run(&["config", "control-planes", "add", "--name", "cp", "--address", &address], "").await;
        kumactl.run(&["apply", "-f", "-"], "type: Mesh\nname: default").await;
        (kumactl, store)
    }

    /// Output and errors of a command that is good.
    async fn run(&self, args: &[&str], input: &str) -> String {
        let (text, good) = self.tried(args, input).await;
        assert!(good, "{args:?}: {text}");
        text
    }

    async fn tried(&self, args: &[&str], input: &str) -> (String, bool) {
        let config = self.folder.path().join("config").display().to_string();
        let line = ["kumactl", "--config-file", &config].into_iter().chain(args.iter().copied());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = kumactl::Streams {
            out: &mut out,
            err: &mut err,
            input: &mut input.as_bytes(),
            now: Timestamp::now(),
            zone: TimeZone::UTC,
            colours: false,
        };
        let status = kumactl::run(line.map(Into::into), &mut streams).await;
        out.extend(err);
        (String::from_utf8(out).unwrap(), status == ExitCode::SUCCESS)
    }
}

/// A kind on the command line, the name of an object, and two states of it.
const OBJECTS: [(&str, &str, &str, &str); 5] = [
    ("mesh", "m-1", "{type: Mesh, name: m-1, labels: {team: a}}", "{type: Mesh, name: m-1, labels: {team: b}}"),
    (
        "dataplane",
        "d-1",
        "{type: Dataplane, mesh: default, name: d-1, networking: {address: 10.0.0.1, inbound: [{port: 80}]}}",
        "{type: Dataplane, mesh: default, name: d-1, networking: {address: 10.0.0.2, inbound: [{port: 81}]}}",
    ),
    (
        "meshtimeout",
        "t-1",
        "{type: MeshTimeout, mesh: default, name: t-1, spec: {to: [{targetRef: {kind: Mesh}, default: {connectionTimeout: 5s}}]}}",
        "{type: MeshTimeout, mesh: default, name: t-1, spec: {to: [{targetRef: {kind: Mesh}, default: {idleTimeout: 9s}}]}}",
    ),
    (
        "meshservice",
        "s-1",
        "{type: MeshService, mesh: default, name: s-1, spec: {selector: {dataplaneLabels: {matchLabels: {a: b}}}, ports: [{port: 80}]}}",
        "{type: MeshService, mesh: default, name: s-1, spec: {selector: {dataplaneLabels: {matchLabels: {a: c}}}, ports: [{port: 81}]}}",
    ),
    (
        "hostnamegenerator",
        "h-1",
        "{type: HostnameGenerator, name: h-1, spec: {selector: {meshService: {matchLabels: {a: b}}}, template: '{{ .Name }}.mesh'}}",
        "{type: HostnameGenerator, name: h-1, spec: {selector: {meshService: {matchLabels: {a: c}}}, template: '{{ .Name }}.net'}}",
    ),
];

#[tokio::test]
async fn whatever_was_is_again() {
    let kumactl = Kumactl::new().await;
    for (kind, name, first, second) in OBJECTS {
        // Times aside.
        let now = async || {
            let text = kumactl.run(&["get", kind, name, "-o", "yaml"], "").await;
            text.lines().filter(|line| !line.contains("Time: \"20")).map(str::to_owned).collect::<Vec<_>>()
        };
        let rollback = |revision| ["rollback", kind, name, "--revision", revision];
        kumactl.run(&["apply", "-f", "-"], first).await;
        let was = now().await;
        kumactl.run(&["apply", "-f", "-"], second).await;
        assert_ne!(now().await, was, "{kind}");
        let said = kumactl.run(&rollback("1"), "").await;
        assert!(said.ends_with("to revision 1\n") && said.contains("\n+ "), "{said}");
        assert_eq!(now().await, was, "{kind}");
        kumactl.run(&["delete", kind, name], "").await;
        kumactl.run(&rollback("3"), "").await;
        assert_eq!(now().await, was, "{kind}");
        let history = kumactl.run(&["history", kind, name], "").await;
        let numbers: Vec<&str> = history.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(numbers, ["5", "4", "3", "2", "1"], "{history}");
        assert_eq!(history.matches("mesh-system:admin").count(), 5, "{history}");
        let said = kumactl.run(&rollback("1"), "").await;
        assert!(said.ends_with("nothing to do\n"), "{said}");
    }
    let (said, good) = kumactl.tried(&["history", "meshtimeout", "t-2"], "").await;
    assert!(!good && said.contains("there is no MeshTimeout with name \"t-2\""), "{said}");
}

/// Fields that no document shows, because only a newer program knows them.
#[tokio::test]
async fn what_is_unknown_of_a_revision_comes_back_with_it() {
    let spec = serde_json::json!({"selector": {"dataplaneLabels": {"matchLabels": {"a": "b"}}}, "ports": [{"port": 80}],
        "future": {"deep": 1}});
    let meta = Meta::new("default", "s-1", Labels::new());
    let service = Kind::MeshService.decode_stored(meta, spec, None).unwrap();
    let (kumactl, store) = Kumactl::over(vec![service.clone()]).await;
    let future = async || store.get(&service.key()).await.unwrap().unwrap().stored_spec()["future"].clone();
    assert_eq!(future().await["deep"], 1);
    let second = "{type: MeshService, mesh: default, name: s-1, spec: {selector: {}, ports: [{port: 81}]}}";
    kumactl.run(&["apply", "-f", "-"], second).await;
    assert!(future().await.is_null(), "what a user applies is all that there is");
    kumactl.run(&["rollback", "meshservice", "s-1", "--revision", "1"], "").await;
    assert_eq!(future().await["deep"], 1);
    kumactl.run(&["delete", "meshservice", "s-1"], "").await;
    kumactl.run(&["rollback", "meshservice", "s-1", "--revision", "3"], "").await;
    assert_eq!(future().await["deep"], 1);
}
