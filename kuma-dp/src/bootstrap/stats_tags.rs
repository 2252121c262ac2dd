//! Makes the tags of statistics cheap for Envoy, without a difference in the metrics.
//!
//! Envoy looks for every tag in the name of every statistic that it makes, and it makes some hundred for each cluster
//! and each listener, anew whenever one of them changes. Expressions of the bootstrap are tried by backtracking from
//! every position of the name. With those that control planes hand out that is nearly all of the work for a change:
//! more than 30 ms on a core for one cluster, while the main thread of Envoy does nothing else. An expression that
//! begins with `^name\.` is tried for statistics of that first name only.

use std::borrow::Cow;

use kuma_core::document::{Limits, Part};
use serde_json::{Value, json};

/// A tag, its expression as control planes hand it out, and those that find the same in less time.
const CHEAPER: [(&str, &str, &[&str]); 3] = [
    ("status", r"^grpc.*streams_closed(_([0-9]+))", &[r"^grpc\..*streams_closed(_([0-9]+))"]),
    // All statistics of worker threads begin with one of these names.
    (
        "worker",
        r"(worker_([0-9]+)\.)",
        &[
            r"^listener\..*?(worker_([0-9]+)\.)",
            r"^listener_manager\.(worker_([0-9]+)\.)",
            r"^server\.(worker_([0-9]+)\.)",
            r"^thread_local_cluster_manager\.(worker_([0-9]+)\.)",
        ],
    ),
    // What is before `rbac` begins at the begin of the name. These filters are in HTTP or in a filter chain of their
    // own prefix, while nearly all statistics are of clusters and listeners.
    ("listener", r"((.+?)\.)rbac\.", &[r"^(?!cluster\.|listener\.)((.+?)\.)rbac\."]),
];

/// The bootstrap with cheaper tags. What is not as expected stays as it came.
pub fn cheaper(bootstrap: &str) -> Cow<'_, str> {
    rewritten(bootstrap).map_or(Cow::Borrowed(bootstrap), Cow::Owned)
}

fn rewritten(bootstrap: &str) -> Option<String> {
    const KEY: &str = "statsConfig";
    let section = section(bootstrap, KEY)?;
    let mut document = Part::whole(&bootstrap[section.clone()]).parse(Limits::FILE).ok()?.value;
    let tags = document.get_mut(KEY)?.get_mut("statsTags")?.as_array_mut()?;
    *tags = std::mem::take(tags).into_iter().flat_map(one).collect();
    // JSON is YAML; nothing but this section changes.
    let config = &document[KEY];
    Some(format!("{}{KEY}: {config}\n{}", &bootstrap[..section.start], &bootstrap[section.end..]))
}

fn one(tag: Value) -> Vec<Value> {
    let known = CHEAPER.iter().find(|(name, regex, _)| tag["tagName"] == *name && tag["regex"] == *regex);
    match known {
        Some((name, _, cheaper)) => cheaper.iter().map(|regex| json!({"tagName": name, "regex": regex})).collect(),
        None => vec![tag],
    }
}

/// Where the lines of a key of the outermost mapping are, if it is written in block style.
fn section(yaml: &str, key: &str) -> Option<std::ops::Range<usize>> {
    let mut at = 0;
    let mut start = None;
    for line in yaml.split_inclusive('\n') {
        let is_outermost = !line.starts_with([' ', '-', '#', '\n', '\r']);
        match start {
            None if line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')) => start = Some(at),
            Some(start) if is_outermost => return Some(start..at),
            _ => {}
        }
        at += line.len();
    }
    Some(start?..at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "node:\n  id: 'a'\n";
    const AFTER: &str = "admin:\n  accessLogPath: /dev/null # ((.+?)\\.)rbac\\.\n";

    fn tags(yaml: &str) -> Vec<(String, String)> {
        let document = Part::whole(yaml).parse(Limits::FILE).unwrap().value;
        let tags = document["statsConfig"]["statsTags"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        tags.iter().map(|tag| (text(&tag["tagName"]), text(&tag["regex"]))).collect()
    }

    #[test]
    fn known_expressions_are_replaced_and_all_else_stays() {
        let config = "statsConfig:\n  statsTags:\n  - tagName: name\n    regex: '^grpc\\.((.+)\\.)'\n  \
                      - {regex: '(worker_([0-9]+)\\.)', tagName: worker}\n\n  - regex: \"((.+?)\\\\.)rbac\\\\.\"\n    \
                      tagName: listener\n  - tagName: mine\n    regex: ((.+?)\\.)rbac\\.\n";
        for (before, after) in [(BEFORE, AFTER), ("", AFTER), (BEFORE, "")] {
            let result = cheaper(&format!("{before}{config}{after}")).into_owned();
            assert!(result.starts_with(before) && result.ends_with(after), "{result}");
            let (worker, listener) = (CHEAPER[1], CHEAPER[2]);
            let mut expected = vec![("name", r"^grpc\.((.+)\.)")];
            expected.extend(worker.2.iter().map(|regex| ("worker", *regex)));
            expected.extend([("listener", listener.2[0]), ("mine", listener.1)]);
            let found = tags(&result);
            assert_eq!(found.iter().map(|(name, regex)| (name.as_str(), regex.as_str())).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_is_not_as_expected_stays() {
        for text in [
            BEFORE,
            "",
            r#"{"statsConfig": {"statsTags": []}}"#,
            "statsConfig: [",
            "statsConfig:\n  statsMatcher: {rejectAll: true}\n",
            "statsConfigs:\n  statsTags: []\n",
        ] {
            assert_eq!(cheaper(text), text);
        }
    }
}
