//! Fields and kinds that a newer program wrote into the database that it shares with ours.

use std::{sync::Arc, time::Duration};

use kuma_core::{
    reconcile::Settings,
    registry::Kind,
    resource::{AnyResource, Key},
    resources::{Mesh, MeshService, Workload},
    store::{Store, Write},
};
use kuma_cp::{
    controllers::derive::{self, DerivedAhead},
    dp_server::insights::{self, InsightEvent, InsightSettings},
    leadership::Leadership,
    state::Feed,
    stores::{copy::copy, postgres::PostgresStore, sqlite::SqliteStore},
};
use serde_json::Value;
use tests::harness::postgres::Database;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::scene::{database, key, open};

/// A mesh, a service with one proxy, the insight of the proxy, and a Workload, all with more in them than we know.
const ROWS: &str = r#"
    INSERT INTO resources (name, mesh, type, version, spec, labels, status) VALUES
        ('m', '', 'Mesh', 0, '{"future": {"on": false}}', '{}', '{}'),
        ('d', 'm', 'Dataplane', 0, '{"networking": {"address": "10.0.0.1", "future": 1, "inbound": [
            {"port": 80, "name": "http", "future": [1]}]}}', '{"app": "web", "kuma.io/workload": "made"}', '{}'),
        ('d', 'm', 'DataplaneInsight', 0, '{"future": 2, "subscriptions": [
            {"id": "old", "controlPlaneInstanceId": "theirs", "connectTime": "2026-01-01T00:00:00Z", "future": 3,
             "disconnectTime": "2026-01-02T00:00:00Z", "status": {"total": {"future": "4"}, "cds": {}}}]}', '{}', '{}'),
        ('web', 'm', 'MeshService', 0, '{"selector": {"dataplaneLabels": {"matchLabels": {"app": "web"}}, "mode": "all"},
            "ports": [{"port": 80, "targetPort": 80, "weight": 5}], "future": [{"a": 1}]}', '{}',
         '{"future": {"b": null}, "tls": {"since": "then"}}'),
        ('w', 'm', 'Workload', 0, '{"future": true}', '{}', '{"dataplaneProxies": {"stale": 1}, "future": "x"}'),
        ('u', 'm', 'FutureKind', 0, '{"any": "thing"}', '{}', '{"more": 1}')"#;

