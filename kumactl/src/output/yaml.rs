//! YAML as the published tool prints it: block style, two spaces, dashes under their key, keys sorted, and plain text
//! wherever a YAML 1.1 reader would read text. Scripts compare this output, so the style is part of the interface.

use serde_json::{Map, Value};

/// Plain and quoted text is folded at a space behind this column.
const WIDTH: usize = 80;

/// A value as a YAML document; ends with a newline.
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0, &mut out),
        Value::Array(list) if !list.is_empty() => sequence(list, 0, &mut out),
        other => {
            scalar(other, 0, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n(' ', depth));
}

fn mapping(map: &Map<String, Value>, depth: usize, out: &mut String) {
    let mut keys: Vec<&String> = map.keys().collect();
    keys.sort();
    for (i, key) in keys.into_iter().enumerate() {
        if i > 0 || !in_sequence_item(out) {
            indent(depth, out);
        }
        let Some(value) = map.get(key) else { continue };
        out.push_str(&text(key, true));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                mapping(inner, depth + 2, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                sequence(list, depth, out);
            }
            other => {
                out.push(' ');
                let column = out.len() - out.rfind('\n').map_or(0, |at| at + 1);
                scalar(other, depth, column, out);
                out.push('\n');
            }
        }
    }
}

/// The first key of a mapping stands behind the dash of its item.
fn in_sequence_item(out: &str) -> bool {
    out.ends_with("- ")
}

fn sequence(list: &[Value], depth: usize, out: &mut String) {
    for (i, item) in list.iter().enumerate() {
        if i > 0 || !in_sequence_item(out) {
            indent(depth, out);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => mapping(inner, depth + 2, out),
            Value::Array(inner) if !inner.is_empty() => sequence(inner, depth + 2, out),
            other => {
                scalar(other, depth, depth + 2, out);
                out.push('\n');
            }
        }
    }
}

fn scalar(value: &Value, depth: usize, column: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(s) if s.contains('\n') && !has_controls(s) => literal(s, depth, out),
        Value::String(s) => out.push_str(&fold(&text(s, false), depth, column)),
    }
}

fn literal(s: &str, depth: usize, out: &mut String) {
    out.push('|');
    // A first line that begins with a space would be taken for indentation.
    if s.starts_with([' ', '\n']) {
        out.push('2');
    }
    if !s.ends_with('\n') {
        out.push('-');
    } else if s.ends_with("\n\n") || s == "\n" {
        out.push('+');
    }
    let body = s.strip_suffix('\n').unwrap_or(s);
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            indent(depth + 2, out);
            out.push_str(line);
        }
    }
}

fn has_controls(s: &str) -> bool {
    s.chars().any(|c| c.is_control() && c != '\n' || c == '\u{feff}' || c == '\u{2028}' || c == '\u{2029}')
}

/// A text with the quotes that it needs.
fn text(s: &str, key: bool) -> String {
    if s.is_empty() || reads_as_other(s) {
        return double(s);
    }
    if has_controls(s) || s.contains('\n') && key {
        return double(s);
    }
    if plain(s) { s.to_owned() } else { format!("'{}'", s.replace('\'', "''")) }
}

fn double(s: &str) -> String {
    let mut out = String::from("\"");
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\0' => out.push_str("\\0"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{1b}' => out.push_str("\\e"),
            c if c.is_control() && (c as u32) < 0x100 => out.push_str(&format!("\\x{:02X}", c as u32)),
            '\u{feff}' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Allowed without quotes.
fn plain(s: &str) -> bool {
    let Some(first) = s.chars().next() else { return false };
    let indicator = matches!(
        first,
        '*' | '&' | '!' | '@' | '%' | '{' | '}' | '[' | ']' | '\'' | '"' | '#' | '`' | ',' | '|' | '>' | ' '
    );
    let dashed = matches!(first, '-' | '?' | ':') && s[1..].chars().next().is_none_or(|c| c == ' ');
    !(indicator
        || dashed
        || s.starts_with("---")
        || s.starts_with("...")
        || s.contains(": ")
        || s.contains(" #")
        || s.ends_with([':', ' ']))
}

/// A YAML 1.1 reader would not read this as text.
fn reads_as_other(s: &str) -> bool {
    const WORDS: [&str; 30] = [
        "y", "Y", "yes", "Yes", "YES", "n", "N", "no", "No", "NO", "true", "True", "TRUE", "false", "False", "FALSE",
        "on", "On", "ON", "off", "Off", "OFF", "null", "Null", "NULL", "~", ".nan", ".NaN", ".NAN", ".inf",
    ];
    WORDS.contains(&s) || matches!(s, ".Inf" | ".INF" | "+.inf" | "-.inf") || number(s) || base60(s) || date(s)
}

fn number(s: &str) -> bool {
    let body = s.strip_prefix(['+', '-']).unwrap_or(s);
    if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    let digits = body.replace('_', "");
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix));
        }
    }
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits.as_str(), None),
    };
    let decimal = mantissa.chars().all(|c| c.is_ascii_digit() || c == '.')
        && mantissa.matches('.').count() <= 1
        && mantissa.chars().any(|c| c.is_ascii_digit());
    let exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['+', '-']).unwrap_or(e);
        !e.is_empty() && e.chars().all(|c| c.is_ascii_digit())
    });
    decimal && exponent
}

