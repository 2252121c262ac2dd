//! Writes and unpacks a `.tar.gz` whose bytes depend on names and contents alone.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use crate::wheel;

/// One file of an archive.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path inside the archive, with slashes.
    pub path: String,
    /// Whether it may be run: mode 0755, else 0644.
    pub executable: bool,
    /// What is in it.
    pub content: Content,
}

/// Where the bytes of an [`Entry`] come from.
#[derive(Debug, Clone)]
pub enum Content {
    /// From memory.
    Bytes(Vec<u8>),
    /// From a file, which is read when the archive is written.
    File(PathBuf),
}

impl Content {
    /// SHA-256 of the bytes, lower-case hex.
    pub fn sha256(&self) -> Result<String> {
        match self {
            Self::Bytes(bytes) => Ok(wheel::hex(&Sha256::digest(bytes))),
            Self::File(path) => wheel::sha256(path),
        }
    }
}

/// Writes the entries in the order given, with `epoch` as the date of each.
pub(super) fn write(out: impl Write, entries: &[Entry], epoch: u64, level: Compression) -> Result<()> {
    // No time and no file name in the header: both would differ from run to run.
    let gzip = GzBuilder::new().mtime(0).operating_system(255).write(BufWriter::new(out), level);
    let mut tar = tar::Builder::new(gzip);
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mode(if entry.executable { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(epoch);
        header.set_entry_type(tar::EntryType::Regular);
        match &entry.content {
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, &entry.path, bytes.as_slice())?;
            }
            Content::File(path) => {
                let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                header.set_size(file.metadata()?.len());
                tar.append_data(&mut header, &entry.path, file)?;
            }
        }
    }
    tar.into_inner()?.finish()?.flush()?;
    Ok(())
}

/// Unpacks an archive into an existing folder.
pub fn unpack(archive: &Path, into: &Path) -> Result<()> {
    let file = File::open(archive).with_context(|| format!("cannot open {}", archive.display()))?;
    tar::Archive::new(GzDecoder::new(file))
        .unpack(into)
        .with_context(|| format!("cannot unpack {} into {}", archive.display(), into.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn entries(file: &Path) -> Vec<Entry> {
        vec![
            Entry { path: "x/a".into(), executable: false, content: Content::Bytes(b"text".to_vec()) },
            Entry { path: "x/bin/b".into(), executable: true, content: Content::File(file.to_path_buf()) },
        ]
    }

    #[test]
    fn the_same_entries_give_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let archive = |name: &str| {
            let file = dir.path().join(name);
            fs::write(&file, b"program").unwrap();
            let mut bytes = Vec::new();
            write(&mut bytes, &entries(&file), 1_000_000_000, Compression::fast()).unwrap();
            bytes
        };
        let first = archive("one");
        // Another name, another inode, another date of the source file.
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(first, archive("two"));
    }

    #[test]
    fn unpacks_names_modes_dates_and_contents() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("program");
        fs::write(&file, b"program").unwrap();
        let archive = dir.path().join("a.tar.gz");
        write(File::create(&archive).unwrap(), &entries(&file), 1_000_000_000, Compression::fast()).unwrap();
        unpack(&archive, dir.path()).unwrap();
        let program = dir.path().join("x/bin/b");
        assert_eq!(fs::read(&program).unwrap(), b"program");
        let meta = fs::metadata(&program).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.mtime()), (0o755, 1_000_000_000));
        assert_eq!(fs::read(dir.path().join("x/a")).unwrap(), b"text");
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = entries(Path::new("/nonexistent/program"));
        let error = write(Vec::new(), &missing, 0, Compression::fast()).unwrap_err();
        assert!(format!("{error:#}").contains("/nonexistent/program"), "{error:#}");
    }
}