fn json(database: &Database, column: &str, kind: &str) -> Value {
    let text = database.sql(&format!("SELECT {column}::text FROM resources WHERE type = '{kind}' AND name <> 'made'"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{kind} {column}: {error}: {text}"))
}

/// Waits until something of ours is in the database.
async fn until(database: &Database, what: &str, holds: impl Fn(&Database) -> bool) {
    for _ in 0..400 {
        if holds(database) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: {}", database.sql("SELECT type, name, spec, status FROM resources"));
}

/// What the control plane does by itself, as the leader, until the token is cancelled.
async fn work(store: &PostgresStore) -> CancellationToken {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let stop = CancellationToken::new();
    let (feed, state) = Feed::new(store.clone());
    tokio::spawn(feed.run(stop.clone()));
    let settings = Settings::in_zone("default");
    let (_, asks) = DerivedAhead::new(store.clone(), store.clone(), Leadership::always());
    tokio::spawn(derive::run(store.clone(), state.clone(), settings, asks, stop.clone()));
    let (events, receiver) = mpsc::channel(8);
    let settings = InsightSettings { instance: "ours".into(), flush_interval: Duration::from_secs(1), keep: 10 };
    tokio::spawn(insights::run(store, state, settings, receiver, stop.clone()));
    let connected = InsightEvent::Connected {
        proxy: ("m".into(), "d".into()),
        id: "new".into(),
        version: None,
        metadata: None,
        missing: CancellationToken::new(),
    };
    events.send(connected).await.unwrap();
    // Held as long as the stream stands.
    let held = stop.clone();
    tokio::spawn(async move {
        held.cancelled().await;
        drop(events);
    });
    stop
}

#[tokio::test]
async fn what_we_write_keeps_what_we_do_not_know() {
    let database = database();
    database.sql(ROWS);
    let before = database.sql("SELECT * FROM resources WHERE type = 'FutureKind'");
    let store = open(&database).await;
    let stop = work(&store).await;
    until(&database, "a service gets its addresses", |database| {
        let (spec, status) = (json(database, "spec", "MeshService"), json(database, "status", "MeshService"));
        let is_counted = status["dataplaneProxies"]["connected"] == 1;
        status["vips"][0]["ip"].is_string() && spec["state"] == "Available" && is_counted
    })
    .await;
    stop.cancel();
    let (spec, status) = (json(&database, "spec", "MeshService"), json(&database, "status", "MeshService"));
    assert_eq!((&spec["future"][0]["a"], &spec["selector"]["mode"]), (&1.into(), &"all".into()), "{spec}");
    assert_eq!(spec["ports"][0]["weight"], 5, "{spec}");
    assert!(status["future"].as_object().is_some_and(|future| future.contains_key("b")), "{status}");
    assert_eq!(status["tls"]["since"], "then", "{status}");
    let insight = json(&database, "spec", "DataplaneInsight");
    let [old, new] = &insight["subscriptions"].as_array().unwrap()[..] else { panic!("{insight}") };
    assert_eq!((&insight["future"], &old["future"]), (&2.into(), &3.into()), "{insight}");
    assert_eq!((&old["status"]["total"]["future"], &new["future"]), (&"4".into(), &Value::Null), "{insight}");
    assert_eq!(database.sql("SELECT * FROM resources WHERE type = 'FutureKind'"), before, "it is left alone");
}

/// A proxy that another program forgot; and what a user replaces is replaced.
#[tokio::test]
async fn a_replacement_is_one() {
    let database = database();
    database.sql(ROWS);
    let store = open(&database).await;
    let mesh = store.get(&Key::new(Kind::Mesh, "", "m")).await.unwrap().unwrap();
    let service = store.get(&Key::new(Kind::MeshService, "m", "web")).await.unwrap().unwrap();
    let plain = |resource: &AnyResource| {
        let meta = resource.meta.clone();
        match resource.spec::<MeshService>() {
            Some(spec) => AnyResource::new(meta, spec.clone(), Default::default()).with_status_of(Some(resource)),
            None => AnyResource::new(meta, Mesh::default(), kuma_core::resource::NoStatus {}),
        }
    };
    let replace = |of: &AnyResource| Write::Replace { resource: plain(of), expected: of.meta.version };
    store.write(vec![replace(&mesh), replace(&service)]).await.unwrap();
    assert_eq!(json(&database, "spec", "Mesh"), serde_json::json!({}));
    let spec = json(&database, "spec", "MeshService");
    assert!(spec["future"].is_null() && spec["ports"][0]["weight"].is_null(), "{spec}");
    assert_eq!(json(&database, "status", "MeshService")["tls"]["since"], "then", "no user writes a status");
}

#[tokio::test]
async fn copies_and_revisions_hold_what_we_do_not_know() {
    let (first, second) = (database(), database());
    first.sql(ROWS);
    let (from, to) = (open(&first).await, open(&second).await);
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = SqliteStore::open(folder.path(), jiff::Timestamp::now).unwrap();
    assert_eq!(copy(&from, &file).await.unwrap(), 5, "all but the one of another kind");
    assert_eq!(copy(&file, &to).await.unwrap(), 5);
    for kind in ["Mesh", "Dataplane", "DataplaneInsight", "MeshService", "Workload"] {
        for column in ["spec", "status"] {
            let (old, new) = (json(&first, column, kind), json(&second, column, kind));
            let is_kept = old
                .as_object()
                .unwrap()
                .iter()
                .all(|(field, value)| value == &new[field] || value.is_object() && new[field].is_object());
            assert!(is_kept, "{kind} {column}: {old} {new}");
        }
    }
    // Another program changes what only it knows: that is a change like any other.
    second.sql("UPDATE resources SET version = version + 1, spec = '{\"future\": false}' WHERE type = 'Workload'");
    for _ in 0..400 {
        if to.history(&key("w")).await.unwrap().len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let history = to.history(&key("w")).await.unwrap();
    let was = |at: usize| history[at].content.as_ref().unwrap().resource(&key("w")).unwrap().stored_spec();
    assert_eq!((was(0)["future"].clone(), was(1)["future"].clone()), (true.into(), false.into()));
    let now = to.get(&key("w")).await.unwrap().unwrap();
    assert!(now.spec::<Workload>().is_some());
}
