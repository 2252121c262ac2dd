//! What differs between two states of a resource: in a few words, and line by line.

use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::yaml::to_yaml;

/// Fields that are computed and say nothing about what somebody wanted.
const COMPUTED: [&str; 5] = ["creationTime", "modificationTime", "kri", "snis", "status"];
/// Changed fields that are named in a summary.
const NAMED: usize = 3;
/// Lines that are shown around a change.
const AROUND: usize = 3;

/// A resource without what is computed: what differs is what somebody changed.
pub fn wanted(resource: &Value) -> Value {
    let mut resource = resource.clone();
    if let Value::Object(fields) = &mut resource {
        fields.retain(|key, _| !COMPUTED.contains(&key.as_str()));
    }
    resource
}

/// The changed fields, in a few words: `spec.a: 1 -> 2`, or up to three names.
pub fn summary(before: &Value, after: &Value) -> String {
    let mut found = Vec::new();
    changes(String::new(), Some(&wanted(before)), Some(&wanted(after)), &mut found);
    match found.as_slice() {
        [] => "nothing".to_owned(),
        [(path, Some(before), Some(after))] if is_short(before) && is_short(after) => {
            format!("{path}: {} -> {}", plain(before), plain(after))
        }
        all => {
            let mut words: Vec<String> = all.iter().take(NAMED).map(one).collect();
            if all.len() > NAMED {
                words.push(format!("and {} more", all.len() - NAMED));
            }
            words.join(", ")
        }
    }
}

fn one((path, before, after): &(String, Option<Value>, Option<Value>)) -> String {
    match (before, after) {
        (None, _) => format!("{path} added"),
        (_, None) => format!("{path} removed"),
        _ => path.clone(),
    }
}

fn is_short(value: &Value) -> bool {
    !value.is_object() && !value.is_array() && plain(value).chars().count() <= 40
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Every place where two values differ, as deep as both have it.
fn changes(
    path: String,
    before: Option<&Value>,
    after: Option<&Value>,
    found: &mut Vec<(String, Option<Value>, Option<Value>)>,
) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let new = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(new) {
                // Keys such as those of labels have dots themselves.
                let key_text = if key.contains('.') { format!("[{key}]") } else { key.clone() };
                let dot = if path.is_empty() || key_text.starts_with('[') { "" } else { "." };
                changes(format!("{path}{dot}{key_text}"), before.get(key), after.get(key), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                changes(format!("{path}[{index}]"), before.get(index), after.get(index), found);
            }
        }
        (before, after) => found.push((path, before.cloned(), after.cloned())),
    }
}

/// The changed lines of the YAML of a resource, with some around them. Nothing if nothing differs. `None`: there is none.
pub fn lines(before: Option<&Value>, after: Option<&Value>, colours: bool) -> String {
    let text = |resource: Option<&Value>| resource.map(|r| to_yaml(&wanted(r))).unwrap_or_default();
    let (before, after) = (text(before), text(after));
    let diff = TextDiff::from_lines(&before, &after);
    let mut out = String::new();
    for (n, group) in diff.grouped_ops(AROUND).iter().enumerate() {
        if n > 0 {
            out.push_str(&paint("  ...", "2", colours));
            out.push('\n');
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let line = change.value().trim_end_matches('\n');
            let line = match change.tag() {
                ChangeTag::Equal => format!("  {line}"),
                ChangeTag::Delete => paint(&format!("- {line}"), "31", colours),
                ChangeTag::Insert => paint(&format!("+ {line}"), "32", colours),
            };
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

/// A text in a colour, by its code for terminals.
pub fn paint(text: &str, code: &str, colours: bool) -> String {
    if colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn summaries_name_what_changed() {
        let base = json!({"name": "a", "modificationTime": "x", "labels": {"kuma.io/zone": "z"}, "spec": {"to": [{"t": "1s"}]}});
        let with = |change: fn(&mut Value)| {
            let mut changed = base.clone();
            change(&mut changed);
            summary(&base, &changed)
        };
        assert_eq!(with(|v| v["modificationTime"] = json!("y")), "nothing");
        assert_eq!(with(|v| v["spec"]["to"][0]["t"] = json!("2s")), "spec.to[0].t: 1s -> 2s");
        assert_eq!(with(|v| v["spec"]["to"][0]["t"] = json!({"a": 1})), "spec.to[0].t");
        assert_eq!(with(|v| v["labels"]["kuma.io/zone"] = json!("y")), "labels[kuma.io/zone]: z -> y");
        let many = with(|v| {
            v["labels"] = json!({"a": "1", "b": "2"});
            v["spec"]["to"] = json!([]);
        });
        assert_eq!(many, "labels[kuma.io/zone] removed, labels.a added, labels.b added, and 1 more");
    }

    #[test]
    fn lines_show_what_is_around_a_change() {
        let lines_of = |value: Value| lines(Some(&json!({"a": 1, "b": 2, "spec": {"x": 1}})), Some(&value), false);
        assert_eq!(lines_of(json!({"a": 1, "b": 2, "spec": {"x": 1}})), "");
        assert_eq!(lines_of(json!({"a": 1, "b": 3, "spec": {"x": 1}})), "  a: 1\n- b: 2\n+ b: 3\n  spec:\n    x: 1\n");
        assert_eq!(lines(None, Some(&json!({"a": 1})), true), "\u{1b}[32m+ a: 1\u{1b}[0m\n");
        let far = |b: u8| json!({"a": b, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1, "g": 1, "h": 1, "i": 1, "j": b});
        let shown = lines(Some(&far(1)), Some(&far(2)), false);
        assert!(shown.contains("  d: 1\n  ...\n  g: 1\n"), "{shown}");
    }
}
