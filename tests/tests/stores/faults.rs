//! The database is away, slow, full of connections, or another one.

use std::time::{Duration, Instant};

use kuma_core::store::{Store, WatchEvent};
use kuma_cp::stores::postgres::{PostgresStore, Target};
use tests::harness::{
    postgres::{Postgres, Settings},
    relay::Relay,
};

use crate::scene::{
    PATIENCE, available, create, next, open, settings, shows, stored, team, unavailable, update, watch, workload,
};

/// Reads go on, writes are refused, and afterwards one reset tells what others did meanwhile.
#[tokio::test]
async fn a_database_that_was_away_is_read_again_in_one_reset() {
    let server = Postgres::start();
    let database = server.fresh_database().migrated();
    let store = open(&database).await;
    let kept = stored(&store, create(&workload("kept", "1"))).await;
    let mut events = watch(&store).await;
    server.stop();
    available(&store, false).await;
    let why = unavailable(store.write(vec![create(&workload("new", "1"))]).await);
    assert!(why.contains(&database.address.to_string()), "{why}");
    assert_eq!(team(&store, "kept").await.as_deref(), Some("1"));
    server.start_again();
    available(&store, true).await;
    let WatchEvent::Reset { resources, .. } = next(&mut events).await else { panic!("no reset") };
    assert_eq!(resources[0].meta, kept.meta, "nothing seems changed that is not");
    let again = stored(&store, create(&workload("new", "2"))).await;
    let WatchEvent::Changes { changes, .. } = next(&mut events).await else { panic!("one reset is enough") };
    assert_eq!(changes[0].key, again.key());
}

/// The session is cut; what others write before it is back is not missed.
#[tokio::test]
async fn nothing_is_missed_when_the_session_is_lost() {
    let server = Postgres::start();
    let database = server.fresh_database().migrated();
    let relay = Relay::start(0, database.address);
    let (far, near) = (open(&database.at(relay.address())).await, open(&database).await);
    let mut last = stored(&near, create(&workload("x", "start"))).await;
    for round in 0..10 {
        relay.set_blackhole(true);
        relay.reset_all();
        last = stored(&near, update(&workload("x", &round.to_string()), last.meta.version)).await;
        relay.set_blackhole(false);
        shows(&far, "x", Some(&round.to_string())).await;
    }
}

/// A database that takes connections and says nothing: writers wait as long as they are told to, not longer.
#[tokio::test]
async fn nobody_waits_for_long() {
    let server = Postgres::start();
    let database = server.fresh_database().migrated();
    let relay = Relay::start(0, database.address);
    let store = open(&database.at(relay.address())).await;
    stored(&store, create(&workload("x", "1"))).await;
    relay.set_blackhole(true);
    let begun = Instant::now();
    unavailable(store.write(vec![create(&workload("y", "1"))]).await);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(PATIENCE.unsigned_abs()), "it gave up early");
    // The next one is told at once what is known.
    let writes = (0..100).map(|n| store.write(vec![create(&workload(&format!("z{n}"), "1"))]));
    for refused in futures::future::join_all(writes).await {
        unavailable(refused);
    }
    assert_eq!(team(&store, "x").await.as_deref(), Some("1"));
    relay.set_blackhole(false);
    available(&store, true).await;
    stored(&store, create(&workload("y2", "1"))).await;
}

/// Many writers do not mean many connections.
#[tokio::test]
async fn connections_do_not_grow() {
    let server = Postgres::start();
    let database = server.fresh_database().migrated();
    let store = open(&database).await;
    let writes = (0..500).map(|n| store.write(vec![create(&workload(&format!("w{n}"), "1"))]));
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    assert_eq!(database.connections(), 1);
    assert_eq!(database.sql("SELECT count(*) FROM resources"), "500");
}

/// All connections are taken: a start says so, and a store that lost its session comes back when one is free.
#[tokio::test]
async fn a_full_server_is_waited_for() {
    // Three more are kept for superusers.
    let server = Postgres::start_with(
        Settings::default().set("max_connections", "5").set("superuser_reserved_connections", "3"),
    );
    let database = server.fresh_database().migrated();
    let (first, _second) = (open(&database).await, open(&database).await);
    let target = Target::new(&settings(&database));
    let error = PostgresStore::open(target, jiff::Timestamp::now).await.err().unwrap();
    let text = format!("{error:#}");
    assert!(text.contains("could not connect to postgres") && text.contains("53300"), "{text}");
    stored(&first, create(&workload("x", "1"))).await;
}

/// The primary dies and a replica takes its place, as a cluster of two hosts has it.
#[tokio::test]
async fn a_promoted_replica_is_followed() {
    let primary = Postgres::start_with(Settings::default().set("max_wal_senders", "4"));
    let database = primary.fresh_database().migrated();
    let replica = primary.replica();
    // One name for both, which leads to the one that is in charge.
    let (to_primary, to_replica) = (Relay::start(0, primary.address()), Relay::start(0, replica.address()));
    let only_reads = Target::new(&settings(&database.at(to_replica.address())));
    let error = PostgresStore::open(only_reads, jiff::Timestamp::now).await.err().unwrap();
    assert!(format!("{error:#}").contains("could not connect to postgres"), "a server that only reads is no store");
    let store = open(&database.at(to_primary.address())).await;
    let mut events = watch(&store).await;
    let before = stored(&store, create(&workload("x", "1"))).await;
    next(&mut events).await;
    replica.catches_up_with(&primary);
    let port = to_primary.address().port();
    drop(to_primary);
    primary.kill();
    available(&store, false).await;
    unavailable(store.write(vec![create(&workload("y", "1"))]).await);
    replica.promote();
    let _moved = Relay::start(port, replica.address());
    available(&store, true).await;
    let WatchEvent::Reset { resources, .. } = next(&mut events).await else { panic!("no reset") };
    assert_eq!((resources.len(), &resources[0].meta), (1, &before.meta), "nothing was lost and nothing seems changed");
    stored(&store, update(&workload("x", "2"), before.meta.version)).await;
}

/// The disk of the database is full, or it is out of something else: the writer is told, others are not disturbed.
#[tokio::test]
async fn a_refusal_is_told_to_whom_it_concerns() {
    let server = Postgres::start();
    let database = server.fresh_database().migrated();
    let store = open(&database).await;
    database.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.name LIKE 'full-%' THEN
                RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = substr(NEW.name, 6);
            END IF;
            RETURN NEW;
         END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON resources FOR EACH ROW EXECUTE PROCEDURE refuse()",
    );
    // Disk, memory, a limit of the configuration, and the server's resources in general.
    let names = ["a", "full-53100", "b", "full-53200", "c", "full-53400", "full-53000"];
    let writes = names.map(|name| store.write(vec![create(&workload(name, "1"))]));
    for (name, outcome) in names.iter().zip(futures::future::join_all(writes).await) {
        if let Some(code) = name.strip_prefix("full-") {
            // What the API answers with 503 and Retry-After.
            let why = unavailable(outcome);
            assert!(why.contains("No space left on device") && why.contains(code), "{why}");
        } else {
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        }
    }
    assert!(*store.available().borrow());
    database.sql("DROP TRIGGER refuse ON resources");
    stored(&store, create(&workload("full-53100", "1"))).await;
    database.sql("DELETE FROM resources WHERE name LIKE 'full%'");
    assert_eq!(database.sql("SELECT string_agg(name, ' ' ORDER BY name) FROM resources"), "a b c");
}
