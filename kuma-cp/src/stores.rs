//! Where resources are kept: the backends of [`Store`] that need more than memory, and the choice between all of them.

pub mod copy;
pub mod postgres;
pub mod sqlite;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use anyhow::bail;
use jiff::Timestamp;
use kuma_core::store::{MemoryStore, Store};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{self, StoreType},
    leadership::Leadership,
};
use postgres::{
    Fence, PostgresStore, Target,
    lock::{self, Absence, Contender},
};
use sqlite::SqliteStore;

/// A store that was opened.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What it was told is there after a restart.
    pub remembers: bool,
    /// Whether it takes writes, for stores that can be away; the channel ends with the store.
    pub available: Option<watch::Receiver<bool>>,
    /// The store for what only a leader does: it refuses the writes of an instance that leads no more.
    pub leaders: Arc<dyn Store>,
    /// Whether this instance leads.
    pub leadership: Leadership,
    /// For stores that several share.
    pub shared: Option<Shared>,
}

/// What an instance knows of its place among others.
pub struct Shared {
    /// Other instances that have gone.
    pub gone: watch::Receiver<BTreeSet<Arc<str>>>,
    /// Whether this one is about to count as gone itself.
    pub cut_off: watch::Receiver<bool>,
    /// When.
    pub absence: Absence,
}

impl Opened {
    /// Of a single instance.
    fn alone(store: Arc<dyn Store>, remembers: bool) -> Self {
        let leadership = Leadership::always();
        Self { leaders: store.clone(), store, remembers, available: None, leadership, shared: None }
    }
}

/// Says which objects nothing is done about.
fn tell_unknown(unknown: &BTreeMap<String, usize>) {
    for (kind, count) in unknown {
        tracing::warn!(
            target: "kuma-cp.store", kind, count,
            "this version has no such kind: its objects stay where they are, and count for nothing"
        );
    }
}

/// Opens the store that a configuration names for a command that reads and writes it once; and how many objects are in it
/// of kinds that this version does not have, by kind.
///
/// # Errors
/// A store that cannot be opened by two programs at once, has nothing that lasts, or does not open.
pub async fn open_once(config: &config::Store) -> anyhow::Result<(Arc<dyn Store>, BTreeMap<String, usize>)> {
    match StoreType::from_name(&config.kind) {
        Some(StoreType::Sqlite) => {
            let (store, found) = SqliteStore::open(Path::new(&config.sqlite.dir), Timestamp::now)?;
            anyhow::ensure!(found.put_aside.is_empty(), "objects cannot be read: {}", found.put_aside.join("; "));
            Ok((Arc::new(store), found.unknown))
        }
        Some(StoreType::Postgres) => {
            let (store, found) = PostgresStore::open(Target::new(&config.postgres), Timestamp::now).await?;
            anyhow::ensure!(found.unreadable.is_empty(), "objects cannot be read: {}", found.unreadable.join("; "));
            Ok((Arc::new(store), found.unknown))
        }
        _ => bail!("store type {:?} keeps nothing that could be copied: there are sqlite and postgres", config.kind),
    }
}

/// Opens the store that the configuration names, and says in one line what it is.
///
/// # Errors
/// A store that this version does not have, or one that cannot be opened.
pub async fn open(
    config: &config::Store,
    instance: &Arc<str>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Opened> {
    match StoreType::from_name(&config.kind) {
        Some(StoreType::Memory) => {
            tracing::info!(target: "kuma-cp.store", "resources are kept in memory: they are gone when this process ends");
            Ok(Opened::alone(Arc::new(MemoryStore::new(Timestamp::now)), false))
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
            tell_unknown(&found.unknown);
            Ok(Opened::alone(Arc::new(store), true))
        }
        Some(StoreType::Postgres) => {
            let target = Target::new(&config.postgres);
            let (address, database) = (target.address(), &config.postgres.db_name);
            let (store, found) = PostgresStore::open(target.clone(), Timestamp::now).await?;
            tracing::info!(
                target: "kuma-cp.store", address, database, objects = found.objects,
                "resources are kept in a PostgreSQL database, which other control planes can share"
            );
            for text in &found.unreadable {
                tracing::warn!(target: "kuma-cp.store", "{text}");
            }
            tell_unknown(&found.unknown);
            let (leads, leadership) = watch::channel(false);
            let (tell_gone, gone) = watch::channel(BTreeSet::new());
            let (tell_cut_off, cut_off) = watch::channel(false);
            let absence = Absence::of(&config.postgres);
            let lock: Arc<str> = lock::LEADER.into();
            let fence = Fence { lock: lock.clone(), instance: instance.clone() };
            let contender = Contender {
                target,
                lock,
                instance: instance.clone(),
                absence,
                leads,
                gone: tell_gone,
                cut_off: tell_cut_off,
            };
            tasks.spawn(contender.run(stop.clone()));
            Ok(Opened {
                leaders: Arc::new(store.fenced(fence)),
                available: Some(store.available()),
                store: Arc::new(store),
                remembers: true,
                leadership: Leadership::told_by(leadership),
                shared: Some(Shared { gone, cut_off, absence }),
            })
        }
        Some(StoreType::Kubernetes) => bail!(
            "store type {:?} is not in this version: use \"sqlite\" (KUMA_STORE_TYPE=sqlite, the default), which keeps \
             everything in a file for one control plane",
            config.kind
        ),
        None => bail!("unknown store type {:?}: there are sqlite, memory, postgres and kubernetes", config.kind),
    }
}
