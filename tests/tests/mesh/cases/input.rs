//! Input that is no resource, over the REST API and through kumactl: a clear word, nothing changed, nobody dead.

use std::{fmt::Write as _, path::PathBuf};

use tests::harness::{
    http::{Answer, Client},
    mesh::Mesh,
};

/// Lists of each other, two lines long as text and a million values as a document.
pub(crate) fn bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..7 {
        let before = [format!("*a{}", level - 1).as_str(); 10].join(", ");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "a{level}: &a{level} [{before}]");
    }
    text
}

/// Everything that users have written, as the API shows it.
fn written(mesh: &Mesh) -> Vec<String> {
    ["/meshes", "/meshtimeouts", "/meshhttproutes", "/dataplanes", "/secrets"]
        .map(|path| mesh.rest("GET", path, b"").unwrap().body)
        .into()
}

/// A body at a path, the status that it gets, and what the answer says.
struct Wrong {
    what: &'static str,
    path: &'static str,
    body: Vec<u8>,
    status: u16,
    says: &'static str,
}

fn bodies() -> Vec<Wrong> {
    let timeout = "/meshes/default/meshtimeouts/t";
    let wrong = |what, path, body: &str, status, says| Wrong { what, path, body: body.into(), status, says };
    let deep = format!("{{\"type\": \"MeshTimeout\", \"spec\": {}}}", "[".repeat(10_000));
    let of = |kind: &str, mesh: &str, name: &str| {
        format!(
            "{{\"type\": \"{kind}\", \"mesh\": \"{mesh}\", \"name\": \"{name}\", \"spec\": {{\"to\": [{{\"targetRef\": \
             {{\"kind\": \"Mesh\"}}, \"default\": {{\"connectionTimeout\": \"5s\"}}}}]}}}}"
        )
    };
    vec![
        wrong("JSON that ends", timeout, "{\"type\": \"MeshTimeout\",\n \"name\": ", 400, "line 2 column 9"),
        wrong("YAML", timeout, "type: MeshTimeout\n", 400, "line 1 column 2"),
        wrong("nothing", timeout, "", 400, "line 1 column 0"),
        wrong("a list", timeout, "[1, 2]", 400, "expected a JSON object, found [1,2]"),
        wrong("10,000 levels", timeout, &deep, 400, "recursion limit exceeded at line 1 column "),
        Wrong {
            what: "a byte that is no UTF-8",
            path: timeout,
            body: b"{\"type\": \"MeshTimeout\", \"name\": \"t\xff\"}".into(),
            status: 400,
            says: "line 1 column 35",
        },
        Wrong {
            what: "50 MB",
            path: timeout,
            body: vec![b' '; 50 << 20],
            status: 413,
            says: "longer than 10485760 bytes",
        },
        wrong("an unknown collection", "/meshes/default/meshtimeoutz/t", "{}", 404, "Page Not Found"),
        wrong(
            "another type",
            timeout,
            &of("MeshRetry", "default", "t"),
            400,
            "type in body should be one of [MeshTimeout]",
        ),
        wrong(
            "another mesh",
            timeout,
            &of("MeshTimeout", "other", "t"),
            400,
            "mesh from the URL has to be the same as in body",
        ),
        wrong(
            "another name",
            timeout,
            &of("MeshTimeout", "default", "u"),
            400,
            "name from the URL has to be the same as in body",
        ),
        wrong(
            "a mesh that is not there",
            "/meshes/none/meshtimeouts/t",
            &of("MeshTimeout", "none", "t"),
            404,
            "Failed to retrieve Mesh",
        ),
    ]
}

/// Over the REST API.
pub(crate) fn bad_bodies_change_nothing() {
    let mut mesh = Mesh::start();
    let before = written(&mesh);
    for Wrong { what, path, body, status, says } in bodies() {
        let answer = mesh.rest("PUT", path, &body).unwrap_or_else(|error| panic!("{what}: {error}"));
        println!("  {what}: {} {}", answer.status, shortened(&answer.body));
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        assert!(answer.body.contains(says), "{what}: {}", answer.body);
        assert_eq!(written(&mesh), before, "{what}");
    }
    let Answer { status, body, .. } = Client::new(mesh.api)
        .send("PUT", "/meshes/default/meshtimeouts/t", &[("content-type", "application/yaml")], b"type: MeshTimeout")
        .unwrap();
    assert_eq!((status, body.as_str()), (415, "415: Unsupported Media Type"));
    assert_eq!(mesh.cp().has_ended(), None);
}

