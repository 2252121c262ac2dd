//! Copies of the file: taken while a control plane writes it, put back while none does.

use std::{
    fs,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use super::file::{FILE, OpenError, lock, schema_version};

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to copy.
    #[error("there is no store at {}: is this the work directory of the control plane (KUMA_STORE_SQLITE_DIR, KUMA_GENERAL_WORK_DIR)?", .0.display())]
    Missing(PathBuf),
    /// Nothing is overwritten.
    #[error("{} exists already: choose another name, nothing was written", .0.display())]
    Exists(PathBuf),
    /// The copy is damaged.
    #[error("{} is damaged: {reason}; nothing was changed", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What the database says of it.
        reason: String,
    },
}

fn read_only(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags).map_err(|cause| OpenError::Sql { path: path.to_owned(), cause })
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> OpenError + '_ {
    move |cause| OpenError::Io { path: path.to_owned(), cause }
}

/// Objects in a file that is whole.
fn checked(path: &Path) -> Result<u64, BackupError> {
    let sql = |cause| OpenError::Sql { path: path.to_owned(), cause };
    let connection = read_only(path)?;
    if schema_version(path, &connection)? == 0 {
        return Err(OpenError::Foreign(path.to_owned()).into());
    }
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).map_err(sql)?;
    if verdict != "ok" {
        return Err(BackupError::Damaged { path: path.to_owned(), reason: verdict });
    }
    let count: i64 = connection.query_row("SELECT count(*) FROM resources", [], |row| row.get(0)).map_err(sql)?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Copies the store in this folder to a file that is not there yet, as it is at one moment, also while a control plane
/// runs on it. Returns the number of objects in the copy, which was read back.
///
/// # Errors
/// No store, a file that exists, or a disk that refuses.
pub fn backup(folder: &Path, to: &Path) -> Result<u64, BackupError> {
    let path = folder.join(FILE);
    if !path.exists() {
        return Err(BackupError::Missing(path));
    }
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let partial = beside(to, "partial");
    let _ = fs::remove_file(&partial);
    copy_into(&path, &partial).inspect_err(|_| drop(fs::remove_file(&partial)))?;
    let count = checked(&partial)?;
    settle(&partial, to)?;
    Ok(count)
}

/// Copies into a new file, which nobody else can read from the first moment on.
fn copy_into(path: &Path, to: &Path) -> Result<(), OpenError> {
    fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(to).map_err(io(to))?;
    let copied = read_only(path)?.execute("VACUUM INTO ?", [&*to.to_string_lossy()]);
    copied.map(drop).map_err(|cause| OpenError::Sql { path: to.to_owned(), cause })
}

/// Puts a copy in the place of the store in this folder, which no control plane may be running on. What was there
/// before is kept beside it, under the name that is returned with the number of objects.
///
/// # Errors
/// A copy that is damaged or none, a store in use, or a disk that refuses; then nothing was changed.
pub fn restore(folder: &Path, from: &Path) -> Result<(u64, Option<PathBuf>), BackupError> {
    if !from.exists() {
        return Err(BackupError::Missing(from.to_owned()));
    }
    let path = folder.join(FILE);
    fs::create_dir_all(folder).map_err(io(folder))?;
    let _lock = lock(&path)?;
    belong(&path.with_extension("lock"), folder)?;
    let count = checked(from)?;
    let partial = beside(&path, "partial");
    fs::copy(from, &partial).map_err(io(&partial))?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o600)).map_err(io(&partial))?;
    belong(&partial, folder)?;
    let before = path.exists().then(|| beside(&path, &format!("before-{}", jiff::Timestamp::now().as_second())));
    if let Some(before) = &before {
        // What lies in the side files belongs to it.
        for side in ["", "-wal", "-shm"] {
            let (from, to) = (with_suffix(&path, side), with_suffix(before, side));
            match fs::rename(&from, &to) {
                Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(io(&to)(fault).into()),
                _ => {}
            }
        }
    }
    settle(&partial, &path)?;
    Ok((count, before))
}

/// Root puts a copy back for the user that the control plane runs as: whom the folder belongs to.
fn belong(path: &Path, folder: &Path) -> Result<(), OpenError> {
    if nix::unistd::Uid::effective().is_root() {
        let owner = fs::metadata(folder).map_err(io(folder))?;
        chown(path, Some(owner.uid()), Some(owner.gid())).map_err(io(path))?;
    }
    Ok(())
}

fn beside(path: &Path, what: &str) -> PathBuf {
    with_suffix(path, &format!(".{what}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Gives a finished file its name, so that it has it after a crash as well.
fn settle(partial: &Path, path: &Path) -> Result<(), OpenError> {
    fs::File::open(partial).and_then(|file| file.sync_all()).map_err(io(partial))?;
    fs::rename(partial, path).map_err(io(path))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io(folder))
}
