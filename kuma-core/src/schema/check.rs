//! Defaults and checks of a JSON document against a [`Schema`], with the texts that clients of the REST API know.
//!
//! Every fault is found, not only the first; each is a whole sentence that begins with the path of the field.

use std::collections::BTreeSet;

use jiff::Timestamp;
use regex::Regex;
use serde_json::{Map, Number, Value};

use super::{IntegerRules, Schema, TextRules};

/// Fills in defaults, also in nested objects and list items, where their object is present.
pub fn fill_defaults(schema: &Schema, value: &mut Value) {
    match (schema, value) {
        (Schema::Object(fields), Value::Object(object)) => {
            for field in fields {
                if let Some(inner) = object.get_mut(field.name) {
                    fill_defaults(&field.schema, inner);
                } else if let Some(default) = &field.default {
                    object.insert(field.name.to_owned(), default.clone());
                }
            }
        }
        (Schema::List { items, .. }, Value::Array(list)) => {
            for item in list {
                fill_defaults(items, item);
            }
        }
        _ => {}
    }
}

/// Everything that is wrong with `value` at `path`, as sentences in no particular order, each once.
pub fn faults(schema: &Schema, path: &str, value: &Value) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    Checker { faults: &mut faults }.check(schema, path, value);
    faults
}

struct Checker<'a> {
    faults: &'a mut BTreeSet<String>,
}

