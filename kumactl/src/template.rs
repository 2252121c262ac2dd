//! Templates of `apply --var`: the part of Mustache that resource files use. Partials are off, as they would read
//! files from disk that nobody named on the command line.

use serde_json::{Map, Value};

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A tag has no end.
    #[error("line {line}: the tag that begins with {opened:?} is not closed")]
    Unclosed {
        /// Line of the tag, from 1.
        line: usize,
        /// Its first characters.
        opened: &'static str,
    },
    /// A section has no end, or one of another name.
    #[error("line {line}: the section {name:?} is not closed")]
    Section {
        /// Line of its beginning, from 1.
        line: usize,
        /// Name of the section.
        name: String,
    },
    /// An end without a section.
    #[error("line {line}: {name:?} is closed but was not opened")]
    Stray {
        /// Line of the end, from 1.
        line: usize,
        /// Name in it.
        name: String,
    },
}

/// Values of variables; dotted names nest, later ones win.
pub fn variables(pairs: &[(String, String)]) -> Value {
    let mut root = Map::new();
    for (name, value) in pairs {
        insert(&mut root, name, value);
    }
    Value::Object(root)
}

fn insert(map: &mut Map<String, Value>, name: &str, value: &str) {
    let Some((first, rest)) = name.split_once('.') else {
        map.insert(name.to_owned(), Value::String(value.to_owned()));
        return;
    };
    let mut inner = match map.shift_remove(first) {
        Some(Value::Object(inner)) => inner,
        _ => Map::new(),
    };
    insert(&mut inner, rest, value);
    map.insert(first.to_owned(), Value::Object(inner));
}

/// Fills a template. What is not defined becomes empty.
///
/// # Errors
/// Tags that do not fit together.
pub fn render(text: &str, variables: &Value) -> Result<String, TemplateError> {
    let mut parser = Parser { text, at: 0 };
    let nodes = parser.nodes(None)?;
    let mut out = String::with_capacity(text.len());
    write(&nodes, &[variables], &mut out);
    Ok(out)
}

enum Node<'a> {
    Text(&'a str),
    Value { name: &'a str, escape: bool },
    Section { name: &'a str, inverted: bool, inner: Vec<Node<'a>> },
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// Nodes up to the end of the text, or of the section with this name and start.
    fn nodes(&mut self, section: Option<(&'a str, usize)>) -> Result<Vec<Node<'a>>, TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(open) = rest.find("{{") else {
                if let Some((name, at)) = section {
                    return Err(TemplateError::Section { line: self.line(at), name: name.to_owned() });
                }
                nodes.push(Node::Text(rest));
                self.at = self.text.len();
                return Ok(nodes);
            };
            nodes.push(Node::Text(&rest[..open]));
            let start = self.at + open;
            let (opened, closed) = if rest[open..].starts_with("{{{") { ("{{{", "}}}") } else { ("{{", "}}") };
            let body = &self.text[start + opened.len()..];
            let Some(end) = body.find(closed) else {
                return Err(TemplateError::Unclosed { line: self.line(start), opened });
            };
            let tag = body[..end].trim();
            self.at = start + opened.len() + end + closed.len();
            if opened == "{{{" {
                nodes.push(Node::Value { name: tag, escape: false });
                continue;
            }
            let name = tag.get(1..).unwrap_or_default().trim();
            match tag.chars().next() {
                Some('!' | '>') => self.skip_line_end(),
                Some('&') => nodes.push(Node::Value { name, escape: false }),
                Some(mark @ ('#' | '^')) => {
                    self.skip_line_end();
                    let inner = self.nodes(Some((name, start)))?;
                    nodes.push(Node::Section { name, inverted: mark == '^', inner });
                }
                Some('/') => {
                    self.skip_line_end();
                    return match section {
                        Some((open, _)) if open == name => Ok(nodes),
                        Some((open, at)) => Err(TemplateError::Section { line: self.line(at), name: open.to_owned() }),
                        None => Err(TemplateError::Stray { line: self.line(start), name: name.to_owned() }),
                    };
                }
                _ => nodes.push(Node::Value { name: tag, escape: true }),
            }
        }
    }

    /// A tag that writes nothing takes the end of its line with it.
    fn skip_line_end(&mut self) {
        let rest = &self.text[self.at..];
        if rest.starts_with('\n') {
            self.at += 1;
        } else if rest.starts_with("\r\n") {
            self.at += 2;
        }
    }
}

fn write(nodes: &[Node<'_>], scopes: &[&Value], out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Value { name, escape } => {
                if let Some(Value::String(text)) = look_up(name, scopes) {
                    if *escape { escaped(text, out) } else { out.push_str(text) }
                }
            }
            Node::Section { name, inverted, inner } => {
                let value = look_up(name, scopes);
                let filled = match value {
                    Some(Value::String(text)) => !text.is_empty(),
                    other => other.is_some(),
                };
                if *inverted && !filled {
                    write(inner, scopes, out);
                } else if let Some(value) = value.filter(|_| filled && !inverted) {
                    let mut scopes = scopes.to_vec();
                    scopes.push(value);
                    write(inner, &scopes, out);
                }
            }
        }
    }
}

/// A name, from the innermost section outwards; `.` is the section itself.
fn look_up<'v>(name: &str, scopes: &[&'v Value]) -> Option<&'v Value> {
    if name == "." {
        return scopes.last().copied();
    }
    let mut parts = name.split('.');
    let first = parts.next().unwrap_or_default();
    let mut value = scopes.iter().rev().find_map(|scope| scope.get(first))?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

fn escaped(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let pairs = [("name", "n"), ("a.b", "1"), ("a.c", "<2>"), ("none", "")];
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        render(text, &variables(&pairs)).expect("a template")
    }

    #[test]
    fn names_are_replaced() {
        assert_eq!(filled("x: {{ name }}, {{name}}, {{ missing }}."), "x: n, n, .");
        assert_eq!(filled("{{ a.b }} {{ a.c }} {{{ a.c }}} {{& a.c }}"), "1 &lt;2&gt; <2> <2>");
    }

    #[test]
    fn sections_show_for_what_is_set() {
        assert_eq!(filled("{{#name}}\nyes {{.}}\n{{/name}}\nend"), "yes n\nend");
        assert_eq!(filled("{{#none}}yes{{/none}}{{^none}}no{{/none}}"), "no");
        assert_eq!(filled("{{#a}}{{b}}{{name}}{{/a}}"), "1n");
        assert_eq!(filled("{{! a comment }}x{{> file }}"), "x");
    }

    #[test]
    fn wrong_templates_say_where() {
        let error = |text: &str| render(text, &Value::Null).expect_err("wrong").to_string();
        assert_eq!(error("a\n{{ b"), "line 2: the tag that begins with \"{{\" is not closed");
        assert_eq!(error("{{#a}}\n"), "line 1: the section \"a\" is not closed");
        assert_eq!(error("\n\n{{/a}}"), "line 3: \"a\" is closed but was not opened");
    }
}
