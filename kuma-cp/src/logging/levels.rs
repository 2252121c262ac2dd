//! Which component logs how much: one level for all, and overrides that can be set while the control plane runs.

use std::{
    collections::BTreeMap,
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use prometheus_client::metrics::{counter::Counter, family::Family};
use tracing::{Level, level_filters::LevelFilter};

use super::line::LineLabels;

/// At most this many overrides at a time.
const MAX_OVERRIDES: usize = 200;
const MAX_NAME: usize = 256;

/// Libraries that have much to say that is of no use here: only their warnings are shown, unless an override names them.
const LIBRARIES: [&str; 11] =
    ["h2", "hyper", "hyper_util", "tonic", "tower", "rustls", "tokio", "tokio_util", "mio", "reqwest", "sqlx"];

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What an operator wants to know.
    #[default]
    Info,
    /// Everything.
    Debug,
}

/// A level that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level {0:?}")]
pub struct UnknownLevel(String);

impl LogLevel {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

impl FromStr for LogLevel {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        let all = [Self::Off, Self::Info, Self::Debug];
        all.into_iter().find(|l| l.as_str() == text).ok_or_else(|| UnknownLevel(text.to_owned()))
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an override was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// No name.
    #[error("component name must not be empty")]
    Empty,
    /// A name that is too long.
    #[error("component name exceeds {MAX_NAME} characters")]
    TooLong,
    /// A name with something else than letters, digits, dots, underscores and dashes.
    #[error("component name {0:?} contains invalid characters")]
    Characters(String),
    /// There are too many.
    #[error("maximum number of component overrides ({MAX_OVERRIDES}) reached")]
    TooMany,
}

/// Is it a name that a component can have?
pub fn check_name(name: &str) -> Result<(), OverrideError> {
    let formed = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match name {
        "" => Err(OverrideError::Empty),
        _ if name.len() > MAX_NAME => Err(OverrideError::TooLong),
        _ if !formed => Err(OverrideError::Characters(name.to_owned())),
        _ => Ok(()),
    }
}

type Overrides = BTreeMap<String, LogLevel>;

/// Reads and changes levels. Clones share them.
#[derive(Clone, Debug)]
pub struct LogControl(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    level: LogLevel,
    overrides: ArcSwap<Overrides>,
    /// Held while overrides are changed, so that no change is lost.
    changing: Mutex<()>,
    lines: Family<LineLabels, Counter>,
}

impl LogControl {
    /// With one level for all.
    pub fn new(level: LogLevel) -> Self {
        let (overrides, changing, lines) = (ArcSwap::default(), Mutex::new(()), Family::default());
        Self(Arc::new(Inner { level, overrides, changing, lines }))
    }

    /// The overrides that are set, by component.
    pub fn overrides(&self) -> BTreeMap<String, LogLevel> {
        BTreeMap::clone(&self.0.overrides.load())
    }

    /// Sets the level of a component and of all below it: `xds` covers `xds.server`, and the most specific one counts.
    pub fn set(&self, component: &str, level: LogLevel) -> Result<(), OverrideError> {
        check_name(component)?;
        self.change(|overrides| {
            if overrides.len() >= MAX_OVERRIDES && !overrides.contains_key(component) {
                return Err(OverrideError::TooMany);
            }
            overrides.insert(component.to_owned(), level);
            Ok(())
        })
    }

    /// Takes the override of a component away, if it has one.
    pub fn clear(&self, component: &str) -> Result<(), OverrideError> {
        check_name(component)?;
        self.change(|overrides| overrides.remove(component));
        Ok(())
    }

    /// Takes all overrides away, and returns them.
    pub fn clear_all(&self) -> BTreeMap<String, LogLevel> {
        self.change(std::mem::take)
    }

    /// How many lines each component has logged.
    pub fn lines(&self) -> Family<LineLabels, Counter> {
        self.0.lines.clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Overrides) -> T) -> T {
        let guard = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut overrides = self.overrides();
        let result = change(&mut overrides);
        self.0.overrides.store(Arc::new(overrides));
        drop(guard);
        // Every place in the code that logs remembers whether it does.
        tracing::callsite::rebuild_interest_cache();
        result
    }

    /// Does this component log at this level?
    pub(super) fn allows(&self, component: &str, level: Level) -> bool {
        let overrides = self.0.overrides.load();
        let filter = covering(component).find_map(|name| overrides.get(name)).map(|l| l.filter());
        let default = || {
            let own = self.0.level.filter();
            let root = component.split('.').next().unwrap_or_default();
            if LIBRARIES.contains(&root) { own.min(LevelFilter::WARN) } else { own }
        };
        level <= filter.unwrap_or_else(default)
    }

    /// The most that anybody logs.
    pub(super) fn most(&self) -> LevelFilter {
        let overrides = self.0.overrides.load();
        overrides.values().copied().chain([self.0.level]).max().unwrap_or_default().filter()
    }
}

/// A component and everything that covers it, the most specific first: `a.b.c`, `a.b`, `a`.
fn covering(component: &str) -> impl Iterator<Item = &str> {
    let ends = component.match_indices('.').map(|(at, _)| at).collect::<Vec<_>>().into_iter().rev();
    std::iter::once(component).chain(ends.map(move |at| &component[..at]))
}
