//! `history` and `rollback`.

use serde_json::{Value, json};

use super::{Done, Stub, bad, good};

const ITEM: &str = "/meshes/demo/meshtimeouts/mt-1";
const HISTORY: &str = "GET /meshes/demo/meshtimeouts/mt-1/_history";

/// The resource of the stub with this timeout, as the server shows it.
fn resource(timeout: &str) -> Value {
    json!({
        "type": "MeshTimeout", "mesh": "demo", "name": "mt-1",
        "creationTime": "2026-01-01T00:00:00Z", "modificationTime": "2026-01-01T00:00:00Z",
        "labels": {"kuma.io/origin": "zone"}, "kri": "kri_mt_demo_default__mt-1_",
        "spec": {"to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": timeout}}]},
    })
}

/// Created, changed by a controller, deleted, created again by another program, changed by somebody.
fn revisions() -> Value {
    let items = json!([
        {"revision": 6, "time": "2026-01-02T03:00:00Z", "author": {"type": "user", "name": "alice"}, "action": "updated",
         "resource": resource("7s")},
        {"revision": 5, "time": "2026-01-02T02:00:00Z", "author": {"type": "another-program"}, "action": "created",
         "resource": resource("5s")},
        {"revision": 4, "time": "2026-01-02T01:30:00Z", "author": {"type": "unknown"}, "action": "deleted"},
        {"revision": 3, "time": "2026-01-02T01:00:00Z", "author": {"type": "control-plane", "name": "defaults"},
         "action": "updated", "resource": resource("3s")},
        {"revision": 2, "time": "2026-01-01T00:00:00Z", "author": {"type": "proxy", "name": "web-1"}, "action": "updated",
         "resource": resource("2s")},
    ]);
    json!({"total": 5, "items": items, "next": null})
}

async fn stub(more: &[(&str, u16, &str)]) -> Stub {
    let history = revisions().to_string();
    let mut answers = vec![(HISTORY, 200, history.as_str())];
    answers.extend_from_slice(more);
    Stub::start(&answers).await
}

#[tokio::test]
async fn revisions_are_shown_newest_first_with_what_changed() {
    let stub = stub(&[]).await;
    let done = stub.run(&["history", "meshtimeout", "mt-1", "-m", "demo"], "").await;
    let out = "\
REVISION   TIME                  WHO                        WHAT
6          2026-01-02 03:00:00   alice                      spec.to[0].default.connectionTimeout: 5s -> 7s
5          2026-01-02 02:00:00   another program            created
4          2026-01-02 01:30:00   unknown                    deleted
3          2026-01-02 01:00:00   control plane (defaults)   spec.to[0].default.connectionTimeout: 2s -> 3s
2          2026-01-01 00:00:00   proxy web-1                updated
";
    assert_eq!(done, good(out));
    assert_eq!(stub.lines(), [HISTORY]);
    let done = stub.run(&["history", "meshtimeout", "mt-1", "-m", "demo", "-o", "json"], "").await;
    assert_eq!(serde_json::from_str::<Value>(&done.out).expect("JSON"), revisions());
}

#[tokio::test]
async fn changed_lines_are_shown_with_colours_on_terminals_only() {
    let stub = stub(&[]).await;
    let args = ["history", "meshtimeout", "mt-1", "-m", "demo", "--diff"];
    let done = stub.run(&args, "").await;
    let first = "\
revision 6, 2026-01-02 03:00:00, updated by alice
  spec:
    to:
    - default:
-       connectionTimeout: 5s
+       connectionTimeout: 7s
      targetRef:
        kind: Mesh
  type: MeshTimeout

revision 5, 2026-01-02 02:00:00, created by another program
+ labels:
";
    assert!(done.out.starts_with(first), "{}", done.out);
    assert!(done.out.contains("deleted by unknown\n- labels:\n"), "{}", done.out);
    assert!(done.out.ends_with("updated by proxy web-1\n  what was before is not kept any more\n"), "{}", done.out);
    assert!(!done.out.contains('\u{1b}') && !done.out.contains("kri_mt"));
    let done = stub.run_in(true, &args, "").await;
    assert!(done.out.contains("\u{1b}[31m-       connectionTimeout: 5s\u{1b}[0m\n\u{1b}[32m+"), "{}", done.out);
}

#[tokio::test]
async fn histories_of_secrets_tell_who_and_when() {
    let history = json!({"total": 2, "items": [
        {"revision": 2, "time": "2026-01-02T03:00:00Z", "author": {"type": "user", "name": "a"}, "action": "updated"},
        {"revision": 1, "time": "2026-01-02T02:00:00Z", "author": {"type": "user", "name": "b"}, "action": "created"},
    ], "next": null});
    let stub = Stub::start(&[("GET /meshes/demo/secrets/s/_history", 200, &history.to_string())]).await;
    let done = stub.run(&["history", "secret", "s", "-m", "demo", "--diff"], "").await;
    assert_eq!(
        done.out,
        "revision 2, 2026-01-02 03:00:00, updated by a\n  what was in it is not kept\n\n\
         revision 1, 2026-01-02 02:00:00, created by b\n  what was in it is not kept\n"
    );
    let done = stub.run(&["rollback", "secret", "s", "-m", "demo", "--revision", "1"], "").await;
    assert_eq!(
        done,
        bad("Error: a Secret cannot be rolled back: what was in it is not kept once it is replaced. Apply the former \
             data again\n")
    );
    assert_eq!(stub.lines().len(), 1, "nothing was asked for that");
}

