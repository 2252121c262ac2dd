//! Several writers on one database: of ours, and others.

use kuma_core::store::{Store, StoreError, WatchEvent, Write};

use kuma_cp::stores::postgres::{PostgresStore, Target};

use crate::scene::{create, database, key, mesh, next, open, settings, shows, stored, team, update, watch, workload};

#[tokio::test]
async fn each_sees_what_the_other_writes() {
    let database = database();
    let (a, b) = (open(&database).await, open(&database).await);
    let mut events = watch(&b).await;
    a.write(vec![create(&mesh("m")), create(&workload("x", "1")), create(&workload("y", "1"))]).await.unwrap();
    let WatchEvent::Changes { changes, .. } = next(&mut events).await else { panic!("no changes") };
    assert_eq!(changes.len(), 3, "a batch arrives whole");
    let first = a.get(&key("x")).await.unwrap().unwrap();
    assert_eq!(b.get(&key("x")).await.unwrap().unwrap().meta, first.meta, "times and versions are the same everywhere");
    a.write(vec![Write::Delete { key: key("y"), expected: None }]).await.unwrap();
    shows(&b, "y", None).await;
}

#[tokio::test]
async fn what_was_read_at_one_is_updated_at_another_at_once() {
    let database = database();
    let (a, b) = (open(&database).await, open(&database).await);
    let mut last = stored(&a, create(&workload("x", "0"))).await;
    for round in 1..50 {
        let store = if round % 2 == 0 { &a } else { &b };
        last = stored(store, update(&workload("x", &round.to_string()), last.meta.version)).await;
    }
    let (store, gone) = (&b, Write::Delete { key: key("x"), expected: Some(last.meta.version) });
    store.write(vec![gone]).await.unwrap();
    let again = stored(&a, create(&workload("x", "new"))).await;
    assert_ne!(again.meta.version, last.meta.version);
    let old = b.write(vec![update(&workload("x", "late"), last.meta.version)]).await;
    assert!(matches!(old, Err(StoreError::Conflict(_))), "{old:?}");
}

/// Fifty at each of two instances: one wins per version, all others are told that they lost.
#[tokio::test]
async fn one_of_many_writers_at_two_instances_wins() {
    let database = database();
    let (a, b) = (open(&database).await, open(&database).await);
    let mut version = stored(&a, create(&workload("x", "0"))).await.meta.version;
    for round in 0..10 {
        let writers = (0..50).map(|n| {
            let (store, write) =
                (if n % 2 == 0 { &a } else { &b }, update(&workload("x", &format!("{round}-{n}")), version));
            store.write(vec![write])
        });
        let answers = futures::future::join_all(writers).await;
        let won: Vec<_> = answers.iter().enumerate().filter(|(_, answer)| answer.is_ok()).collect();
        assert_eq!(won.len(), 1, "{answers:?}");
        assert!(answers.iter().filter_map(|a| a.as_ref().err()).all(|e| matches!(e, StoreError::Conflict(_))));
        let (winner, Ok(committed)) = won[0] else { panic!() };
        assert_eq!(database.sql("SELECT labels->>'team' FROM resources"), format!("{round}-{winner}"));
        version = committed.resources[0].as_ref().unwrap().meta.version;
    }
}

/// A program that knows nothing of us, such as Kuma 3.0, inserts, updates and deletes rows.
#[tokio::test]
async fn rows_of_others_are_followed() {
    let database = database();
    let store = open(&database).await;
    let insert = "INSERT INTO resources (name, mesh, type, version, spec, labels) VALUES";
    database.sql(&format!("{insert} ('x', 'm', 'Workload', 0, '{{}}', '{{\"team\": \"1\"}}')"));
    shows(&store, "x", Some("1")).await;
    database.sql("UPDATE resources SET version = version + 1, labels = '{\"team\": \"2\"}' WHERE name = 'x'");
    shows(&store, "x", Some("2")).await;
    let version = store.get(&key("x")).await.unwrap().unwrap().meta.version;
    stored(&store, update(&workload("x", "3"), version)).await;
    assert_eq!(database.sql("SELECT version, labels FROM resources WHERE name = 'x'"), "2|{\"team\": \"3\"}");
    // Their kinds that we do not know, and rows that nobody can read, stand in nobody's way.
    database.sql(&format!("{insert} ('u', 'm', 'FutureKind', 0, '{{}}', 'null')"));
    database.sql(&format!("{insert} ('bad', 'm', 'Workload', 0, 'no json', 'null')"));
    database.sql("UPDATE resources SET labels = 'null' WHERE name = 'x'");
    let seen = async || store.get(&key("x")).await.unwrap().unwrap().meta.labels.is_empty();
    let mut events = store.watch().await.unwrap();
    while !seen().await {
        next(&mut events).await;
    }
    assert_eq!(store.get(&key("bad")).await.unwrap().map(|r| r.meta), None);
    assert_eq!(open(&database).await.get(&key("x")).await.unwrap().map(|r| r.meta.labels.is_empty()), Some(true));
    assert_eq!(database.sql("SELECT count(*) FROM resources"), "3", "nothing was removed");
    // An object that somebody spoils goes on to count as it was.
    let good = store.get(&key("x")).await.unwrap().unwrap();
    database.sql("UPDATE resources SET spec = 'no json' WHERE name = 'x'");
    database.sql(&format!("{insert} ('after', 'm', 'Workload', 0, '{{}}', '{{\"team\": \"1\"}}')"));
    shows(&store, "after", Some("1")).await;
    assert_eq!(store.get(&key("x")).await.unwrap().unwrap().meta, good.meta);
    database.sql("DELETE FROM resources WHERE name = 'x'");
    shows(&store, "x", None).await;
}

