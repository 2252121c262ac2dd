//! Where resources are kept: the backends of [`Store`] that need more than memory, and the choice between all of them.

pub mod sqlite;

use std::{path::Path, sync::Arc};

use anyhow::bail;
use jiff::Timestamp;
use kuma_core::store::{MemoryStore, Store};

use crate::config::{self, StoreType};
use sqlite::SqliteStore;

/// A store that was opened.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What it was told is there after a restart.
    pub remembers: bool,
}

/// Opens the store that the configuration names, and says in one line what it is.
///
/// # Errors
/// A store that this version does not have, or one that cannot be opened.
pub fn open(config: &config::Store) -> anyhow::Result<Opened> {
    match StoreType::from_name(&config.kind) {
        Some(StoreType::Memory) => {
            tracing::info!(target: "kuma-cp.store", "resources are kept in memory: they are gone when this process ends");
            Ok(Opened { store: Arc::new(MemoryStore::new(Timestamp::now)), remembers: false })
        }
        Some(StoreType::Sqlite) => {
            let (store, found) = SqliteStore::open(Path::new(&config.sqlite.dir), Timestamp::now)?;
            tracing::info!(
                target: "kuma-cp.store", path = %found.path.display(), objects = found.objects,
                "resources are kept in a file, for this control plane alone (KUMA_STORE_TYPE chooses another store)"
            );
            for text in &found.put_aside {
                tracing::warn!(target: "kuma-cp.store", "an object cannot be read and was put aside: {text}");
            }
            Ok(Opened { store: Arc::new(store), remembers: true })
        }
        Some(StoreType::Postgres | StoreType::Kubernetes) => bail!(
            "store type {:?} is not in this version: use \"sqlite\" (KUMA_STORE_TYPE=sqlite, the default), which keeps \
             everything in a file for one control plane",
            config.kind
        ),
        None => bail!("unknown store type {:?}: there are sqlite, memory, postgres and kubernetes", config.kind),
    }
}