/// `10:20`, `1:02:03.5`: a number to base 60.
fn base60(s: &str) -> bool {
    let body = s.strip_prefix(['+', '-']).unwrap_or(s);
    let mut parts = body.split(':');
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let digits = |p: &str| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit() || c == '_');
    !rest.is_empty()
        && digits(first)
        && rest.iter().enumerate().all(|(i, p)| {
            let p = if i + 1 == rest.len() { p.split('.').next().unwrap_or_default() } else { p };
            (1..=2).contains(&p.len()) && digits(p) && p.parse::<u8>().is_ok_and(|n| n < 60)
        })
}

/// `2024-01-31`, with or without a time.
fn date(s: &str) -> bool {
    let bytes = s.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let (day, time) = match s.find(['T', 't', ' ']) {
        Some(at) => (&s[..at], Some(&s[at + 1..])),
        None => (s, None),
    };
    let parts: Vec<&str> = day.split('-').collect();
    let number = |p: &str| (1..=2).contains(&p.len()) && p.chars().all(|c| c.is_ascii_digit());
    let dated = parts.len() == 3 && number(parts[1]) && number(parts[2]);
    dated
        && time.is_none_or(|t| {
            t.contains(':')
                && t.chars().all(|c| c.is_ascii_digit() || matches!(c, ':' | '.' | '+' | '-' | 'Z' | 'z' | ' '))
        })
}

/// Breaks text longer than the width at single spaces; continuation lines stand two deeper.
fn fold(text: &str, depth: usize, column: usize) -> String {
    let mut out = String::new();
    let mut at = column;
    let chars: Vec<char> = text.chars().collect();
    for (i, c) in chars.iter().enumerate() {
        let foldable = *c == ' '
            && at > WIDTH
            && i > 0
            && chars[i - 1] != ' '
            && chars.get(i + 1).is_some_and(|next| *next != ' ');
        if foldable {
            out.push('\n');
            indent(depth + 2, &mut out);
            at = depth + 2;
        } else {
            out.push(*c);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_indented_by_two_with_dashes_under_their_key() {
        let value = json!({"b": [{"z": 1, "a": {"x": []}}, [1, 2], "t"], "a": {}, "c": {"d": null}});
        assert_eq!(to_yaml(&value), "a: {}\nb:\n- a:\n    x: []\n  z: 1\n- - 1\n  - 2\n- t\nc:\n  d: null\n");
    }

    #[test]
    fn text_gets_the_quotes_that_it_needs() {
        for (value, written) in [
            ("plain", "plain"),
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("1.5", "\"1.5\""),
            ("0x1F", "\"0x1F\""),
            ("1_000", "\"1_000\""),
            ("10:20", "\"10:20\""),
            ("2024-01-31", "\"2024-01-31\""),
            ("2024-01-31T10:00:00Z", "\"2024-01-31T10:00:00Z\""),
            ("*", "'*'"),
            ("- a", "'- a'"),
            ("-", "'-'"),
            ("a: b", "'a: b'"),
            ("a:", "'a:'"),
            ("it's", "it's"),
            ("'a", "'''a'"),
            ("a,b", "a,b"),
            ("=", "="),
            ("<<", "<<"),
            ("a\tb", "\"a\\tb\""),
            ("192.168.0.1", "192.168.0.1"),
            ("1m0s", "1m0s"),
            ("10s", "10s"),
        ] {
            assert_eq!(to_yaml(&json!({"k": value})), format!("k: {written}\n"), "{value:?}");
        }
        assert_eq!(to_yaml(&json!({"true": 1})), "\"true\": 1\n");
    }

    #[test]
    fn lines_become_a_literal_block() {
        assert_eq!(to_yaml(&json!({"k": "a\nb\n"})), "k: |\n  a\n  b\n");
        assert_eq!(to_yaml(&json!({"k": "a\n\nb"})), "k: |-\n  a\n\n  b\n");
    }

    #[test]
    fn long_text_is_folded_at_a_space() {
        let word = "a".repeat(50);
        let folded = to_yaml(&json!({"k": format!("{word} {word} {word}")}));
        assert_eq!(folded, format!("k: {word} {word}\n  {word}\n"));
    }
}