/// Rows of the wrong shape are left where they are and named, whatever is wrong with them; the others are served. A row that
/// is older than it was counts as it is.
#[tokio::test]
async fn tampered_rows_stand_in_nobodys_way() {
    let database = database();
    let insert = "INSERT INTO resources (name, mesh, type, version, spec, labels, status) VALUES";
    let rows = [
        ("cut", "Workload", r#"{"a": "#, "{}", "{}"),
        ("list", "MeshService", "[1]", "{}", "{}"),
        ("text", "Dataplane", r#""x""#, "{}", "{}"),
        ("shape", "Dataplane", r#"{"networking": 7}"#, "{}", "{}"),
        ("labels", "Workload", "{}", r#"{"team": 1}"#, "{}"),
        ("status", "Workload", "{}", "{}", r#"{"dataplaneProxies": "many"}"#),
        ("good", "Workload", "{}", r#"{"team": "1"}"#, "{}"),
    ];
    for (name, kind, spec, labels, status) in rows {
        database.sql(&format!("{insert} ('{name}', 'm', '{kind}', 5, '{spec}', '{labels}', '{status}')"));
    }
    let target = Target::new(&settings(&database));
    let (store, found) = PostgresStore::open(target, jiff::Timestamp::now).await.unwrap();
    assert_eq!((found.objects, found.unreadable.len()), (1, 6), "{found:?}");
    for (name, ..) in &rows[..6] {
        assert!(found.unreadable.iter().any(|text| text.contains(&format!("{name:?}"))), "{name}: {found:?}");
    }
    let read = store.get(&key("good")).await.unwrap().unwrap();
    database.sql("UPDATE resources SET version = 2, labels = '{\"team\": \"old\"}' WHERE name = 'good'");
    shows(&store, "good", Some("old")).await;
    let stale = store.write(vec![update(&workload("good", "2"), read.meta.version)]).await;
    assert!(matches!(stale, Err(StoreError::Conflict(_))), "{stale:?}");
    let now = store.get(&key("good")).await.unwrap().unwrap();
    stored(&store, update(&workload("good", "2"), now.meta.version)).await;
    assert_eq!(database.sql("SELECT version FROM resources WHERE name = 'good'"), "3");
    assert_eq!(database.sql("SELECT count(*) FROM resources"), "7", "nothing was removed");
}

/// What the database deletes along with an owner is told too, whoever wrote it and whoever deletes.
#[tokio::test]
async fn what_is_owned_goes_everywhere() {
    let database = database();
    let (a, b) = (open(&database).await, open(&database).await);
    let owner = mesh("m").key();
    a.write(vec![create(&mesh("m")), Write::Create { resource: workload("x", "1"), owner: Some(owner.clone()) }])
        .await
        .unwrap();
    shows(&b, "x", Some("1")).await;
    database.sql(
        "INSERT INTO resources (name, mesh, type, version, spec, labels, owner_name, owner_mesh, owner_type)
         VALUES ('theirs', 'm', 'Workload', 0, '{}', '{\"team\": \"2\"}', 'm', '', 'Mesh')",
    );
    b.write(vec![Write::Delete { key: owner, expected: None }]).await.unwrap();
    for store in [&a, &b] {
        shows(store, "x", None).await;
        shows(store, "theirs", None).await;
    }
    assert_eq!(database.sql("SELECT count(*) FROM resources"), "0");
}

/// Names may be longer than the columns of an owner: such objects go with their owner all the same.
#[tokio::test]
async fn owners_with_long_names_take_along_what_they_own() {
    let database = database();
    let store = open(&database).await;
    let long = workload(&"x".repeat(253), "1");
    let owned = Write::Create { resource: workload("x", "1"), owner: Some(long.key()) };
    store.write(vec![create(&long), owned]).await.unwrap();
    store.write(vec![Write::Delete { key: long.key(), expected: None }]).await.unwrap();
    assert_eq!(team(&store, "x").await, None);
    assert_eq!(database.sql("SELECT count(*) FROM resources"), "0");
}

/// What is written is what Kuma 3.0 reads.
#[tokio::test]
async fn rows_are_those_of_others() {
    let database = database();
    let store = open(&database).await;
    let owner = Some(mesh("m").key());
    store.write(vec![create(&mesh("m")), Write::Create { resource: workload("x", "1"), owner }]).await.unwrap();
    let row = database.sql(
        "SELECT name, mesh, type, version, spec, owner_name, owner_mesh, owner_type, labels, status,
            creation_time = modification_time, abs(extract(epoch FROM creation_time - now() AT TIME ZONE 'UTC')) < 60
         FROM resources ORDER BY type",
    );
    let rows: Vec<&str> = row.lines().collect();
    assert_eq!(rows[0], "m||Mesh|0|{}||||{}|{}|t|t");
    assert!(rows[1].starts_with("x|m|Workload|0|{}|m||Mesh|{\"team\": \"1\"}|{"), "{}", rows[1]);
    assert!(rows[1].ends_with("|t|t"), "{}", rows[1]);
}
