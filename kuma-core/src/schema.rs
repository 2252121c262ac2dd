//! A small schema language for the specs of kinds: what a field may hold, whether it is required, what it defaults to.
//!
//! Each kind of shape `SpecStatus` describes its spec once, in the notation of this module. Admission checks and
//! defaults documents by it; published contracts (CRDs, OpenAPI) are written from it.

use serde_json::Value;

/// What a JSON value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Schema {
    /// An object with known fields; others are dropped silently.
    Object(Vec<Field>),
    /// An object from text to text.
    Labels,
    /// A list.
    List {
        /// What each item is.
        items: Box<Schema>,
        /// Fewest items.
        min: Option<usize>,
        /// Most items.
        max: Option<usize>,
    },
    /// A text.
    Text(TextRules),
    /// A whole number, format int32 unless `wide`.
    Integer {
        /// Smallest.
        min: Option<i64>,
        /// Largest.
        max: Option<i64>,
        /// Only these.
        one_of: Vec<i64>,
        /// 64 bits instead of 32.
        wide: bool,
    },
    /// A whole number or a text.
    IntOrText,
    /// True or false.
    Bool,
    /// A Go duration as text.
    Duration,
    /// Any JSON.
    Any,
}

/// Rules of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRules {
    /// Only these, in the order in which they are printed; empty means any.
    pub one_of: Vec<&'static str>,
    /// Fewest characters.
    pub min: Option<usize>,
    /// Most characters.
    pub max: Option<usize>,
    /// Regular expression that it must match.
    pub pattern: Option<&'static str>,
}

/// A field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// What it holds.
    pub schema: Schema,
    /// It must be there.
    pub required: bool,
    /// What it is when absent (applied only where its object is present).
    pub default: Option<Value>,
}

/// An optional field.
pub fn opt(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, required: false, default: None }
}

/// A required field.
pub fn req(name: &'static str, schema: Schema) -> Field {
    Field { name, schema, required: true, default: None }
}

impl Field {
    /// The same with a default.
    #[must_use]
    pub fn or(mut self, default: impl Into<Value>) -> Self {
        self.default = Some(default.into());
        self
    }
}

/// An object.
pub fn object<const N: usize>(fields: [Field; N]) -> Schema {
    Schema::Object(fields.into())
}

/// A list of any length.
pub fn list(items: Schema) -> Schema {
    Schema::List { items: Box::new(items), min: None, max: None }
}

/// A text of any content.
pub fn text() -> Schema {
    Schema::Text(TextRules::default())
}

/// One of some texts.
pub fn one_of<const N: usize>(values: [&'static str; N]) -> Schema {
    Schema::Text(TextRules { one_of: values.into(), ..TextRules::default() })
}

/// A 32-bit whole number.
pub fn int() -> Schema {
    Schema::Integer { min: None, max: None, one_of: Vec::new(), wide: false }
}

/// A 32-bit whole number within bounds, both included.
pub fn int_in(min: i64, max: i64) -> Schema {
    Schema::Integer { min: Some(min), max: Some(max), one_of: Vec::new(), wide: false }
}
