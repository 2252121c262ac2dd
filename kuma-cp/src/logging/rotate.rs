//! A log file that is put aside when it is full, under a name with the time, and old ones that are deleted.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};

use super::LogOptions;

const MEGABYTE: u64 = 1024 * 1024;
/// `kuma.log` is put aside as `kuma-2021-06-07T09-15-18.265.log`, in UTC.
const TIME_IN_NAME: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// Appends to a file, and puts it aside before it grows beyond a size.
pub(super) struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    max_size: u64,
    max_retained: usize,
    max_age: u32,
    now: fn() -> Timestamp,
}

impl RotatingFile {
    /// Opens or creates the file, and the directory that it is in.
    pub(super) fn open(path: &Path, options: &LogOptions) -> io::Result<Self> {
        Self::open_at(path, options.max_size * MEGABYTE, options, Timestamp::now)
    }

    pub(super) fn open_at(
        path: &Path,
        max_size: u64,
        options: &LogOptions,
        now: fn() -> Timestamp,
    ) -> io::Result<Self> {
        if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        }
        let file = append(path)?;
        let size = file.metadata()?.len();
        let (max_retained, max_age) = (options.max_retained_files, options.max_age);
        let this = Self { path: path.to_owned(), file, size, max_size, max_retained, max_age, now };
        this.delete_old();
        Ok(this)
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let mut at = (self.now)();
        let mut name = self.name_at(at);
        while name.exists() {
            at += SignedDuration::from_millis(1);
            name = self.name_at(at);
        }
        fs::rename(&self.path, name)?;
        self.file = append(&self.path)?;
        self.size = 0;
        self.delete_old();
        Ok(())
    }

    /// The name of the file without its ending, a dash, and the ending with its dot.
    fn parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let ending = self.path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
        (format!("{}-", text(self.path.file_stem())), ending)
    }

    fn name_at(&self, time: Timestamp) -> PathBuf {
        let (stem, ending) = self.parts();
        self.path.with_file_name(format!("{stem}{}{ending}", time.strftime(TIME_IN_NAME)))
    }

    /// Deletes what is too old or too much. What cannot be deleted stays: it is tried again next time.
    fn delete_old(&self) {
        let (stem, ending) = self.parts();
        let dir = self.path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut old: Vec<(Timestamp, PathBuf)> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let time = name.to_str()?.strip_prefix(&stem)?.strip_suffix(&ending)?;
                let time = DateTime::strptime(TIME_IN_NAME, time).ok()?.to_zoned(TimeZone::UTC).ok()?;
                Some((time.timestamp(), entry.path()))
            })
            .collect();
        old.sort();
        old.reverse();
        let oldest = (self.now)() - SignedDuration::from_hours(24 * i64::from(self.max_age));
        for (index, (time, path)) in old.into_iter().enumerate() {
            let too_many = self.max_retained > 0 && index >= self.max_retained;
            if too_many || (self.max_age > 0 && time < oldest) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.max_size > 0 && self.size > 0 && self.size + line.len() as u64 > self.max_size {
            // When it cannot be put aside, it goes on growing: better than losing lines.
            let _ = self.put_aside();
        }
        let written = self.file.write(line)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
