//! Histories on a database that others write as well.

use kuma_core::store::{Author, Store, Write, history::Past};
use kuma_cp::stores::postgres::PostgresStore;

use crate::scene::{available, create, database, key, open, shows, stored, update, workload};

/// Another program makes `w`, then says that its team is `b`.
const CREATE: &str = "
    INSERT INTO resources (name, mesh, type, version, spec, labels)
    VALUES ('w', 'm', 'Workload', 0, '{}', '{\"team\": \"a\"}')";
const UPDATE: &str = "
    UPDATE resources SET version = version + 1, labels = '{\"team\": \"b\"}', modification_time = now() AT TIME ZONE 'UTC'
    WHERE name = 'w'";

/// Number, action, author and label of each revision, one a line.
async fn told(store: &PostgresStore, name: &str) -> Vec<String> {
    let line = |past: &Past| {
        let object = past.content.as_ref().map(|content| content.resource(&key(name)).unwrap());
        let team = object.and_then(|object| object.meta.label("team").map(str::to_owned)).unwrap_or_default();
        format!("{} {} {} {team}", past.number, past.action.name(), past.author).trim_end().to_owned()
    };
    store.history(&key(name)).await.unwrap().iter().map(line).collect()
}

/// Waits until there are so many revisions.
async fn has(store: &PostgresStore, name: &str, count: usize) {
    for _ in 0..400 {
        if store.history(&key(name)).await.unwrap().len() >= count {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{:?}", told(store, name).await);
}

#[tokio::test]
async fn what_other_programs_write_is_recorded_once() {
    let database = database();
    let stores = [open(&database).await, open(&database).await, open(&database).await];
    for (sql, team, count) in [(CREATE, Some("a"), 1), (UPDATE, Some("b"), 2), ("DELETE FROM resources", None, 3)] {
        database.sql(sql);
        for store in &stores {
            shows(store, "w", team).await;
        }
        has(&stores[0], "w", count).await;
    }
    // Each has seen all of it by the time that its own write is answered.
    for (n, store) in stores.iter().enumerate() {
        stored(store, create(&workload(&format!("w{n}"), ""))).await;
    }
    let expected = ["1 created another-program a", "2 updated another-program b", "3 deleted another-program"];
    assert_eq!(told(&stores[1], "w").await, expected);
}

#[tokio::test]
async fn what_one_control_plane_writes_the_others_do_not_record_again() {
    let database = database();
    let (one, two) = (open(&database).await, open(&database).await);
    let first = one.write_as(Author::User("u".into()), vec![create(&workload("w", "1"))]).await.unwrap();
    shows(&two, "w", Some("1")).await;
    let version = first.resources[0].as_ref().unwrap().meta.version;
    two.write_as(Author::User("v".into()), vec![update(&workload("w", "2"), version)]).await.unwrap();
    shows(&one, "w", Some("2")).await;
    one.write_as(Author::User("w".into()), vec![Write::Delete { key: key("w"), expected: None }]).await.unwrap();
    shows(&two, "w", None).await;
    for store in [&one, &two] {
        // Whatever it made of that is done before this.
        stored(store, create(&workload("x", ""))).await;
        stored(store, update(&workload("x", "y"), store.get(&key("x")).await.unwrap().unwrap().meta.version)).await;
        store.write(vec![Write::Delete { key: key("x"), expected: None }]).await.unwrap();
        assert_eq!(told(store, "w").await, ["1 created user:u 1", "2 updated user:v 2", "3 deleted user:w"]);
    }
}

#[tokio::test]
async fn what_was_written_while_nobody_looked_is_recorded_when_it_is_seen_or_changed() {
    let database = database();
    database.sql(CREATE);
    let store = open(&database).await;
    assert_eq!(told(&store, "w").await, Vec::<String>::new(), "nobody knows who made it");
    let stored = store.get(&key("w")).await.unwrap().unwrap();
    store.write(vec![update(&workload("w", "c"), stored.meta.version)]).await.unwrap();
    let mut expected = vec!["1 created unknown a", "2 updated control-plane c"];
    assert_eq!(told(&store, "w").await, expected);

    // The connection is lost, and somebody writes before there is another.
    let name = &database.name;
    database.sql(&format!("ALTER ROLE {name} NOLOGIN"));
    database.cut_connections();
    available(&store, false).await;
    assert!(store.history(&key("w")).await.is_err());
    database.sql(UPDATE);
    database.sql(&format!("ALTER ROLE {name} LOGIN"));
    available(&store, true).await;
    has(&store, "w", 3).await;
    expected.push("3 updated another-program b");
    assert_eq!(told(&store, "w").await, expected);
}
