//! Packs what a user unpacks: `kuma-<version>/` with executables, a sample configuration, licences and checksums.
//!
//! The same commit gives the same bytes, on any machine with the pinned compiler: entries are sorted, dates are
//! the commit's, owners are root, and no build path is left in an executable.

mod licences;
mod tarball;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use flate2::Compression;

use crate::executables::{self, Build};
use crate::source::Source;
use crate::{envoy, wheel, workspace};

pub use tarball::{Content, Entry, unpack};

/// What lies in `conf/`: configurations of the control plane, units and helpers for a Linux host.
pub const CONF: [(&str, &str); 7] = [
    ("kuma-cp.conf.yml", include_str!("../assets/kuma-cp.conf.yml")),
    ("kuma-cp.defaults.yaml", include_str!("../../kuma-cp/conf/kuma-cp.defaults.yaml")),
    ("logrotate/kuma", include_str!("../assets/logrotate/kuma")),
    ("systemd/kuma-cp.service", include_str!("../assets/systemd/kuma-cp.service")),
    ("systemd/kuma-cp.service.d/postgres.conf", include_str!("../assets/systemd/kuma-cp.service.d/postgres.conf")),
    ("systemd/kuma-dp@.service", include_str!("../assets/systemd/kuma-dp@.service")),
    ("systemd/sysusers.conf", include_str!("../assets/systemd/sysusers.conf")),
];
/// The first thing a reader of the archive opens.
const README: &str = include_str!("../assets/README.txt");
const LICENSE: &str = include_str!("../../LICENSE");
const NOTICE: &str = include_str!("../../NOTICE");

/// A written archive.
#[derive(Debug)]
pub struct Archive {
    /// Where it lies.
    pub path: PathBuf,
    /// Size in bytes.
    pub size: u64,
    /// The one folder inside, such as `kuma-1.2.3`.
    pub folder: String,
}

/// Everything that goes into an archive, built and at hand.
#[derive(Debug)]
pub struct Parts {
    how: Build,
    source: Source,
    built: BTreeMap<String, PathBuf>,
    envoy: PathBuf,
}

/// Builds the executables, showing cargo's progress, and fetches Envoy.
pub fn build(how: Build) -> Result<Parts> {
    let source = Source::read()?;
    let built = executables::build(how, &source)?;
    Ok(Parts { how, source, built, envoy: envoy::ensure()? })
}

impl Parts {
    /// Writes the archive into `into`, which is created.
    pub fn pack(&self, into: &Path) -> Result<Archive> {
        let folder = format!("kuma-{}", workspace::VERSION);
        let entries = entries(&folder, &self.built, &self.envoy)?;

        fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
        let path = into.join(file_name()?);
        // Written aside and renamed, so that an interrupted run leaves no half archive under the right name.
        let partial = path.with_extension("partial");
        let file = File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
        let compression = match self.how {
            Build::Shipped => Compression::new(6),
            Build::Debug => Compression::fast(),
        };
        tarball::write(file, &entries, self.source.epoch, compression)
            .and_then(|()| Ok(fs::rename(&partial, &path)?))
            .inspect_err(|_| drop(fs::remove_file(&partial)))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Archive { size: fs::metadata(&path)?.len(), path, folder })
    }
}

/// `release archive`: packs into `into` and says what came out.
pub fn run(into: &Path, how: Build) -> Result<()> {
    let parts = build(how)?;
    if parts.source.dirty {
        eprintln!("note: the work tree differs from its commit, so nobody can make the same archive again");
    }
    let archive = parts.pack(into)?;
    let sum = wheel::sha256(&archive.path)?;
    let name = archive.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let sum_path = archive.path.with_file_name(format!("{name}.sha256"));
    fs::write(&sum_path, format!("{sum}  {name}\n")).with_context(|| format!("cannot write {}", sum_path.display()))?;
    println!("{}  {:.1} MB  sha256 {sum}", archive.path.display(), archive.size as f64 / 1e6);
    Ok(())
}

fn file_name() -> Result<String> {
    // The names that container images and Go use, as users know them from other releases.
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => return Err(anyhow!("no release is made for {other}")),
    };
    Ok(format!("kuma-{}-linux-{arch}.tar.gz", workspace::VERSION))
}

fn entries(folder: &str, built: &BTreeMap<String, PathBuf>, envoy: &Path) -> Result<Vec<Entry>> {
    let text = |name: &str, content: String| Entry {
        path: name.to_owned(),
        executable: false,
        content: Content::Bytes(content.into_bytes()),
    };
    let program = |name: &str, path: &Path| Entry {
        path: format!("bin/{name}"),
        executable: true,
        content: Content::File(path.to_path_buf()),
    };
    let mut entries = vec![
        program("envoy", envoy),
        text("LICENSE", LICENSE.to_owned()),
        text("NOTICE", NOTICE.to_owned()),
        text("README", README.replace("{version}", workspace::VERSION).replace("{envoy}", envoy::ENVOY.version)),
        text("THIRD-PARTY-LICENSES", licences::collect(&executables::SHIPPED)?),
    ];
    entries.extend(CONF.map(|(name, content)| text(&format!("conf/{name}"), content.to_owned())));
    entries.extend(built.iter().map(|(name, path)| program(name, path)));
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let sums = entries.iter().map(|entry| Ok(format!("{}  {}\n", entry.content.sha256()?, entry.path)));
    let sums = sums.collect::<Result<String>>()?;
    entries.push(text("SHA256SUMS", sums));
    for entry in &mut entries {
        entry.path = format!("{folder}/{}", entry.path);
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_the_folder_with_sums_of_everything() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, b"hello").unwrap();
        let built = executables::SHIPPED.map(|name| (name.to_owned(), program.clone())).into();
        let entries = entries("kuma-1.2.3", &built, &program).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| entry.path.strip_prefix("kuma-1.2.3/").unwrap()).collect();
        let expected = [
            "LICENSE",
            "NOTICE",
            "README",
            "SHA256SUMS",
            "THIRD-PARTY-LICENSES",
            "bin/envoy",
            "bin/kuma-cp",
            "bin/kuma-dp",
            "bin/kumactl",
            "conf/kuma-cp.conf.yml",
            "conf/kuma-cp.defaults.yaml",
            "conf/logrotate/kuma",
            "conf/systemd/kuma-cp.service",
            "conf/systemd/kuma-cp.service.d/postgres.conf",
            "conf/systemd/kuma-dp@.service",
            "conf/systemd/sysusers.conf",
        ];
        assert_eq!(names, expected);

        // The sums are what `sha256sum -c` reads, and cover every other file.
        let archive = dir.path().join("a.tar.gz");
        tarball::write(File::create(&archive).unwrap(), &entries, 1, Compression::fast()).unwrap();
        unpack(&archive, dir.path()).unwrap();
        let unpacked = dir.path().join("kuma-1.2.3");
        let sums = fs::read_to_string(unpacked.join("SHA256SUMS")).unwrap();
        let named: Vec<_> = sums.lines().map(|line| line.split_once("  ").unwrap()).collect();
        assert_eq!(named.len(), expected.len() - 1);
        for (sum, name) in named {
            assert_eq!(wheel::sha256(&unpacked.join(name)).unwrap(), sum, "{name}");
        }
    }
}
