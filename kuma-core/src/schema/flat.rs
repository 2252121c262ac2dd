//! Reading of `Flat` documents with the leniency of protobuf JSON: both spellings of a field, numbers as text and text
//! as numbers where that is exact, enum values by name or number, base64 of either alphabet, unknown fields ignored.
//!
//! The result is the one canonical spelling, which the typed decoder then reads.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose},
};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{IntFormat, IntegerRules, Schema, check::whole};
use crate::duration::GoDuration;

/// A value that the protobuf rules do not allow, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FlatError {
    /// Path of the field, such as `networking.inbound[0].port`.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// The canonical form of `value`, or what cannot be read in it.
///
/// # Errors
/// The first field that is not of its type.
pub fn read(schema: &Schema, path: &str, value: &Value) -> Result<Value, FlatError> {
    Reader { path: path.to_owned() }.read(schema, value)
}

/// `service_port` for `servicePort`, as the protobuf definition spells it.
pub(super) fn snake_case(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

struct Reader {
    path: String,
}

impl Reader {
    fn error(&self, reason: impl fmt::Display) -> FlatError {
        FlatError { path: self.path.clone(), reason: reason.to_string() }
    }

    /// Reads a value below, with `step` added to the path.
    fn below(&mut self, step: &str, schema: &Schema, value: &Value) -> Result<Value, FlatError> {
        let length = self.path.len();
        if !self.path.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        let read = self.read(schema, value)?;
        self.path.truncate(length);
        Ok(read)
    }

    fn read(&mut self, schema: &Schema, value: &Value) -> Result<Value, FlatError> {
        match schema {
            Schema::Any => Ok(value.clone()),
            Schema::Object(fields) => {
                let Value::Object(object) = value else { return Err(self.unexpected("an object", value)) };
                let mut out = Map::new();
                for field in fields {
                    let snake = snake_case(field.name);
                    let other = if snake == field.name { None } else { object.get(&snake) };
                    let given = match (object.get(field.name), other) {
                        (Some(_), Some(_)) => return Err(self.error(format!("duplicate field {:?}", field.name))),
                        (one, two) => one.or(two),
                    };
                    // Null is the same as absent.
                    if let Some(given) = given.filter(|g| !g.is_null()) {
                        out.insert(field.name.to_owned(), self.below(field.name, &field.schema, given)?);
                    }
                }
                Ok(Value::Object(out))
            }
            Schema::Labels => {
                let Value::Object(object) = value else { return Err(self.unexpected("an object", value)) };
                let text = |(key, value): (&String, &Value)| match value {
                    // An entry cannot be absent, so null is the empty text.
                    Value::Null => Ok((key.clone(), Value::from(""))),
                    Value::String(_) => Ok((key.clone(), value.clone())),
                    other => Err(self.error(format!("value of {key:?}: invalid value for string type: {other}"))),
                };
                object.iter().map(text).collect::<Result<Map<_, _>, _>>().map(Value::Object)
            }
            Schema::List { items, .. } => {
                let Value::Array(list) = value else { return Err(self.unexpected("a list", value)) };
                let read: Result<Vec<Value>, FlatError> =
                    list.iter().enumerate().map(|(i, item)| self.below(&format!("[{i}]"), items, item)).collect();
                read.map(Value::Array)
            }
            Schema::Text(rules) if !rules.one_of.is_empty() => self.choice(&rules.one_of, value),
            Schema::Text(_) | Schema::IntOrText => match value {
                Value::String(_) => Ok(value.clone()),
                other => Err(self.error(format!("invalid value for string type: {other}"))),
            },
            Schema::Time => match value {
                Value::String(text) if text.parse::<Timestamp>().is_ok() => Ok(value.clone()),
                other => Err(self.error(format!("invalid time: {other}"))),
            },
            Schema::Bool => match value {
                Value::Bool(_) => Ok(value.clone()),
                other => Err(self.error(format!("invalid value for bool type: {other}"))),
            },
            Schema::Integer(rules) => self.integer(rules, value),
            Schema::Duration => self.duration(value),
            Schema::Bytes => self.bytes(value),
        }
    }

    fn unexpected(&self, wanted: &str, value: &Value) -> FlatError {
        let text = value.to_string();
        let shown = if text.len() > 60 { "a value of another type" } else { &text };
        self.error(format!("expected {wanted}, found {shown}"))
    }

    /// An enum: the text, or its position.
    fn choice(&self, names: &[&str], value: &Value) -> Result<Value, FlatError> {
        let name = match value {
            Value::String(text) => names.iter().find(|n| *n == text),
            Value::Number(number) => whole(number).and_then(|n| usize::try_from(n).ok()).and_then(|n| names.get(n)),
            _ => None,
        };
        match name {
            Some(name) => Ok(Value::from(*name)),
            None => Err(self.error(format!("invalid value for enum type: {value}"))),
        }
    }

    fn integer(&self, rules: &IntegerRules, value: &Value) -> Result<Value, FlatError> {
        let number = match value {
            Value::Number(number) => whole(number).map(i128::from).or_else(|| number.as_u64().map(i128::from)),
            Value::String(text) => text.parse::<i128>().ok().or_else(|| {
                let number: serde_json::Number = text.parse().ok()?;
                whole(&number).map(i128::from)
            }),
            _ => None,
        };
        let signed = rules.min.is_none_or(|min| min < 0);
        let fits = |n: &i128| match (rules.format, signed) {
            (IntFormat::Int32, true) => i32::try_from(*n).is_ok(),
            (IntFormat::Int32, false) => u32::try_from(*n).is_ok(),
            (_, true) => i64::try_from(*n).is_ok(),
            (_, false) => u64::try_from(*n).is_ok(),
        };
        let wrong = || {
            let sign = if signed { "int" } else { "uint" };
            let bits = if rules.format == IntFormat::Int32 { 32 } else { 64 };
            self.error(format!("invalid value for {sign}{bits} type: {value}"))
        };
        let number = number.filter(fits).ok_or_else(wrong)?;
        Ok(u64::try_from(number).map_or_else(|_| Value::from(number as i64), Value::from))
    }

    /// `"1.5s"` in the canonical spelling of protobuf with 0, 3, 6 or 9 decimals; other units are read as well, since
    /// older clients write them.
    fn duration(&self, value: &Value) -> Result<Value, FlatError> {
        let Value::String(text) = value else {
            return Err(self.error(format!("invalid google.protobuf.Duration value {value}")));
        };
        let duration: GoDuration = text.parse().map_err(|e| self.error(e))?;
        let nanos = duration.as_nanos().unsigned_abs();
        let (seconds, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let fraction = match fraction {
            0 => String::new(),
            n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
            n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
            n => format!(".{n:09}"),
        };
        let sign = if duration.is_negative() { "-" } else { "" };
        Ok(Value::from(format!("{sign}{seconds}{fraction}s")))
    }

    fn bytes(&self, value: &Value) -> Result<Value, FlatError> {
        const LENIENT: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let Value::String(text) = value else {
            return Err(self.error("invalid value for bytes type: it must be base64 text"));
        };
        let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        match GeneralPurpose::new(alphabet, LENIENT).decode(text) {
            Ok(bytes) => Ok(Value::from(general_purpose::STANDARD.encode(bytes))),
            // The decoder's own text says where, never what: this may be a secret.
            Err(fault) => Err(self.error(format!("invalid value for bytes type: not base64: {fault}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::*;

    fn unsigned() -> Schema {
        Schema::Integer(IntegerRules { min: Some(0), ..IntegerRules::default() })
    }

    fn one(schema: Schema, value: Value) -> Result<Value, String> {
        read(&object([opt("aField", schema)]), "", &json!({"a_field": value, "unknown": 1}))
            .map(|mut v| v["aField"].take())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn spellings() {
        assert_eq!(one(unsigned(), json!(1)), Ok(json!(1)));
        assert_eq!(one(unsigned(), json!("1")), Ok(json!(1)));
        assert_eq!(one(unsigned(), json!("1e2")), Ok(json!(100)));
        assert_eq!(one(unsigned(), json!(1.0)), Ok(json!(1)));
        assert_eq!(one(unsigned(), json!(null)), Ok(json!(null)));
        assert_eq!(one(unsigned(), json!(-1)), Err("aField: invalid value for uint32 type: -1".into()));
        assert_eq!(one(unsigned(), json!(1.5)), Err("aField: invalid value for uint32 type: 1.5".into()));
        let both = read(&object([opt("aField", text())]), "", &json!({"a_field": "x", "aField": "x"}));
        assert_eq!(both.unwrap_err().reason, "duplicate field \"aField\"");
    }

    #[test]
    fn enums_by_name_or_number() {
        let schema = || one_of(["Ready", "NotReady"]);
        assert_eq!(one(schema(), json!("NotReady")), Ok(json!("NotReady")));
        assert_eq!(one(schema(), json!(1)), Ok(json!("NotReady")));
        assert_eq!(one(schema(), json!("Other")), Err("aField: invalid value for enum type: \"Other\"".into()));
        assert!(one(schema(), json!(2)).is_err());
    }

    #[test]
    fn durations_are_canonical() {
        for (given, canonical) in [("10s", "10s"), ("0.5s", "0.500s"), ("1.000001s", "1.000001s"), ("-.25s", "-0.250s")]
        {
            assert_eq!(one(Schema::Duration, json!(given)), Ok(json!(canonical)));
        }
        for bad in [json!("1"), json!("s"), json!(1), json!("9999999999999s")] {
            assert!(one(Schema::Duration, bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn base64_of_either_alphabet() {
        for given in ["+/8=", "-_8=", "-_8", "+/8"] {
            assert_eq!(one(Schema::Bytes, json!(given)), Ok(json!("+/8=")));
        }
        let fault = one(Schema::Bytes, json!("se cret")).unwrap_err();
        assert!(!fault.contains("cret"), "{fault}");
    }
}
