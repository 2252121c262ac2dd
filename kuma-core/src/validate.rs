//! Violations: what is wrong with a resource, each with the path of the field, all of them at once.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path such as `spec.to[0].default.http` or `labels["kuma.io/zone"]`; empty for the whole document.
    pub field: String,
    /// What is wrong, as shown to the user.
    pub message: String,
}

/// Everything that is wrong with one resource, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// Nothing is wrong (yet).
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a violation at `at`.
    pub fn add(&mut self, at: &Path, message: impl Into<String>) {
        self.0.push(Violation { field: at.0.clone(), message: message.into() });
    }

    /// True if nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ok if nothing is wrong, else the list.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Violations {
    /// `field: message; field: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, v) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", v.field, v.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Messages that many rules share.
pub mod text {
    /// It is missing.
    pub const DEFINED: &str = "must be defined";
    /// It is there but may not be.
    pub const NOT_DEFINED: &str = "must not be defined";
    /// It is missing or empty.
    pub const SET: &str = "must be set";
    /// It is there without content.
    pub const NOT_EMPTY: &str = "must not be empty";
    /// A number that is 0.
    pub const POSITIVE: &str = "must be greater than 0";
    /// A duration that is given, but not positive.
    pub const POSITIVE_WHEN_DEFINED: &str = "must be greater than zero when defined";
    /// A value that is missing or not positive.
    pub const DEFINED_AND_POSITIVE: &str = "must be defined and greater than zero";
    /// A duration below zero.
    pub const NOT_NEGATIVE: &str = "must not be negative when defined";
    /// A text that is no number.
    pub const NUMBER: &str = "string must be a valid number";
    /// A percentage out of range.
    pub const PERCENTAGE: &str = "must be in inclusive range [0.0, 100.0]";
    /// A policy without content.
    pub const TO_OR_RULES: &str = "at least one of 'to' or 'rules' has to be defined";
    /// A setting of the connection below a condition on the client.
    pub const NOT_BY_IDENTITY: &str =
        "can't be specified when matches contain spiffeID because this field cannot be conditioned on source identity";
}

/// Path of a field, built downwards: `Path::root("spec").field("to").index(0)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path that starts at a top-level field; empty text for the document.
    pub fn root(name: &str) -> Self {
        Self(name.into())
    }

    /// A field below.
    #[must_use]
    pub fn field(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.into()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// A list item below.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A map entry below.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[\"{key}\"]", self.0))
    }

    /// The text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