fn shortened(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(300).collect()
}

/// At the bootstrap, where nobody has proven anything yet.
pub(crate) fn bad_bootstraps_are_refused() {
    let mut mesh = Mesh::start();
    let request = |resource: &str| {
        serde_json::json!({
            "mesh": "default", "name": "web-1", "dataplaneToken": "x", "dataplaneResource": resource,
        })
        .to_string()
    };
    let deep = format!("{{\"a\": {}", "[".repeat(10_000));
    for (what, body, status, says) in [
        ("no JSON", "{".to_owned(), 400, ""),
        ("10,000 levels", deep.clone(), 400, ""),
        ("10,000 levels in the Dataplane", request(&deep), 422, "nested more than 50 levels deep"),
        ("an alias bomb in the Dataplane", request(&bomb()), 422, "its aliases repeat more than 20000 values"),
        ("half a Dataplane", request("type: Dataplane\nnetworking: ["), 422, "line 2, column "),
        (
            "a token that is none",
            request("{type: Dataplane, mesh: default, name: web-1, networking: {address: 127.0.0.1}}"),
            401,
            "token",
        ),
        ("50 MB", " ".repeat(50 << 20), 413, "length limit exceeded"),
    ] {
        let answer = mesh.post_bootstrap(body).unwrap_or_else(|error| panic!("{what}: {error}"));
        println!("  {what}: {} {}", answer.status, shortened(&answer.body));
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        assert!(answer.body.contains(says), "{what}: {}", answer.body);
    }
    assert_eq!(mesh.cp().has_ended(), None);
}

/// Through kumactl.
pub(crate) fn bad_files_change_nothing() {
    let mut mesh = Mesh::start();
    let before = written(&mesh);
    let good = "type: Mesh\nname: good\n";
    let files: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "malformed YAML",
            format!("{good}---\ntype: Mesh\nname: [a\nx: 1\n").into(),
            "resource[1]: failed to parse resource: invalid meta type: \"error converting YAML to JSON: yaml: line 6, column 2: ",
        ),
        ("malformed JSON", b"{\"type\": \"Mesh\",\n \"name\": \"a\"\n \"x\": 1}".into(), "yaml: line 3, column "),
        (
            "an unknown kind",
            format!("{good}---\ntype: MeshTimeouts\nname: a\n").into(),
            "resource[1]: failed to parse resource: invalid resource type \"MeshTimeouts\": did you mean \"MeshTimeout\"?",
        ),
        ("no kind", b"name: a\n".into(), "invalid resource type \"\""),
        (
            "10,000 levels",
            format!("{good}---\n{}", "[".repeat(10_000)).into(),
            "resource[1]: failed to parse resource: invalid meta type: \"error converting YAML to JSON: yaml: line 4, column 51: ",
        ),
        (
            "an alias bomb",
            format!("type: Mesh\nname: a\n{}", bomb()).into(),
            "its aliases repeat more than 250000 values",
        ),
        (
            "a byte that is no UTF-8",
            b"type: Mesh\nname: a\xff\n".into(),
            "line 2, column 8: the text is not UTF-8; save it as UTF-8",
        ),
        ("nothing", b"\n".into(), "no resource(s) passed to apply"),
        ("70 MB", vec![b'#'; 70 << 20], "is larger than 64 MiB"),
    ];
    for (what, content, says) in files {
        let file = mesh.file("bad.yaml", content);
        let output = mesh.try_kumactl(&["apply", "-f", file.to_str().unwrap()]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("  {what}: {}", shortened(&told));
        assert_eq!(output.status.code(), Some(1), "{what}: {told}");
        assert!(told.contains(says), "{what}: {told}");
        assert_eq!(written(&mesh), before, "{what}");
    }
    assert_eq!(mesh.cp().has_ended(), None);
    // The same resource twice is no mistake that stops anybody: the last one counts, and that is said.
    let twice: PathBuf =
        mesh.file("twice.yaml", "type: Mesh\nname: m\n---\ntype: Mesh\nname: m\nlabels: {which: second}\n");
    let output = mesh.try_kumactl(&["apply", "-f", twice.to_str().unwrap()]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("  a document twice: {}", shortened(&told));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("Warning: resource[1]: Mesh \"m\" is there twice; the last one counts"), "{told}");
    assert!(mesh.rest("GET", "/meshes/m", b"").unwrap().body.contains("second"));
}
