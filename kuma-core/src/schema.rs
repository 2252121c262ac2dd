//! A small schema language for the specs of kinds: what a field may hold, whether it is required, what it defaults to.
//!
//! Each kind describes its spec once, in the notation of this module. Documents of shape `SpecStatus` are defaulted and
//! checked by it ([`check`]); documents of shape `Flat` are read by it with the leniency of protobuf JSON ([`flat`]).
//! Fields that it does not know can be told ([`unknown`]).
//! Published contracts (CRDs, OpenAPI) are written from it.

pub mod check;
pub mod flat;
pub mod unknown;

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
    /// A whole number.
    Integer(IntegerRules),
    /// A whole number or a text.
    IntOrText,
    /// True or false.
    Bool,
    /// A duration as text: Go's form under `SpecStatus` (its form is the decoder's business, not the schema's),
    /// protobuf's (`"1.500s"`) under `Flat`.
    Duration,
    /// An RFC 3339 time.
    Time,
    /// Bytes as base64.
    Bytes,
    /// Any JSON.
    Any,
}

/// Rules of a whole number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntegerRules {
    /// Smallest.
    pub min: Option<i64>,
    /// Largest.
    pub max: Option<i64>,
    /// Only these; empty means any.
    pub one_of: Vec<i64>,
    /// How wide it is.
    pub format: IntFormat,
}

/// Width of a whole number, as contracts name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntFormat {
    /// `int32`.
    #[default]
    Int32,
    /// `int64`.
    Int64,
    /// No format: 64 bits.
    Unnamed,
}

impl IntFormat {
    /// Its name; `None` for no format.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Int32 => Some("int32"),
            Self::Int64 => Some("int64"),
            Self::Unnamed => None,
        }
    }
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

/// A text that is not empty.
pub fn some_text() -> Schema {
    Schema::Text(TextRules { min: Some(1), ..TextRules::default() })
}

/// A 32-bit whole number.
pub fn int() -> Schema {
    Schema::Integer(IntegerRules::default())
}

/// A 32-bit whole number within bounds, both included.
pub fn int_in(min: i64, max: i64) -> Schema {
    Schema::Integer(IntegerRules { min: Some(min), max: Some(max), ..IntegerRules::default() })
}

/// A whole number of another width, of any value.
pub fn int_of(format: IntFormat) -> Schema {
    Schema::Integer(IntegerRules { format, ..IntegerRules::default() })
}

/// A list with at least `min` items.
pub fn list_min(min: usize, items: Schema) -> Schema {
    Schema::List { items: Box::new(items), min: Some(min), max: None }
}

/// A list with at most `max` items.
pub fn list_max(max: usize, items: Schema) -> Schema {
    Schema::List { items: Box::new(items), min: None, max: Some(max) }
}
