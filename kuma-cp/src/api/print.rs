//! How answers are printed: JSON with an indentation of one space and a newline at the end, or plain text.
//!
//! The API escapes `<`, `>` and `&` inside `spec` and `status` of the kinds that have these as fields, and nowhere
//! else: links and messages stay readable.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::Value;

/// A document of a resource, or a list of them, knows where its escaped parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    /// Nothing below.
    No,
    /// Everything below.
    All,
    /// Below the keys `spec` and `status` of this object.
    Resource,
    /// As [`Escape::Resource`] in each object of `items`.
    List,
}

/// An answer of plain JSON.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    answer(status, value, Escape::No)
}

/// A good answer of plain JSON.
pub(super) fn ok(value: &Value) -> Response {
    json(StatusCode::OK, value)
}

/// An answer with one resource of shape `SpecStatus`.
pub(super) fn resource(value: &Value) -> Response {
    answer(StatusCode::OK, value, Escape::Resource)
}

/// An answer with a list of resources of shape `SpecStatus`.
pub(super) fn list(value: &Value) -> Response {
    answer(StatusCode::OK, value, Escape::List)
}

/// An answer of JSON that is printed already.
pub(super) fn raw_json(text: impl Into<Body>) -> Response {
    typed(StatusCode::OK, "application/json", text)
}

/// An answer of the router, in plain text.
pub(super) fn text(status: StatusCode, text: impl Into<Body>) -> Response {
    typed(status, "text/plain; charset=utf-8", text)
}

/// A token: plain text, as it is.
pub(super) fn bare(text: String) -> Response {
    typed(StatusCode::OK, "text/plain", text)
}

/// No body at all.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Any body of any type.
pub(super) fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn answer(status: StatusCode, value: &Value, escape: Escape) -> Response {
    let mut out = String::new();
    write(&mut out, value, 0, escape);
    out.push('\n');
    typed(status, "application/json", out)
}

fn write(out: &mut String, value: &Value, depth: usize, escape: Escape) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('{');
            for (n, (key, value)) in map.iter().enumerate() {
                separate(out, n, depth + 1);
                text_of(out, key, escape == Escape::All);
                out.push_str(": ");
                let below = match (escape, key.as_str()) {
                    (Escape::Resource, "spec" | "status") => Escape::All,
                    (Escape::List, "items") => Escape::List,
                    (Escape::All, _) => Escape::All,
                    _ => Escape::No,
                };
                write(out, value, depth + 1, below);
            }
            indent(out, depth);
            out.push('}');
        }
        Value::Array(list) if !list.is_empty() => {
            let below = if escape == Escape::List { Escape::Resource } else { escape };
            out.push('[');
            for (n, value) in list.iter().enumerate() {
                separate(out, n, depth + 1);
                write(out, value, depth + 1, below);
            }
            indent(out, depth);
            out.push(']');
        }
        Value::String(text) => text_of(out, text, escape == Escape::All),
        // Empty objects and lists, numbers, booleans and null have one spelling.
        other => out.push_str(&other.to_string()),
    }
}

fn separate(out: &mut String, position: usize, depth: usize) {
    if position > 0 {
        out.push(',');
    }
    indent(out, depth);
}

fn indent(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', depth));
}

fn text_of(out: &mut String, text: &str, escape: bool) {
    let quoted = Value::String(text.to_owned()).to_string();
    if !escape {
        out.push_str(&quoted);
        return;
    }
    for c in quoted.chars() {
        match c {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printed(value: Value, escape: Escape) -> String {
        let mut out = String::new();
        write(&mut out, &value, 0, escape);
        out
    }

    #[test]
    fn one_space_per_level_and_empty_things_on_one_line() {
        let value = json!({"a": [], "b": {}, "c": [1, {"d": null}]});
        assert_eq!(
            printed(value, Escape::No),
            "{\n \"a\": [],\n \"b\": {},\n \"c\": [\n  1,\n  {\n   \"d\": null\n  }\n ]\n}"
        );
    }

    #[test]
    fn only_specs_are_escaped() {
        let item = json!({"name": "<", "spec": {"<": ["a & b"]}, "status": {"x": ">"}, "link": "?a&b"});
        let one = printed(item.clone(), Escape::Resource);
        assert!(one.contains("\"name\": \"<\"") && one.contains("?a&b"), "{one}");
        assert!(one.contains("\"\\u003c\": [") && one.contains("a \\u0026 b") && one.contains("\\u003e"), "{one}");
        let list = printed(json!({"items": [item], "next": "?a&b"}), Escape::List);
        assert_eq!(list.matches("\\u0026").count(), 1, "{list}");
        assert!(serde_json::from_str::<Value>(&list).is_ok());
    }
}
