//! Logs of the control plane: one line per event, to standard error or to files that are rotated, with levels that can
//! be changed while it runs.
//!
//! A line holds the local time, the level, the component, the message and the fields as JSON, separated by tabs
//! (`line`). The component is the module that speaks, or the target that the event names, with dots. [`LogControl`]
//! changes levels, `rotate` is the file.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tracing_subscriber::layer::SubscriberExt;

pub mod levels;
mod line;
mod rotate;
#[cfg(test)]
mod tests;

pub use levels::{LogControl, LogLevel, OverrideError, UnknownLevel};
pub use line::{LineLabels, Lines};

/// What to log, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Level of everything that has no level of its own.
    pub level: LogLevel,
    /// File to log to instead of standard error.
    pub file: Option<PathBuf>,
    /// How many old files are kept; 0: all.
    pub max_retained_files: usize,
    /// Megabytes after which a file is put aside.
    pub max_size: u64,
    /// Days after which an old file is deleted; 0: never.
    pub max_age: u32,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { level: LogLevel::Info, file: None, max_retained_files: 1000, max_size: 100, max_age: 30 }
    }
}

/// Where lines go.
pub type Sink = Arc<Mutex<dyn Write + Send>>;

/// Starts logging for the whole process. Called once, before anything is logged.
pub fn start(options: &LogOptions) -> io::Result<LogControl> {
    let sink: Sink = match &options.file {
        None => Arc::new(Mutex::new(io::stderr())),
        Some(path) => Arc::new(Mutex::new(rotate::RotatingFile::open(path, options)?)),
    };
    let control = LogControl::new(options.level);
    let subscriber = tracing_subscriber::registry().with(line::Lines::new(sink, control.clone()));
    tracing::subscriber::set_global_default(subscriber).map_err(io::Error::other)?;
    Ok(control)
}
