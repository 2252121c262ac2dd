//! Fills `{{ }}` placeholders in a Dataplane resource: the small part of Mustache that such files use.
//!
//! `{{name}}` is replaced by the variable, as it is (YAML is not HTML, so nothing is escaped; `{{{name}}}` and `{{&name}}`
//! mean the same). A name with dots is looked up as it stands. An unknown variable leaves empty text. `{{#name}}…{{/name}}` keeps its
//! content if the variable is set and not empty, `{{^name}}…{{/name}}` if it is not; `{{! …}}` is a comment.

use std::collections::BTreeMap;

/// A placeholder that cannot be understood. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("line {line}: \"{{{{\" is never closed by \"}}}}\"")]
    Unclosed {
        /// Where it opens.
        line: usize,
    },
    /// A section without an end, or an end without a section.
    #[error("line {line}: section {name:?} has no counterpart")]
    Unbalanced {
        /// Where it stands.
        line: usize,
        /// Its name.
        name: String,
    },
    /// A tag of Mustache that is not supported here.
    #[error(
        "line {line}: {{{{{tag}}}}} is not supported; use {{{{name}}}}, {{{{#name}}}}…{{{{/name}}}} or {{{{^name}}}}…{{{{/name}}}}"
    )]
    Unsupported {
        /// Where it stands.
        line: usize,
        /// What stands between the braces.
        tag: String,
    },
}

/// Renders `text` with `variables`.
pub fn render(text: &str, variables: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    // Open sections, innermost last: name, line, whether its content is kept.
    let mut open: Vec<(String, usize, bool)> = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while let Some(start) = rest.find("{{") {
        let (before, tail) = rest.split_at(start);
        let kept = |open: &[(String, usize, bool)]| open.iter().all(|(_, _, keep)| *keep);
        if kept(&open) {
            out.push_str(before);
        }
        line += before.matches('\n').count();
        let (prefix, suffix) = if tail.starts_with("{{{") { ("{{{", "}}}") } else { ("{{", "}}") };
        let inner = &tail[prefix.len()..];
        let end = inner.find(suffix).ok_or(TemplateError::Unclosed { line })?;
        let tag = inner[..end].trim();
        let mut chars = tag.chars();
        let (sigil, name) = match chars.next() {
            Some(c) if prefix == "{{" && "#^/!&>=".contains(c) => (c, chars.as_str().trim()),
            _ => ('&', tag),
        };
        match sigil {
            '&' if kept(&open) => out.push_str(variables.get(name).map_or("", String::as_str)),
            '#' | '^' => {
                let filled = variables.get(name).is_some_and(|v| !v.is_empty() && v != "false");
                open.push((name.to_owned(), line, filled == (sigil == '#')));
            }
            '/' => match open.pop() {
                Some((opened, _, _)) if opened == name => {}
                _ => return Err(TemplateError::Unbalanced { line, name: name.to_owned() }),
            },
            '>' | '=' => return Err(TemplateError::Unsupported { line, tag: tag.to_owned() }),
            _ => {}
        }
        line += inner[..end].matches('\n').count();
        rest = &inner[end + suffix.len()..];
    }
    if let Some((name, line, _)) = open.pop() {
        return Err(TemplateError::Unbalanced { line, name });
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)], text: &str) -> Result<String, TemplateError> {
        render(text, &pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn variables_are_replaced_as_they_are() {
        let vars = [("name", "web"), ("a.b", "<1&2>")];
        assert_eq!(with(&vars, "n: {{ name }}, {{a.b}}{{{a.b}}}{{&a.b}}").unwrap(), "n: web, <1&2><1&2><1&2>");
        assert_eq!(with(&[], "n: '{{ unknown }}'").unwrap(), "n: ''");
    }

    #[test]
    fn sections_depend_on_a_variable() {
        let text = "a{{#probe}} {{probe}}{{^deep}} no{{/deep}}{{/probe}}{{! note }}b";
        assert_eq!(with(&[("probe", "tcp")], text).unwrap(), "a tcp nob");
        assert_eq!(with(&[], text).unwrap(), "ab");
    }

    #[test]
    fn mistakes_are_found_with_their_line() {
        assert_eq!(with(&[], "a\nb {{ name").unwrap_err(), TemplateError::Unclosed { line: 2 });
        let unbalanced = TemplateError::Unbalanced { line: 2, name: "x".into() };
        assert_eq!(with(&[], "\n{{#x}}").unwrap_err(), unbalanced);
        assert_eq!(with(&[], "\n{{/x}}").unwrap_err(), unbalanced);
        assert!(matches!(with(&[], "{{> file}}").unwrap_err(), TemplateError::Unsupported { .. }));
    }
}