impl Checker<'_> {
    fn add(&mut self, path: &str, message: &str) {
        self.faults.insert(format!("{path} in body {message}"));
    }

    fn wrong_type(&mut self, path: &str, wanted: &str, value: &Value) {
        self.add(path, &format!("must be of type {wanted}: \"{}\"", type_name(value)));
    }

    fn check(&mut self, schema: &Schema, path: &str, value: &Value) {
        match schema {
            Schema::Any => {}
            Schema::Object(fields) => match value {
                Value::Object(object) => {
                    for field in fields {
                        let below = format!("{path}.{}", field.name);
                        match object.get(field.name) {
                            Some(inner) => self.check(&field.schema, &below, inner),
                            None if field.required => self.add(&below, "is required"),
                            None => {}
                        }
                    }
                }
                other => self.wrong_type(path, "object", other),
            },
            Schema::Labels => match value {
                Value::Object(object) => self.texts(path, object),
                other => self.wrong_type(path, "object", other),
            },
            Schema::List { items, min, max } => match value {
                Value::Array(list) => {
                    for (i, item) in list.iter().enumerate() {
                        self.check(items, &format!("{path}[{i}]"), item);
                    }
                    if let Some(min) = min.filter(|min| list.len() < *min) {
                        self.add(path, &format!("should have at least {min} items"));
                    }
                    if let Some(max) = max.filter(|max| list.len() > *max) {
                        self.add(path, &format!("should have at most {max} items"));
                    }
                }
                other => self.wrong_type(path, "array", other),
            },
            Schema::Text(rules) => self.text(rules, path, value),
            Schema::Duration | Schema::Bytes => {
                if !value.is_string() {
                    self.wrong_type(path, "string", value);
                }
            }
            Schema::Time => match value {
                Value::String(text) if text.parse::<Timestamp>().is_ok() => {}
                Value::String(text) => self.add(path, &format!("must be of type date-time: {text:?}")),
                other => self.wrong_type(path, "string", other),
            },
            Schema::Bool => {
                if !value.is_boolean() {
                    self.wrong_type(path, "boolean", value);
                }
            }
            Schema::Integer(rules) => self.integer(rules, path, value),
            Schema::IntOrText => self.int_or_text(path, value),
        }
    }

    fn texts(&mut self, path: &str, object: &Map<String, Value>) {
        for (key, value) in object {
            if !value.is_string() {
                self.wrong_type(&format!("{path}.{key}"), "string", value);
            }
        }
    }

    fn text(&mut self, rules: &TextRules, path: &str, value: &Value) {
        if !rules.one_of.is_empty() && !value.as_str().is_some_and(|t| rules.one_of.contains(&t)) {
            self.add(path, &format!("should be one of [{}]", rules.one_of.join(" ")));
        }
        let Value::String(text) = value else { return self.wrong_type(path, "string", value) };
        let length = text.chars().count();
        if let Some(min) = rules.min.filter(|min| length < *min) {
            self.add(path, &format!("should be at least {min} chars long"));
        }
        if let Some(max) = rules.max.filter(|max| length > *max) {
            self.add(path, &format!("should be at most {max} chars long"));
        }
        if let Some(pattern) = rules.pattern
            && !Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
        {
            self.add(path, &format!("should match '{pattern}'"));
        }
    }

    fn integer(&mut self, rules: &IntegerRules, path: &str, value: &Value) {
        let number = match value {
            Value::Number(number) => number,
            other => {
                if !rules.one_of.is_empty() {
                    self.not_one_of(rules, path);
                }
                return self.wrong_type(path, "integer", other);
            }
        };
        let whole = whole(number);
        let (format, detail) = match rules.format.name() {
            Some(name) => (name, format!("format {name}")),
            None => ("integer", "(default format)".to_owned()),
        };
        let fits = |n: i64| format != "int32" || i32::try_from(n).is_ok();
        if !whole.is_some_and(fits) {
            let kind = if format == "integer" {
                format!("type integer {detail}")
            } else {
                format!("type integer with {detail}")
            };
            self.faults.insert(format!("Checked value must be of {kind} in {path}"));
        }
        let float = number.as_f64().unwrap_or(f64::NAN);
        if whole.is_none() && float.fract() != 0.0 {
            let given = if format == "integer" { "number" } else { "float64" };
            self.add(path, &format!("must be of type {format}: \"{given}\""));
        }
        if let Some(min) = rules.min.filter(|min| float < *min as f64) {
            self.add(path, &format!("should be greater than or equal to {}", float_text(min)));
        }
        if let Some(max) = rules.max.filter(|max| float > *max as f64) {
            self.add(path, &format!("should be less than or equal to {}", float_text(max)));
        }
        if !rules.one_of.is_empty() && !whole.is_some_and(|n| rules.one_of.contains(&n)) {
            self.not_one_of(rules, path);
        }
    }

    fn not_one_of(&mut self, rules: &IntegerRules, path: &str) {
        let choices: Vec<String> = rules.one_of.iter().map(i64::to_string).collect();
        self.add(path, &format!("should be one of [{}]", choices.join(" ")));
    }

    fn int_or_text(&mut self, path: &str, value: &Value) {
        match value {
            Value::Null | Value::String(_) => return,
            Value::Number(number) if whole(number).is_some() => return,
            Value::Number(_) => {
                self.faults.insert(format!("Checked value must be of type integer (default format) in {path}"));
            }
            _ => {}
        }
        self.faults.insert(format!("\"{path}\" must validate at least one schema (anyOf)"));
        self.wrong_type(path, "integer", value);
    }
}

/// Name of the JSON type.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The number if it is whole, also when it is written `80.0`.
pub(super) fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| {
        let float = number.as_f64()?;
        // Up to 2^53 a double holds each whole number exactly.
        (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
    })
}

