//! Keys that outlive a store in memory: they lie in the work directory, beside the server certificate.
//!
//! Without them every token that was ever issued would be refused after a restart, and proxies could not come back by
//! themselves. The folder follows the state: a key that is made, rotated or deleted is so here as well, and with the
//! keys go the lists of revoked tokens, since a key that outlived its list would make revoked tokens valid again. What
//! is here goes back into the store once: as soon as its Mesh is there for the first time since the start.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use kuma_core::{
    registry::Kind,
    resource::Key,
    resources::{GlobalSecret, Secret, SecretBytes},
    state::MeshState,
};

use crate::dp_server::admin_ca::ADMIN_CA_SECRET;

/// The folder in the work directory.
const FOLDER: &str = "secrets";
/// Stands for "no mesh": no Mesh can have this name.
const GLOBAL: &str = "_";

/// The folder and what is known of it.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
    /// What has been in the state since the start.
    written: BTreeMap<Key, SecretBytes>,
    /// Meshes whose files were read.
    read: BTreeSet<String>,
    /// A failure is told once.
    told: bool,
}

impl Kept {
    /// In this work directory. Nothing is read or written yet.
    pub fn in_work_dir(work_dir: &Path) -> Self {
        Self { folder: work_dir.join(FOLDER), written: BTreeMap::new(), read: BTreeSet::new(), told: false }
    }

    /// What an earlier start left for this mesh (empty: for none), the first time it is asked.
    pub fn take(&mut self, mesh: &str) -> Vec<(Key, SecretBytes)> {
        if !self.read.insert(mesh.to_owned()) {
            return Vec::new();
        }
        match read(&self.folder.join(folder_of(mesh)), mesh) {
            Ok(found) => found,
            Err(error) => {
                self.tell(&error);
                Vec::new()
            }
        }
    }

    /// Makes the files follow the state. Files of Meshes that have not been there yet stay.
    pub fn follow(&mut self, state: &MeshState) {
        let now = kept_of(state);
        let gone: Vec<Key> = self.written.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
        for key in gone {
            match fs::remove_file(self.file(&key)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => self.tell(&error),
                _ => drop(self.written.remove(&key)),
            }
        }
        for (key, bytes) in now {
            if self.written.get(&key) == Some(&bytes) {
                continue;
            }
            match write(&self.file(&key), bytes.expose()) {
                Ok(()) => drop(self.written.insert(key, bytes)),
                Err(error) => self.tell(&error),
            }
        }
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.folder.join(folder_of(&key.mesh)).join(&*key.name)
    }

    fn tell(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                %error, folder = %self.folder.display(),
                "keys are not kept in the work directory: tokens that are issued now end with this process"
            );
        }
    }
}

fn folder_of(mesh: &str) -> &str {
    if mesh.is_empty() { GLOBAL } else { mesh }
}

/// Is this a secret that is kept?
fn is_kept(mesh: &str, name: &str) -> bool {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if mesh.is_empty() {
        name == ADMIN_CA_SECRET || begins(&["user-token-", "zone-token-", "dataplane-token-revocations-"])
    } else {
        begins(&["dataplane-token-"])
    }
}

fn kept_of(state: &MeshState) -> BTreeMap<Key, SecretBytes> {
    let secrets = state.list(Kind::Secret).filter_map(|r| Some((r.key(), r.spec::<Secret>()?.data.clone())));
    let global = state.list(Kind::GlobalSecret).filter_map(|r| Some((r.key(), r.spec::<GlobalSecret>()?.data.clone())));
    secrets.chain(global).filter(|(key, _)| is_kept(&key.mesh, &key.name)).collect()
}

/// The files of one mesh.
fn read(folder: &Path, mesh: &str) -> io::Result<Vec<(Key, SecretBytes)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let kind = if mesh.is_empty() { Kind::GlobalSecret } else { Kind::Secret };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Others, such as what an interrupted write left, are none of ours.
        if let Some(name) = entry.file_name().to_str().filter(|name| is_kept(mesh, name) && !name.ends_with(".tmp")) {
            found.push((Key::new(kind, mesh, name), SecretBytes::new(fs::read(entry.path())?)));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// Writes a file that only this user may read, whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // A name may hold dots: nothing of it is replaced.
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use kuma_core::{
        meta::{Labels, Meta},
        resource::{AnyResource, NoStatus},
    };

    use super::*;

    fn state(secrets: &[(&str, &str, &str)]) -> MeshState {
        MeshState::of(secrets.iter().map(|(mesh, name, data)| {
            let meta = Meta::new(*mesh, *name, Labels::new());
            let data = SecretBytes::new(data.as_bytes().to_vec());
            if mesh.is_empty() {
                AnyResource::new(meta, GlobalSecret { data }, NoStatus {})
            } else {
                AnyResource::new(meta, Secret { data }, NoStatus {})
            }
        }))
    }

    fn names(found: &[(Key, SecretBytes)]) -> Vec<(&str, &str)> {
        found.iter().map(|(key, data)| (&*key.name, std::str::from_utf8(data.expose()).unwrap())).collect()
    }

    #[test]
    fn keys_come_back_after_a_restart_with_their_revocations_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::in_work_dir(dir.path());
        assert!(kept.take("").is_empty());
        kept.follow(&state(&[
            ("", "user-token-signing-key-1", "user"),
            ("", "my-password", "mine"),
            ("shop", "dataplane-token-signing-key-shop-1", "one"),
            ("shop", "dataplane-token-signing-key-shop-2", "two"),
            ("shop", "dataplane-token-revocations-shop", "a,b"),
            ("shop", "certificate", "mine"),
        ]));

        let mut again = Kept::in_work_dir(dir.path());
        assert_eq!(names(&again.take("")), [("user-token-signing-key-1", "user")]);
        let shop = again.take("shop");
        assert_eq!(
            names(&shop),
            [
                ("dataplane-token-revocations-shop", "a,b"),
                ("dataplane-token-signing-key-shop-1", "one"),
                ("dataplane-token-signing-key-shop-2", "two"),
            ]
        );
        assert!(shop.iter().all(|(key, _)| key.kind == Kind::Secret && &*key.mesh == "shop"));
        assert!(again.take("shop").is_empty(), "a Mesh that is made anew gets new keys");
        assert!(again.take("other").is_empty());
    }

    #[test]
    fn a_deleted_key_is_forgotten_and_that_of_an_absent_mesh_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (("a", "dataplane-token-signing-key-a-1", "1"), ("b", "dataplane-token-signing-key-b-1", "1"));
        Kept::in_work_dir(dir.path()).follow(&state(&[a, b]));

        let mut kept = Kept::in_work_dir(dir.path());
        kept.follow(&state(&[a]));
        kept.follow(&state(&[]));
        let mut again = Kept::in_work_dir(dir.path());
        assert!(again.take("a").is_empty());
        assert_eq!(again.take("b").len(), 1);
    }

    #[test]
    fn a_rotated_key_is_replaced_and_only_this_user_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut kept = Kept::in_work_dir(dir.path());
        kept.follow(&state(&[("", "zone-token-signing-key-1", "old")]));
        kept.follow(&state(&[("", "zone-token-signing-key-1", "new")]));
        assert_eq!(names(&Kept::in_work_dir(dir.path()).take("")), [("zone-token-signing-key-1", "new")]);
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("secrets/_/zone-token-signing-key-1"), 0o600);
        assert_eq!(mode("secrets/_"), 0o700);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut kept = Kept::in_work_dir(file.path());
        kept.follow(&state(&[("", "zone-token-signing-key-1", "k")]));
        assert!(kept.take("").is_empty());
        assert!(kept.told);
    }
}
