//! Where kuma-dp's own log goes: standard error, or a file that is rotated by size and tidied by number and age.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use tracing::level_filters::LevelFilter;

use crate::cli::{LogFlags, LogLevel};

/// Starts logging; call once.
pub fn start(flags: &LogFlags) -> anyhow::Result<()> {
    let level = match flags.log_level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_target(false);
    match &flags.log_output_path {
        Some(path) if !path.as_os_str().is_empty() => {
            let file = RotatingFile::open(path, flags).with_context(|| format!("cannot log to {}", path.display()))?;
            builder.with_ansi(false).with_writer(Mutex::new(file)).init();
        }
        _ => builder.with_ansi(io::stderr().is_terminal()).with_writer(io::stderr).init(),
    }
    Ok(())
}

/// A log file; `name.log` becomes `name-<milliseconds>.log` when it is full.
#[derive(Debug)]
struct RotatingFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// It is set aside before it grows beyond this; 0: never.
    most_bytes: u64,
    /// How many that were set aside are kept; 0: all.
    most_files: usize,
    /// How long those are kept; 0: for ever.
    longest_age: Duration,
}

impl RotatingFile {
    fn open(path: &Path, flags: &LogFlags) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        Ok(Self {
            path: path.to_owned(),
            size: file.metadata()?.len(),
            file,
            most_bytes: flags.log_max_size.saturating_mul(1024 * 1024),
            most_files: flags.log_max_retained_files,
            longest_age: Duration::from_secs(flags.log_max_age.saturating_mul(24 * 3600)),
        })
    }

    fn rotate(&mut self, now: SystemTime) -> io::Result<()> {
        let millis = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let (stem, extension) = self.name_parts();
        std::fs::rename(&self.path, self.path.with_file_name(format!("{stem}-{millis}{extension}")))?;
        self.file = append(&self.path)?;
        self.size = 0;
        self.tidy(now);
        Ok(())
    }

    fn name_parts(&self) -> (String, String) {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = text(self.path.extension());
        (text(self.path.file_stem()), if extension.is_empty() { extension } else { format!(".{extension}") })
    }

    /// Removes rotated files that are too many or too old; what cannot be removed stays.
    fn tidy(&self, now: SystemTime) {
        let (stem, extension) = self.name_parts();
        let Some(Ok(entries)) = self
            .path
            .parent()
            .map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p })
            .map(std::fs::read_dir)
        else {
            return;
        };
        let mut rotated: Vec<(u128, PathBuf)> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let millis = name.strip_prefix(&format!("{stem}-"))?.strip_suffix(&extension)?.parse().ok()?;
                Some((millis, entry.path()))
            })
            .collect();
        rotated.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(self.longest_age).as_millis();
        for (position, (millis, path)) in rotated.into_iter().enumerate() {
            let is_too_many = self.most_files > 0 && position >= self.most_files;
            if is_too_many || (millis < oldest && !self.longest_age.is_zero()) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.most_bytes > 0 && self.size > 0 && self.size + bytes.len() as u64 > self.most_bytes {
            self.rotate(SystemTime::now())?;
        }
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: usize = 1024 * 1024;

    fn flags(log_max_retained_files: usize, log_max_size: u64, log_max_age: u64) -> LogFlags {
        LogFlags { log_level: LogLevel::Info, log_output_path: None, log_max_retained_files, log_max_size, log_max_age }
    }

    /// Writes a megabyte five times; the names of the files that there are then.
    fn five_megabytes(path: &Path, flags: &LogFlags) -> Vec<String> {
        let mut file = RotatingFile::open(path, flags).unwrap();
        std::fs::write(path.with_file_name("dp-1.log"), "ancient").unwrap();
        for _ in 0..5 {
            file.write_all(&vec![b'x'; MEGABYTE]).unwrap();
            // Names of rotated files carry milliseconds.
            std::thread::sleep(Duration::from_millis(3));
        }
        let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_set_aside_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/dp.log");
        let names = five_megabytes(&path, &flags(2, 1, 30));
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names.contains(&"dp.log".into()) && !names.contains(&"dp-1.log".into()), "{names:?}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), MEGABYTE as u64);
    }

    #[test]
    fn zero_switches_a_limit_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("all/dp.log");
        let names = five_megabytes(&path, &flags(0, 1, 0));
        assert_eq!(names.len(), 6, "everything is kept: {names:?}");

        let path = dir.path().join("one/dp.log");
        let names = five_megabytes(&path, &flags(2, 0, 30));
        assert_eq!(names, ["dp-1.log", "dp.log"], "nothing is set aside");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 5 * MEGABYTE as u64);
    }

    #[test]
    fn limits_beyond_all_numbers_are_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let file = RotatingFile::open(&dir.path().join("dp.log"), &flags(1, u64::MAX, u64::MAX)).unwrap();
        assert_eq!((file.most_bytes, file.longest_age), (u64::MAX, Duration::from_secs(u64::MAX)));
    }
}
