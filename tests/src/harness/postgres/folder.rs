//! The folder of one server, which goes away with it, and with the test process if that ends first.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use super::account::Account;

/// What the keeper runs: a shell, since a library has no executable of its own to start.
const KEEPER: &str = include_str!("keeper.sh");

/// A folder that belongs to the server's user.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Waits for the end of its input, then ends what runs in the folder, and removes it.
    keeper: Child,
}

impl Folder {
    /// An empty one.
    pub(super) fn create() -> Self {
        let account = Account::get();
        let dir = tempfile::Builder::new().prefix("kuma-postgres-").tempdir_in(&account.room).unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        account.own_file(dir.path());
        let mut command = account.command(Path::new("/bin/sh"));
        command.args(["-c", KEEPER, "keeper"]).arg(dir.path());
        let keeper = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let keeper = keeper.unwrap_or_else(|error| panic!("cannot start /bin/sh: {error}"));
        Self { path: dir.keep(), keeper }
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that the server can read and other users cannot; its path.
    pub(super) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Account::get().own_file(&path);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It may have been killed.
        let _ = self.keeper.wait();
    }
}
