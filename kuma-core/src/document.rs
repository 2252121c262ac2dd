//! Texts of documents: YAML or JSON, several in one text. Says where a text is wrong, and refuses what would cost too much.
//!
//! A document becomes a JSON value here; [`crate::json`] makes a resource of it. The dialect is YAML 1.1 as the tools around
//! Kubernetes read it: `yes` and `on` are booleans, `0755` is octal, the last of duplicate keys wins.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::{
    DefaultMessageFormatter, MessageFormatter as _,
    budget::{Budget, BudgetBreach},
    options::DuplicateKeyPolicy,
};

/// What a text may cost. Beyond it the text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Length of the text in bytes.
    pub bytes: usize,
    /// Maps and lists in each other. Each level costs stack: 100 are too many for a thread of 2 MB in a debug build.
    pub depth: usize,
    /// Values of one document, keys included.
    pub nodes: usize,
    /// Values that aliases (`*name`) repeat in one document. A few lines can repeat millions.
    pub repeated: usize,
}

impl Limits {
    /// For what comes over the network: some megabytes of memory at most.
    pub const REQUEST: Self = Self { bytes: 4 << 20, depth: 50, nodes: 250_000, repeated: 20_000 };
    /// For files that the user names.
    pub const FILE: Self = Self { bytes: 256 << 20, depth: 50, nodes: 4_000_000, repeated: 250_000 };
}

/// A place in a text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Character in the line.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A byte that belongs to no UTF-8 character.
    #[error("{0}: the text is not UTF-8; save it as UTF-8")]
    Encoding(Place),
    /// More bytes than allowed.
    #[error("the text has {bytes} bytes, at most {most} are read")]
    Size {
        /// Its length.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// Another limit.
    #[error("{}the document is not read: {reason}", at(.place.as_ref()))]
    Cost {
        /// Where the limit was reached.
        place: Option<Place>,
        /// Which limit.
        reason: String,
    },
    /// It is neither YAML nor JSON.
    #[error("{}{reason}", at(.place.as_ref()))]
    Syntax {
        /// Where.
        place: Option<Place>,
        /// What is wrong there.
        reason: String,
    },
}

fn at(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!("{place}: "))
}

/// One document of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The document without separators.
    pub text: &'a str,
    /// Where it begins in the whole text.
    pub start: Place,
}

/// A value with what was odd about its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The document.
    pub value: Value,
    /// Duplicate keys (the first of them), for the author's eyes.
    pub warning: Option<String>,
}

/// The text of bytes that were read somewhere.
///
/// # Errors
/// Too many bytes, or no UTF-8.
pub fn text(bytes: &[u8], limits: Limits) -> Result<&str, Fault> {
    if bytes.len() > limits.bytes {
        return Err(Fault::Size { bytes: bytes.len(), most: limits.bytes });
    }
    std::str::from_utf8(bytes).map_err(|fault| {
        let good = String::from_utf8_lossy(&bytes[..fault.valid_up_to()]);
        Fault::Encoding(end_of(&good))
    })
}

/// Place after a text.
fn end_of(text: &str) -> Place {
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place { line: text.matches('\n').count() + 1, column: last.chars().count() + 1 }
}

/// Splits a text at `---` in the beginning of a line. What follows on that line belongs to the next document. Documents
/// that hold nothing but comments are left out.
pub fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut begin = Place { line: 1, column: 1 };
    let (mut start, mut line_start) = (0, 0);
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        // Four dashes and more are the frame of a PEM block, not a separator.
        if line.starts_with("---") && !line.starts_with("----") {
            parts.push((&text[start..line_start], begin));
            start = line_start + 3;
            begin = Place { line: number, column: 4 };
        }
        line_start += line.len();
    }
    parts.push((&text[start..], begin));
    parts.into_iter().map(|(text, start)| trimmed(text, start)).filter(|part| holds_something(part.text)).collect()
}

fn trimmed(text: &str, start: Place) -> Part<'_> {
    let blank = |c: char| c == '\u{feff}' || c.is_whitespace();
    let rest = text.trim_start_matches(blank);
    let skipped = end_of(&text[..text.len() - rest.len()]);
    let column = if skipped.line == 1 { start.column + skipped.column - 1 } else { skipped.column };
    Part { text: rest.trim_end(), start: Place { line: start.line + skipped.line - 1, column } }
}