/// A bound as the published texts print it: plain up to six digits, then with an exponent.
fn float_text(n: i64) -> String {
    if n.abs() < 1_000_000 {
        return n.to_string();
    }
    let digits = n.abs().to_string();
    let exponent = digits.len() - 1;
    let (first, rest) = digits.split_at(1);
    let rest = rest.trim_end_matches('0');
    let sign = if n < 0 { "-" } else { "" };
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}e+{exponent:02}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::*;

    fn all(schema: &Schema, value: Value) -> Vec<String> {
        faults(schema, "spec.a", &value).into_iter().collect()
    }

    #[test]
    fn numbers() {
        let int32 = "Checked value must be of type integer with format int32 in spec.a";
        assert!(all(&int(), json!(80.0)).is_empty());
        assert_eq!(all(&int(), json!(80.5)), [int32, "spec.a in body must be of type int32: \"float64\""]);
        assert_eq!(all(&int(), json!(2_147_483_648_u64)), [int32]);
        assert_eq!(all(&int(), json!("x")), ["spec.a in body must be of type integer: \"string\""]);
        let port = int_in(1, 65535);
        assert_eq!(all(&port, json!(0)), ["spec.a in body should be greater than or equal to 1"]);
        assert_eq!(all(&port, json!(65536)), ["spec.a in body should be less than or equal to 65535"]);
        let weight = Schema::Integer(IntegerRules {
            max: Some(4_294_967_295),
            format: IntFormat::Unnamed,
            ..IntegerRules::default()
        });
        assert_eq!(
            all(&weight, json!(4_294_967_296_u64)),
            ["spec.a in body should be less than or equal to 4.294967295e+09"]
        );
        let code = Schema::Integer(IntegerRules { one_of: vec![301, 302], ..IntegerRules::default() });
        assert_eq!(all(&code, json!(300)), ["spec.a in body should be one of [301 302]"]);
    }

    #[test]
    fn int_or_text() {
        for good in [json!(1), json!("x"), json!(null), json!(2.0)] {
            assert!(all(&Schema::IntOrText, good).is_empty());
        }
        assert_eq!(
            all(&Schema::IntOrText, json!(1.5)),
            [
                "\"spec.a\" must validate at least one schema (anyOf)",
                "Checked value must be of type integer (default format) in spec.a",
                "spec.a in body must be of type integer: \"number\""
            ]
        );
        assert_eq!(
            all(&Schema::IntOrText, json!(true)),
            [
                "\"spec.a\" must validate at least one schema (anyOf)",
                "spec.a in body must be of type integer: \"boolean\""
            ]
        );
    }

    #[test]
    fn texts_lists_objects() {
        assert_eq!(all(&one_of(["A", "B"]), json!("C")), ["spec.a in body should be one of [A B]"]);
        assert_eq!(
            all(&one_of(["A", "B"]), json!(null)),
            ["spec.a in body must be of type string: \"null\"", "spec.a in body should be one of [A B]"]
        );
        assert_eq!(all(&some_text(), json!("")), ["spec.a in body should be at least 1 chars long"]);
        assert_eq!(all(&list_min(1, text()), json!([])), ["spec.a in body should have at least 1 items"]);
        assert_eq!(
            all(&list_max(1, text()), json!(["", 2])),
            ["spec.a in body should have at most 1 items", "spec.a[1] in body must be of type string: \"number\""]
        );
        assert_eq!(all(&object([req("b", text())]), json!({"c": 1})), ["spec.a.b in body is required"]);
        assert_eq!(all(&Schema::Labels, json!({"k": 1})), ["spec.a.k in body must be of type string: \"number\""]);
        assert_eq!(all(&Schema::Time, json!("foo")), ["spec.a in body must be of type date-time: \"foo\""]);
    }

    #[test]
    fn defaults_go_where_the_object_is() {
        let schema =
            object([opt("a", object([opt("b", text()).or("x")])), opt("c", list(object([opt("d", int()).or(1)])))]);
        let mut value = json!({"c": [{}, {"d": 2}]});
        fill_defaults(&schema, &mut value);
        assert_eq!(value, json!({"c": [{"d": 1}, {"d": 2}]}));
        let mut value = json!({"a": {}});
        fill_defaults(&schema, &mut value);
        assert_eq!(value, json!({"a": {"b": "x"}}));
    }

    #[test]
    fn bounds_print_like_floats() {
        for (n, text) in [(0, "0"), (65535, "65535"), (1_000_000, "1e+06"), (5_000_011, "5.000011e+06")] {
            assert_eq!(float_text(n), text);
        }
    }
}
