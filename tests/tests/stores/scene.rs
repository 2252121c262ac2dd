//! What the tests work with: databases, stores on them, objects.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta, Version},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Mesh, Workload},
    store::{Store, StoreError, WatchEvent, Write},
};
use kuma_cp::{
    config,
    stores::postgres::{PostgresStore, Target},
};
use tests::harness::postgres::{Database, Postgres};
use tokio::sync::mpsc;

/// How long a store waits for the database in these tests, in seconds.
pub(crate) const PATIENCE: i64 = 2;
/// What takes longer than this does not happen.
const LONG: Duration = Duration::from_secs(20);

/// The settings of a store on this database.
pub(crate) fn settings(database: &Database) -> config::Postgres {
    config::Postgres { connection_timeout: PATIENCE, ..database.settings() }
}

/// A database of a server that all tests share, migrated.
pub(crate) fn database() -> Database {
    Postgres::shared().fresh_database().migrated()
}

pub(crate) async fn open(database: &Database) -> PostgresStore {
    PostgresStore::open(Target::new(&settings(database)), Timestamp::now).await.unwrap().0
}

pub(crate) fn mesh(name: &str) -> AnyResource {
    AnyResource::new(Meta::new("", name, Labels::new()), Mesh::default(), NoStatus {})
}

pub(crate) fn workload(name: &str, team: &str) -> AnyResource {
    let labels = Labels::from([("team".to_owned(), team.to_owned())]);
    AnyResource::new(Meta::new("m", name, labels), Workload::default(), Default::default())
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(Kind::Workload, "m", name)
}

pub(crate) fn create(resource: &AnyResource) -> Write {
    Write::Create { resource: resource.clone(), owner: None }
}

pub(crate) fn update(resource: &AnyResource, expected: Version) -> Write {
    Write::Update { resource: resource.clone(), expected }
}

/// Writes one object; it as stored.
pub(crate) async fn stored(store: &PostgresStore, write: Write) -> AnyResource {
    store.write(vec![write]).await.unwrap().resources.remove(0).unwrap()
}

pub(crate) async fn team(store: &PostgresStore, name: &str) -> Option<String> {
    store.get(&key(name)).await.unwrap().map(|r| r.meta.label("team").unwrap_or_default().to_owned())
}

/// Waits until a store tells this of an object.
pub(crate) async fn shows(store: &PostgresStore, name: &str, expected: Option<&str>) {
    let mut events = store.watch().await.unwrap();
    let seen = async {
        while team(store, name).await.as_deref() != expected {
            assert!(events.recv().await.is_some());
        }
    };
    assert!(tokio::time::timeout(LONG, seen).await.is_ok(), "{name} does not become {expected:?}");
}

/// The next event of a watch.
pub(crate) async fn next(events: &mut mpsc::Receiver<WatchEvent>) -> WatchEvent {
    tokio::time::timeout(LONG, events.recv()).await.unwrap().unwrap()
}

/// A watch whose first event was taken.
pub(crate) async fn watch(store: &PostgresStore) -> mpsc::Receiver<WatchEvent> {
    let mut events = store.watch().await.unwrap();
    assert!(matches!(next(&mut events).await, WatchEvent::Reset { .. }));
    events
}

/// Waits until the store says that the database is there, or is not.
pub(crate) async fn available(store: &PostgresStore, is_there: bool) {
    let mut told = store.available();
    assert!(tokio::time::timeout(LONG, told.wait_for(|now| *now == is_there)).await.unwrap().is_ok());
}

pub(crate) fn unavailable(outcome: Result<kuma_core::store::Committed, StoreError>) -> Arc<str> {
    match outcome {
        Err(StoreError::Unavailable(why)) => why,
        other => panic!("it should be away: {other:?}"),
    }
}
