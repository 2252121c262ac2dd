//! The work directory: where Envoy's bootstrap, the sockets and an inline token lie. The control plane is told the directory and
//! computes the same paths of sockets ([`kuma_core::sockets`]).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use kuma_core::sockets;
use nix::fcntl::{Flock, FlockArg};

/// A longer path would cut the names of the sockets short, until they cannot be told apart.
const LONGEST_PATH: usize = 98 - "/kuma-mesh-metric-config".len();

/// A work directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkDirError {
    /// Making it, or writing into it, failed.
    #[error("cannot use work directory {path}: {source}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The control plane cannot be told where it is.
    #[error("the path of work directory {} is not valid UTF-8; choose another with --work-dir", path.display())]
    NotText {
        /// The directory.
        path: PathBuf,
    },
    /// Sockets would lose their names.
    #[error(
        "the path of work directory {path} is too long: sockets in it could not be told apart; \
         choose one of at most {limit} bytes with --work-dir"
    )]
    TooLong {
        /// The directory.
        path: PathBuf,
        /// Longest usable path in bytes.
        limit: usize,
    },
}

/// A directory of our own; a temporary one is removed when this is dropped.
#[derive(Debug)]
pub struct WorkDir {
    path: PathBuf,
    temporary: Option<Temporary>,
}

/// A directory that goes away, and what keeps it until then.
#[derive(Debug)]
struct Temporary {
    _dir: tempfile::TempDir,
    // Dropped last.
    _lock: Option<Flock<File>>,
}

impl WorkDir {
    /// Uses `configured`, made if missing, or a new temporary directory if that is empty.
    pub fn open(configured: &str) -> Result<Self, WorkDirError> {
        let this = if configured.is_empty() {
            let parent = std::env::temp_dir();
            let dir = tempfile::Builder::new()
                .prefix("kuma-dp-")
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o711))
                .tempdir_in(&parent)
                .map_err(|source| WorkDirError::Io { path: parent, source })?;
            let path = dir.path().to_owned();
            Self { temporary: Some(Temporary { _lock: lock(&path), _dir: dir }), path }
        } else {
            // Envoy runs elsewhere than we might: hand out absolute paths only.
            let given = PathBuf::from(configured);
            let path = std::path::absolute(&given).unwrap_or(given);
            let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(&path);
            made.map_err(|source| WorkDirError::Io { path: path.clone(), source })?;
            Self { path, temporary: None }
        };
        match this.path.to_str() {
            None => Err(WorkDirError::NotText { path: this.path }),
            Some(text) if text.len() > LONGEST_PATH => {
                Err(WorkDirError::TooLong { path: this.path, limit: LONGEST_PATH })
            }
            Some(_) => Ok(this),
        }
    }

    /// The directory, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same as text, as the control plane is told it.
    pub fn as_str(&self) -> &str {
        // Checked when it was opened.
        self.path.to_str().unwrap_or_default()
    }

    /// Whether it goes away at the end.
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Envoy's bootstrap.
    pub fn bootstrap(&self) -> PathBuf {
        self.path.join("bootstrap.yaml")
    }

    /// Pipe for access logs.
    pub fn access_logs(&self, name: &str, mesh: &str) -> PathBuf {
        sockets::access_log(self.as_str(), name, mesh).into()
    }

    /// Socket for metrics.
    pub fn metrics(&self, name: &str, mesh: &str) -> PathBuf {
        sockets::metrics(self.as_str(), name, mesh).into()
    }

    /// Where Envoy serves dynamic configuration.
    pub fn dynamic_config(&self) -> PathBuf {
        sockets::dynamic_config(self.as_str()).into()
    }

    /// Writes a file that only this user can read, whole or not at all.
    pub fn write_private(&self, file: &Path, content: &[u8]) -> Result<(), WorkDirError> {
        let failed = |source| WorkDirError::Io { path: file.to_owned(), source };
        let mut staged = file.as_os_str().to_owned();
        staged.push(".new");
        let staged = PathBuf::from(staged);
        let _ = fs::remove_file(&staged);
        let mut options = OpenOptions::new();
        let mut out = options.write(true).create_new(true).mode(0o600).open(&staged).map_err(failed)?;
        out.write_all(content).map_err(failed)?;
        fs::rename(&staged, file).map_err(failed)
    }
}

/// Keeps systemd-tmpfiles away. In folders such as /tmp it removes what nobody has used for ten days, and an Envoy reads its
/// bootstrap once: the next one, started because the first has died, would not find it any more. It does leave out whatever lies
/// in a directory that somebody has locked.
fn lock(dir: &Path) -> Option<Flock<File>> {
    // Not every file system has locks. Those that are tidied so have.
    Flock::lock(File::open(dir).ok()?, FlockArg::LockSharedNonblock).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_temporary_directory_goes_away_and_a_given_one_stays() {
        let temporary = WorkDir::open("").unwrap();
        let path = temporary.path().to_owned();
        assert_eq!(mode(&path), 0o711);
        assert!(path.file_name().unwrap().to_str().unwrap().starts_with("kuma-dp-"));
        drop(temporary);
        assert!(!path.exists());

        let parent = tempfile::tempdir().unwrap();
        let given = parent.path().join("a/b");
        drop(WorkDir::open(given.to_str().unwrap()).unwrap());
        assert_eq!(mode(&given), 0o711);
    }

    #[test]
    fn a_temporary_directory_is_not_tidied_away() {
        let dir = WorkDir::open("").unwrap();
        // What systemd-tmpfiles does before it looks into a directory.
        let tidy = || Flock::lock(File::open(dir.path()).unwrap(), FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e);
        assert_eq!(tidy().err(), Some(nix::errno::Errno::EWOULDBLOCK));
    }

    #[test]
    fn socket_paths_are_cut_as_the_control_plane_cuts_them() {
        let dir = WorkDir { path: "/run/kuma-dp".into(), temporary: None };
        let path = |name: &str| dir.access_logs(name, "default").into_os_string().into_string().unwrap();
        assert_eq!(path("web-1"), "/run/kuma-dp/kuma-al-web-1-default.sock");
        assert_eq!(path(&"n".repeat(120)).len(), 98 + ".sock".len());
        assert_eq!(dir.dynamic_config(), Path::new("/run/kuma-dp/kuma-mesh-metric-config.sock"));
    }

    #[test]
    fn a_directory_too_deep_for_sockets_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let deep = parent.path().join("d".repeat(90));
        let error = WorkDir::open(deep.to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("too long") && error.contains("--work-dir"), "{error}");
    }

    #[test]
    fn private_files_are_private_from_the_first_byte() {
        let dir = WorkDir::open("").unwrap();
        fs::write(dir.bootstrap(), "old").unwrap();
        dir.write_private(&dir.bootstrap(), b"new").unwrap();
        assert_eq!(fs::read_to_string(dir.bootstrap()).unwrap(), "new");
        assert_eq!(mode(&dir.bootstrap()), 0o600);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = WorkDir::open(file.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}
