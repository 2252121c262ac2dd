//! Rules of comparison: values are compared as values, texts as texts.

use serde_json::Value;

/// Reads one YAML document as a value.
pub(crate) fn yaml(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())
}

/// Splits a text into its YAML documents and reads each; documents that hold nothing are left out.
pub(crate) fn yaml_documents(text: &str) -> Result<Vec<Value>, String> {
    let mut documents = Vec::new();
    for part in split_documents(text) {
        let value = yaml(&part)?;
        if !value.is_null() {
            documents.push(value);
        }
    }
    Ok(documents)
}

fn split_documents(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.lines() {
        if line.trim_end() == "---" || line.starts_with("--- ") {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    parts.retain(|p| p.lines().any(|l| !l.trim().is_empty() && !l.trim_start().starts_with('#')));
    parts
}

/// Equal values, or the places where they differ.
pub(crate) fn values(actual: &Value, expected: &Value) -> Result<(), String> {
    let mut differences = Vec::new();
    diff("", actual, expected, &mut differences);
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
}

fn diff(path: &str, actual: &Value, expected: &Value, out: &mut Vec<String>) {
    if out.len() > 12 {
        return;
    }
    match (actual, expected) {
        (Value::Object(a), Value::Object(e)) => {
            for (key, value) in e {
                match a.get(key) {
                    Some(other) => diff(&format!("{path}.{key}"), other, value, out),
                    None => out.push(format!("{path}.{key}: missing, expected {value}")),
                }
            }
            for (key, value) in a {
                if !e.contains_key(key) {
                    out.push(format!("{path}.{key}: unexpected {value}"));
                }
            }
        }
        (Value::Array(a), Value::Array(e)) => {
            if a.len() != e.len() {
                out.push(format!("{path}: {} items, expected {}", a.len(), e.len()));
            }
            for (i, (a, e)) in a.iter().zip(e).enumerate() {
                diff(&format!("{path}[{i}]"), a, e, out);
            }
        }
        (Value::Number(a), Value::Number(e)) if a.as_f64() == e.as_f64() => {}
        (Value::String(a), Value::String(e)) if same_duration(a, e) => {}
        (a, e) if a == e => {}
        (a, e) => out.push(format!("{path}: {a}, expected {e}")),
    }
}

/// Two spellings of one duration are equal.
fn same_duration(a: &str, b: &str) -> bool {
    a == b
        || (a.ends_with('s') || a.ends_with('m') || a.ends_with('h'))
            && matches!(
                (a.parse::<kuma_core::duration::GoDuration>(), b.parse::<kuma_core::duration::GoDuration>()),
                (Ok(a), Ok(b)) if a == b
            )
}

/// Equal texts; one trailing newline of difference does not count.
pub(crate) fn texts(actual: &str, expected: &str) -> Result<(), String> {
    let strip = |t: &str| t.strip_suffix('\n').unwrap_or(t).to_owned();
    if strip(actual) == strip(expected) {
        return Ok(());
    }
    let line = actual.lines().zip(expected.lines()).position(|(a, e)| a != e);
    let at = line.unwrap_or_else(|| actual.lines().count().min(expected.lines().count()));
    Err(format!(
        "line {}:\n  actual   {:?}\n  expected {:?}",
        at + 1,
        actual.lines().nth(at).unwrap_or("<end>"),
        expected.lines().nth(at).unwrap_or("<end>")
    ))
}
