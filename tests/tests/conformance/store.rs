//! What the API of a case keeps its resources in: `KUMA_CONFORMANCE_STORE` is `memory`, the default, `sqlite` or
//! `postgres`. Every case has a store of its own.

use std::sync::Arc;

use jiff::Timestamp;
use kuma_core::store::{MemoryStore, Store};
use kuma_cp::stores::{
    postgres::{PostgresStore, Target},
    sqlite::SqliteStore,
};
use tests::harness::postgres::Postgres;

const CHOICE: &str = "KUMA_CONFORMANCE_STORE";

/// Which one was chosen.
///
/// # Panics
/// If there is no such store: a run that tests something else than it was asked to is worth nothing.
pub(crate) fn chosen() -> String {
    let chosen = std::env::var(CHOICE).unwrap_or_else(|_| "memory".into());
    assert!(["memory", "sqlite", "postgres"].contains(&&*chosen), "{CHOICE}={chosen}: memory, sqlite or postgres");
    chosen
}

/// A new, empty one.
pub(crate) async fn open() -> Result<Arc<dyn Store>, String> {
    Ok(match &*chosen() {
        "sqlite" => {
            let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
            let opened = SqliteStore::open(folder.path(), Timestamp::now).map_err(|e| e.to_string())?;
            // The file is open; nobody looks for it by its name again.
            Arc::new(opened.0)
        }
        "postgres" => {
            let database = Postgres::shared().fresh_database().migrated();
            let opened = PostgresStore::open(Target::new(&database.settings()), Timestamp::now).await;
            Arc::new(opened.map_err(|e| format!("{e:#}"))?.0)
        }
        _ => Arc::new(MemoryStore::new(Timestamp::now)),
    })
}