#[tokio::test]
async fn what_has_no_history_is_told_apart() {
    let none = json!({"status": 404, "title": "Could not retrieve the history of a resource", "detail": "Not found"});
    let view = json!({"status": 400, "title": "Could not execute admin operation", "detail": "x"});
    let denied = json!({"status": 403, "title": "Access Denied", "detail": "nobody may"});
    let stub = Stub::start(&[
        ("GET /meshes/default/meshtimeouts/none/_history", 404, &none.to_string()),
        ("GET /meshes/default/dataplanes/old/_history", 400, &view.to_string()),
        ("GET /meshes/default/secrets/s/_history", 403, &denied.to_string()),
        ("GET /meshes/default/meshtimeouts/new/_history", 200, r#"{"total": 0, "items": [], "next": null}"#),
    ])
    .await;
    let old = |status| {
        format!(
            "Error: this control plane keeps no history: it answered {status} to a question for it. `kumactl version` \
             shows which version it is\n"
        )
    };
    for (kind, name, error) in [
        (
            "meshtimeout",
            "none",
            "Error: there is no MeshTimeout with name \"none\", and no history of one\n".to_owned(),
        ),
        ("meshtimeout", "older", old(404)),
        ("dataplane", "old", old(400)),
        ("secret", "s", "Error: Access Denied (nobody may)\n".to_owned()),
    ] {
        assert_eq!(stub.run(&["history", kind, name], "").await, bad(&error), "{kind} {name}");
    }
    let done = stub.run(&["history", "meshtimeout", "new"], "").await;
    assert_eq!(done, good("No revisions: nothing was changed since the control plane keeps histories\n"));
    let done = stub.run(&["history", "meshtimeouts", "new"], "").await;
    assert!(done.err.ends_with("Did you mean meshtimeout?\n"), "{}", done.err);
}

#[tokio::test]
async fn a_rollback_shows_what_changes_and_applies_the_former_content() {
    let (get, put) = (format!("GET {ITEM}"), format!("PUT {ITEM}?revision=3"));
    let now = resource("7s").to_string();
    let stub = stub(&[(&get, 200, &now), (&put, 200, r#"{"warnings": ["mind the gap"]}"#)]).await;
    let rollback = |revision| ["rollback", "meshtimeout", "mt-1", "-m", "demo", "--revision", revision];
    let lines = "  spec:\n    to:\n    - default:\n-       connectionTimeout: 7s\n+       connectionTimeout: 3s\n      \
                 targetRef:\n        kind: Mesh\n  type: MeshTimeout\n";
    let dry: Vec<&str> = rollback("3").into_iter().chain(["--dry-run"]).collect();
    assert_eq!(stub.run(&dry, "").await, good(lines));
    assert_eq!(stub.lines(), [HISTORY, &get], "nothing was written");

    let done = stub.run(&rollback("3"), "").await;
    let out = format!("{lines}rolled back MeshTimeout \"mt-1\" to revision 3\n");
    assert_eq!(done, Done { out, err: "Warning: mind the gap\n".into(), good: true });
    let written: Value = serde_json::from_str(&stub.seen().last().expect("a call").body).expect("JSON");
    let mut expected = resource("3s");
    for computed in ["creationTime", "modificationTime", "kri"] {
        expected.as_object_mut().expect("an object").shift_remove(computed);
    }
    assert_eq!(written, expected);

    let asked = stub.lines().len();
    let done = stub.run(&rollback("6"), "").await;
    assert_eq!(done, good("MeshTimeout \"mt-1\" is as it was at revision 6: nothing to do\n"));
    assert_eq!(stub.lines()[asked..], [HISTORY, &get]);
}

#[tokio::test]
async fn a_rollback_creates_what_was_deleted_again() {
    let put = format!("PUT {ITEM}?revision=2");
    let stub = stub(&[(&put, 201, "{}")]).await;
    let done = stub.run(&["rollback", "meshtimeout", "mt-1", "-m", "demo", "--revision", "2"], "").await;
    assert!(done.good && done.out.starts_with("+ labels:\n"), "{done:?}");
    assert!(done.out.ends_with("created MeshTimeout \"mt-1\" again, as it was at revision 2\n"), "{}", done.out);
}

#[tokio::test]
async fn a_rollback_to_nothing_says_what_there_is() {
    let stub = stub(&[]).await;
    for (revision, error) in [
        ("1", "there is no revision 1 of MeshTimeout \"mt-1\"; kept are: 2, 3, 4, 5, 6"),
        ("4", "revision 4 of MeshTimeout \"mt-1\" is its deletion; revision 3 is what was deleted"),
    ] {
        let done = stub.run(&["rollback", "meshtimeout", "mt-1", "-m", "demo", "--revision", revision], "").await;
        assert_eq!(done, bad(&format!("Error: {error}\n")));
    }
    let refused = json!({"status": 400, "title": "Could not process a resource", "detail": "Resource is not valid",
        "invalid_parameters": [{"field": "spec.to", "reason": "no"}]});
    let put = format!("PUT {ITEM}?revision=2");
    let stub = self::stub(&[(&put, 400, &refused.to_string())]).await;
    let done = stub.run(&["rollback", "meshtimeout", "mt-1", "-m", "demo", "--revision", "2"], "").await;
    assert_eq!(
        done.err,
        "Error: MeshTimeout \"mt-1\" was not rolled back: Could not process a resource (Resource is not valid);spec.to=no ;\n"
    );
}