fn holds_something(part: &str) -> bool {
    part.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#') && line != "...")
}

impl Part<'_> {
    /// A text that is one document.
    pub fn whole(text: &str) -> Part<'_> {
        trimmed(text, Place { line: 1, column: 1 })
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, with its place in the whole text.
    pub fn parse(&self, limits: Limits) -> Result<Parsed, Fault> {
        // JSON may be indented with tabs, which YAML does not like everywhere.
        if self.text.starts_with('{')
            && let Ok(value) = serde_json::from_str(self.text)
        {
            return Ok(Parsed { value, warning: None });
        }
        match self.read(limits, DuplicateKeyPolicy::Error) {
            Ok(value) => Ok(Parsed { value, warning: None }),
            Err(error) if matches!(*error, serde_saphyr::Error::DuplicateMappingKey { .. }) => {
                let warning = format!("{}; the last one counts", self.fault(&error, limits));
                Ok(Parsed { value: self.decode(limits)?, warning: Some(warning) })
            }
            Err(error) => Err(self.fault(&error, limits)),
        }
    }

    /// Reads it into a type whose texts take any scalar as it is written, such as `yes` and `12`.
    ///
    /// # Errors
    /// As for [`Part::parse`].
    pub fn decode<T: DeserializeOwned>(&self, limits: Limits) -> Result<T, Fault> {
        self.read(limits, DuplicateKeyPolicy::LastWins).map_err(|error| self.fault(&error, limits))
    }

    fn read<T: DeserializeOwned>(
        &self,
        limits: Limits,
        duplicates: DuplicateKeyPolicy,
    ) -> Result<T, Box<serde_saphyr::Error>> {
        serde_saphyr::from_str_with_options(self.text, options(limits, duplicates)).map_err(Box::new)
    }

    fn fault(&self, error: &serde_saphyr::Error, limits: Limits) -> Fault {
        let place = error.location().and_then(|location| {
            let number = |n: u64| usize::try_from(n).ok().filter(|n| *n > 0);
            let (line, column) = (number(location.line())?, number(location.column())?);
            let column = if line == 1 { self.start.column + column - 1 } else { column };
            Some(Place { line: self.start.line + line - 1, column })
        });
        match cost(original(error), limits) {
            Some(reason) => Fault::Cost { place, reason },
            None => Fault::Syntax { place, reason: DefaultMessageFormatter.format_message(error).into_owned() },
        }
    }
}

/// The error itself, where it happened while an alias was repeated.
fn original(error: &serde_saphyr::Error) -> &serde_saphyr::Error {
    match error {
        serde_saphyr::Error::AliasError { error, .. } => original(error),
        other => other,
    }
}

/// The limit that was reached, if it is one.
fn cost(error: &serde_saphyr::Error, limits: Limits) -> Option<String> {
    use serde_saphyr::Error;
    let Limits { bytes, depth, nodes, repeated } = limits;
    let levels = || format!("maps and lists are nested more than {depth} levels deep");
    Some(match error {
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => levels(),
        Error::Budget { breach: BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. }, .. } => {
            format!("it has more than {nodes} values")
        }
        Error::Budget { breach: BudgetBreach::ScalarBytes { .. }, .. } => format!("it has more than {bytes} bytes"),
        Error::Budget { breach: BudgetBreach::RecordedAnchorEvents { .. }, .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => format!("its aliases repeat more than {repeated} values"),
        Error::Budget { breach, .. } => format!("{breach:?}"),
        // The parser has a limit of its own for lists and maps in one line.
        other if DefaultMessageFormatter.format_message(other).contains("recursion limit exceeded") => levels(),
        _ => return None,
    })
}

fn options(limits: Limits, duplicates: DuplicateKeyPolicy) -> serde_saphyr::Options {
    let mut budget = Budget::default();
    budget.max_depth = limits.depth;
    budget.flow_nesting_limit = limits.depth;
    budget.max_nodes = limits.nodes;
    // A node is one event or two.
    budget.max_events = limits.nodes.saturating_mul(2);
    budget.max_total_scalar_bytes = limits.bytes;
    budget.max_recorded_anchor_events = limits.repeated;
    serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        duplicate_keys: duplicates,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: limits.repeated },
        budget: Some(budget)
    }
}

#[cfg(test)]
mod tests;
