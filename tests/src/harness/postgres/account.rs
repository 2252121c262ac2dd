//! Who the servers run as, and where that user finds executables and room for data.

use std::{
    env,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use nix::unistd::{User, geteuid};

/// Room for the name of a folder and of a socket in it, within the 107 bytes that the kernel allows.
const LONGEST: usize = 70;
/// User and group of `nobody` where the machine does not list it.
const NOBODY: u32 = 65_534;

/// A user that PostgreSQL agrees to run as: whoever runs the tests, but `nobody` in place of root, which it refuses.
pub(super) struct Account {
    /// User and group to change to.
    ids: Option<(u32, u32)>,
    /// The folder of the executables.
    executables: PathBuf,
    /// Where data folders are made.
    pub(super) room: PathBuf,
}

impl Account {
    /// The account for servers of this process. PostgreSQL is fetched on first use.
    pub(super) fn get() -> &'static Self {
        static ACCOUNT: OnceLock<Account> = OnceLock::new();
        ACCOUNT.get_or_init(|| if geteuid().is_root() { Self::nobody() } else { Self::own() })
    }

    fn own() -> Self {
        let fits = |dir: &PathBuf| dir.as_os_str().len() <= LONGEST;
        let room = [env::temp_dir()].into_iter().find(fits).unwrap_or_else(|| "/tmp".into());
        Self { ids: None, executables: found(release::postgres::ensure()), room }
    }

    fn nobody() -> Self {
        let user = User::from_name("nobody").unwrap();
        let ids = user.map_or((NOBODY, NOBODY), |user| (user.uid.as_raw(), user.gid.as_raw()));
        let places = [env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
        let fits = |dir: &&PathBuf| dir.as_os_str().len() <= LONGEST && is_open(dir);
        let Some(room) = places.iter().find(fits) else {
            panic!("no folder for the data of `nobody`, whom PostgreSQL has to run as: tried {places:?}");
        };
        let fetched = found(release::postgres::ensure());
        let executables = if is_open(&fetched) { fetched } else { found(release::postgres::ensure_in(room)) };
        Self { ids: Some(ids), executables, room: room.clone() }
    }

    /// A program of PostgreSQL, run by this user.
    pub(super) fn postgres(&self, program: &str) -> Command {
        self.command(&self.executables.join(program))
    }

    /// Any program, run by this user with an empty environment.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin");
        // Ctrl-C in a terminal ends the test; what it leaves is for the keeper of the folder.
        command.process_group(0);
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes this user the owner of a file.
    pub(super) fn own_file(&self, path: &Path) {
        if let Some((user, group)) = self.ids {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }
}

/// The executables, or one line that says what to do.
fn found(executables: anyhow::Result<PathBuf>) -> PathBuf {
    executables.unwrap_or_else(|error| panic!("{error:#}"))
}

/// Whether every user may enter a folder: it, and all that it lies in.
fn is_open(dir: &Path) -> bool {
    dir.canonicalize()
        .is_ok_and(|dir| dir.ancestors().all(|dir| dir.metadata().is_ok_and(|meta| meta.mode() & 0o001 != 0)))
}
