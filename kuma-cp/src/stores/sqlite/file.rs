//! The file: its lock, its schema, what is read from it and written to it.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use kuma_core::{
    resource::Key,
    store::{
        Revision,
        history::{Past, Record},
        ledger::Entry,
    },
};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{revisions, rows};

/// Name of the file in its folder.
pub const FILE: &str = "kuma.db";
/// Version of the schema that this program writes.
pub(super) const SCHEMA_VERSION: i64 = 3;
/// "KUMA", so that the file is not taken for another program's.
const APPLICATION: i64 = 0x4b55_4d41;
/// Pages of the write-ahead log after which a commit moves them to the main file before it returns, while somebody waits
/// for it: only if there was no pause for [`File::tidy`] before.
const LOG_LIMIT: i64 = 4_000;
/// Size in bytes to which the log is cut after it has grown beyond that.
const LOG_KEPT: i64 = 4 << 20;
/// How long a statement waits for a backup that reads.
const BUSY: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE resources (
        kind TEXT NOT NULL, mesh TEXT NOT NULL, name TEXT NOT NULL,
        version INTEGER NOT NULL,
        created INTEGER NOT NULL, modified INTEGER NOT NULL,
        labels TEXT NOT NULL, spec TEXT NOT NULL, status TEXT,
        owner_kind TEXT, owner_mesh TEXT, owner_name TEXT,
        PRIMARY KEY (kind, mesh, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE put_aside (reason TEXT NOT NULL, kind TEXT, mesh TEXT, name TEXT, row TEXT NOT NULL) STRICT;
    CREATE TABLE revision (revision INTEGER NOT NULL) STRICT;
    INSERT INTO revision VALUES (0);
";

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{} is in use by another process: a file serves one control plane at a time; stop the other one, or give this \
         one a folder of its own (KUMA_STORE_SQLITE_DIR or KUMA_GENERAL_WORK_DIR)",
        .0.display()
    )]
    InUse(PathBuf),
    /// A newer version wrote it.
    #[error("{} was written by a newer version of kuma-cp (its schema is {found}, this version knows {SCHEMA_VERSION}): run that version, or restore a backup", .path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Version of its schema.
        found: i64,
    },
    /// It holds something else.
    #[error("{} is no store of kuma-cp: move it away, or choose another folder (KUMA_STORE_SQLITE_DIR)", .0.display())]
    Foreign(PathBuf),
    /// It is not what was written.
    #[error(
        "{} is damaged: {reason}. It is left as it is; put back a copy with `kuma-cp store restore`, or move it away to \
         start with nothing",
        .path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file system refuses.
    #[error("{}: {cause}", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// The database refuses.
    #[error("{}: {cause}", .path.display())]
    Sql {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: rusqlite::Error,
    },
    /// No thread.
    #[error("no thread for the store: {0}")]
    Thread(std::io::Error),
}

/// The open file.
pub(super) struct File {
    path: PathBuf,
    connection: Connection,
    /// Held as long as the file is open.
    _lock: fs::File,
}

/// What is in the file of the lock once there is something in the file of the store.
const FILLED: &str = "kuma.db holds a store\n";

/// Takes the lock of a file, which is a file beside it: SQLite's own locks let several processes take turns.
pub(super) fn lock(path: &Path) -> Result<fs::File, OpenError> {
    let io = |cause| OpenError::Io { path: path.to_owned(), cause };
    let beside = path.with_extension("lock");
    let file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(beside).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(cause)) => Err(io(cause)),
    }
}

/// Looks whether a database is a store that this version can read. 0 is one without tables yet.
pub(super) fn schema_version(path: &Path, connection: &Connection) -> Result<i64, OpenError> {
    let sql = |cause| wrong(path, cause);
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = match pragma("application_id") {
        Err(cause) if cause.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            return Err(OpenError::Foreign(path.to_owned()));
        }
        other => other.map_err(sql)?,
    };
    let version = pragma("user_version").map_err(sql)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sql)?;
    match (application, version) {
        (0, 0) if tables == 0 => Ok(0),
        (APPLICATION, found) if found > SCHEMA_VERSION => Err(OpenError::Newer { path: path.to_owned(), found }),
        (APPLICATION, found) if found > 0 => Ok(found),
        _ => Err(OpenError::Foreign(path.to_owned())),
    }
}

/// An error of the database about this file.
pub(super) fn wrong(path: &Path, cause: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match cause.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, reason: cause.to_string() },
        _ => OpenError::Sql { path, cause },
    }
}

/// Opens a database for writing, with its schema. `filled`: there was something in it before.
fn connect(path: &Path, filled: bool) -> Result<Connection, OpenError> {
    let sql = |cause| wrong(path, cause);
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sql)?;
    let version = schema_version(path, &connection)?;
    if version == 0 && filled {
        return Err(damaged("it is empty, and was not before".into()));
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sql)?;
    if verdict != "ok" {
        return Err(damaged(verdict));
    }
    set_up(&mut connection, version).map_err(sql)?;
    Ok(connection)
}

fn set_up(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit waits for the disk.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_LIMIT)?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    if version < SCHEMA_VERSION {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION)?;
        }
        if version < 2 {
            transaction.execute_batch(revisions::SCHEMA)?;
        }
        // Checksums came with version 3; rows of before have none.
        transaction.execute_batch("ALTER TABLE resources ADD COLUMN sum INTEGER")?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}

impl File {
    /// Opens a file, or makes it, readable for its owner alone.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |cause| OpenError::Io { path: path.to_owned(), cause };
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(io)?;
        let mut lock = lock(path)?;
        let mut filled = String::new();
        lock.read_to_string(&mut filled).map_err(io)?;
        // It holds secrets. SQLite gives its side files the mode of this one.
        let was_there = path.exists();
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(io)?;
        let connection = connect(path, was_there && filled == FILLED)?;
        if filled != FILLED {
            lock.rewind().and_then(|()| lock.write_all(FILLED.as_bytes())).map_err(io)?;
        }
        // The name of a new file must survive as well.
        fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io)?;
        Ok(Self { path: path.to_owned(), connection, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything in it. A row that cannot be read is put aside, with the reason, and named in the result.
    pub(super) fn load(&mut self) -> Result<rows::Loaded, OpenError> {
        rows::load(&mut self.connection).map_err(|cause| wrong(&self.path, cause))
    }

    /// Writes what became of objects and what that leaves in their histories, and waits until the disk has it.
    pub(super) fn save(
        &mut self,
        revision: Revision,
        entries: &BTreeMap<Key, Option<Entry>>,
        records: &[Record],
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        rows::save(&transaction, revision, entries)?;
        revisions::save(&transaction, records)?;
        transaction.commit()
    }

    /// Moves what was committed from the write-ahead log to the main file, as far as nobody reads it there. Takes time,
    /// and is best done when nobody waits. What cannot be moved now stays in the log, which is as safe.
    pub(super) fn tidy(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }

    /// The revisions of an object, oldest first.
    pub(super) fn history(&self, key: &Key) -> rusqlite::Result<Vec<Past>> {
        revisions::load(&self.connection, key)
    }

    /// Leaves one file without side files behind.
    pub(super) fn close(self) {
        if let Err((_, error)) = self.connection.close() {
            tracing::warn!(%error, "the file of the store was not closed cleanly; nothing is lost");
        }
    }
}
