//! The query of a request: parsed once, asked by name, written back for page links.

use std::collections::BTreeMap;

/// Parameters by name, values in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(BTreeMap<String, Vec<String>>);

impl Query {
    pub(super) fn parse(text: &str) -> Self {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, value) in url::form_urlencoded::parse(text.as_bytes()) {
            all.entry(key.into_owned()).or_default().push(value.into_owned());
        }
        Self(all)
    }

    /// First value of a parameter; empty if it is not there.
    pub(super) fn get(&self, key: &str) -> &str {
        self.0.get(key).and_then(|v| v.first()).map_or("", String::as_str)
    }

    /// All values of a parameter.
    pub(super) fn all(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Every parameter, sorted by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_slice()))
    }

    /// The query with one parameter replaced, keys in order.
    pub(super) fn with(&self, key: &str, value: impl Into<String>) -> String {
        let mut all = self.0.clone();
        all.insert(key.to_owned(), vec![value.into()]);
        let mut out = url::form_urlencoded::Serializer::new(String::new());
        for (key, values) in &all {
            for value in values {
                out.append_pair(key, value);
            }
        }
        out.finish()
    }

    /// A boolean as the API reads it; `None` if it is none. Absent and empty are `default`.
    pub(super) fn flag(&self, key: &str, default: bool) -> Option<bool> {
        match self.get(key) {
            "" => Some(default),
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_link_keeps_everything_sorted() {
        let query = Query::parse("size=2&offset=1&filter[labels.a]=x%20y&size=3");
        assert_eq!(query.get("size"), "2");
        assert_eq!(query.with("offset", "3"), "filter%5Blabels.a%5D=x+y&offset=3&size=2&size=3");
    }

    #[test]
    fn flags_are_read_or_refused() {
        let query = Query::parse("a=T&b=0&c=maybe&d");
        assert_eq!(
            ["a", "b", "c", "d", "e"].map(|k| query.flag(k, true)),
            [Some(true), Some(false), None, Some(true), Some(true)]
        );
    }
}
