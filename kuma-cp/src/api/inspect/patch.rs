//! The difference of two JSON values as a JSON Patch that can be read both ways: what goes away is tested for and named
//! with its value.

use serde_json::{Value, json};

/// Operations that lead from one value to another; keys in order, nothing for equal values.
pub(super) fn between(from: &Value, to: &Value) -> Vec<Value> {
    let mut out = Vec::new();
    compare("", from, to, &mut out);
    out
}

fn compare(path: &str, from: &Value, to: &Value, out: &mut Vec<Value>) {
    match (from, to) {
        (from, to) if from == to => {}
        (Value::Object(from), Value::Object(to)) => {
            let mut keys: Vec<&String> = from.keys().chain(to.keys().filter(|k| !from.contains_key(*k))).collect();
            keys.sort_unstable();
            for key in keys {
                let path = format!("{path}/{}", escaped(key));
                match (from.get(key), to.get(key)) {
                    (Some(from), Some(to)) => compare(&path, from, to, out),
                    (Some(from), None) => remove(&path, from, out),
                    (None, Some(to)) => add(&path, to, out),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(from), Value::Array(to)) => {
            let both = from.len().min(to.len());
            // Each removal moves the rest up, so the position stays.
            for gone in from.iter().skip(both) {
                remove(&format!("{path}/{both}"), gone, out);
            }
            for (position, (from, to)) in from.iter().zip(to).enumerate() {
                compare(&format!("{path}/{position}"), from, to, out);
            }
            for new in to.iter().skip(both) {
                add(&format!("{path}/-"), new, out);
            }
        }
        (from, to) => {
            remove(path, from, out);
            add(path, to, out);
        }
    }
}

fn remove(path: &str, value: &Value, out: &mut Vec<Value>) {
    out.push(json!({"op": "test", "path": path, "value": value}));
    out.push(json!({"op": "remove", "path": path, "value": value}));
}

fn add(path: &str, value: &Value, out: &mut Vec<Value>) {
    out.push(json!({"op": "add", "path": path, "value": value}));
}

/// A key as part of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops(from: Value, to: Value) -> Vec<(String, String, Value)> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        between(&from, &to).into_iter().map(|o| (text(&o["op"]), text(&o["path"]), o["value"].clone())).collect()
    }

    #[test]
    fn changes_are_told_with_both_values() {
        assert_eq!(
            ops(json!({"a/b": {"t": "1s", "same": 1}}), json!({"a/b": {"t": "9s", "same": 1}, "n": null})),
            [
                ("test".into(), "/a~1b/t".into(), json!("1s")),
                ("remove".into(), "/a~1b/t".into(), json!("1s")),
                ("add".into(), "/a~1b/t".into(), json!("9s")),
                ("add".into(), "/n".into(), Value::Null),
            ]
        );
    }

    #[test]
    fn lists_grow_and_shrink_at_their_end() {
        assert_eq!(
            ops(json!([1, 2, 3]), json!([0])),
            [
                ("test".into(), "/1".into(), json!(2)),
                ("remove".into(), "/1".into(), json!(2)),
                ("test".into(), "/1".into(), json!(3)),
                ("remove".into(), "/1".into(), json!(3)),
                ("test".into(), "/0".into(), json!(1)),
                ("remove".into(), "/0".into(), json!(1)),
                ("add".into(), "/0".into(), json!(0)),
            ]
        );
        assert_eq!(ops(json!([]), json!([1, 2])).len(), 2);
        assert!(ops(json!({"a": [1]}), json!({"a": [1]})).is_empty());
    }
}
