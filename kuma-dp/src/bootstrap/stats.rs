//! Makes statistics cheap for Envoy, without a difference in the metrics of what a proxy carries.
//!
//! Envoy looks for every tag in the name of every statistic that it makes, and it makes some hundred for each cluster
//! and each listener, anew whenever one of them changes. Expressions of the bootstrap are tried by backtracking from
//! every position of the name. With those that control planes hand out that is nearly all of the work for a change:
//! more than 30 ms on a core for one cluster, while the main thread of Envoy does nothing else. An expression that
//! begins with `^name\.` is tried for statistics of that first name only, and it counts how it begins: what follows may
//! be an alternative to it.
//!
//! The listener that kuma-dp polls changes with every service of the mesh, and its statistics say nothing but that: it
//! has none.

use std::borrow::Cow;

use kuma_core::document::{Limits, Part};
use serde_json::{Value, json};

/// A tag, its expression as control planes hand it out, and those that find the same in less time.
const CHEAPER: [(&str, &str, &[&str]); 2] = [
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
];
/// The tag of RBAC filters: all that is before `rbac`, from the begin of the name.
const RBAC: (&str, &str) = ("listener", r"((.+?)\.)rbac\.");
/// The same where the listeners are not known. It is tried for every statistic; those of clusters and listeners, which
/// are nearly all, fail early.
const RBAC_ANYWHERE: &str = r"^(?!cluster\.|listener\.)((.+?)\.)rbac\.";

/// Beginnings of the names of all statistics of the listener that kuma-dp polls.
const OF_OURS: [&str; 2] = ["http.system_dynamicconfig.", "listener.system_dynamicconfig."];

/// The bootstrap with cheaper statistics. What is not as expected stays as it came.
///
/// `inbounds`: sections of all inbounds, if the proxy has no other listeners that could hold an RBAC filter of their
/// own. That of an inbound which is added later has no `listener` in its metrics, if it is one for TCP;
/// `envoy_rbac_prefix` says the same.
pub fn cheaper<'a>(bootstrap: &'a str, inbounds: Option<&[String]>) -> Cow<'a, str> {
    rewritten(bootstrap, inbounds).map_or(Cow::Borrowed(bootstrap), Cow::Owned)
}

fn rewritten(bootstrap: &str, inbounds: Option<&[String]>) -> Option<String> {
    const KEY: &str = "statsConfig";
    let section = section(bootstrap, KEY)?;
    let mut document = Part::whole(&bootstrap[section.clone()]).parse(Limits::FILE).ok()?.value;
    let tags = document.get_mut(KEY)?.get_mut("statsTags")?.as_array_mut()?;
    *tags = std::mem::take(tags).into_iter().flat_map(|tag| one(tag, inbounds)).collect();
    if ["statsMatcher", "stats_matcher"].iter().all(|name| document[KEY].get(name).is_none()) {
        let patterns = OF_OURS.map(|prefix| json!({"prefix": prefix}));
        document[KEY]["statsMatcher"] = json!({"exclusionList": {"patterns": patterns}});
    }
    // JSON is YAML; nothing but this section changes.
    let config = &document[KEY];
    Some(format!("{}{KEY}: {config}\n{}", &bootstrap[..section.start], &bootstrap[section.end..]))
}

fn one(tag: Value, inbounds: Option<&[String]>) -> Vec<Value> {
    let is = |name: &str, regex: &str| tag["tagName"] == name && tag["regex"] == regex;
    let with = |name: &str, regex: &str| json!({"tagName": name, "regex": regex});
    if is(RBAC.0, RBAC.1) {
        return rbac(inbounds).iter().map(|regex| with(RBAC.0, regex)).collect();
    }
    let known = CHEAPER.iter().find(|(name, regex, _)| is(name, regex));
    match known {
        Some((name, _, cheaper)) => cheaper.iter().map(|regex| with(name, regex)).collect(),
        None => vec![tag],
    }
}

/// Filters in HTTP count under `http`, those of a filter chain under the name of their listener.
fn rbac(inbounds: Option<&[String]>) -> Vec<String> {
    // Envoy tells the first name only if it is made of these.
    let is_plain = |section: &String| section.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let Some(inbounds) = inbounds.filter(|inbounds| inbounds.iter().all(is_plain)) else {
        return vec![RBAC_ANYWHERE.to_owned()];
    };
    // The first alternative matches nothing; the second fails early for what is not of an inbound.
    let within = |name: &str, value: &str| format!(r"^{name}\.(?!)|^(({value})\.)rbac\.");
    let http = within("http", r"http\.self_inbound_dp_.+?");
    let listeners = inbounds.iter().map(|section| {
        let name = format!("self_inbound_dp_{section}");
        within(&name, &name)
    });
    std::iter::once(http).chain(listeners).collect()
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
            let result = cheaper(&format!("{before}{config}{after}"), None).into_owned();
            assert!(result.starts_with(before) && result.ends_with(after), "{result}");
            let worker = CHEAPER[1];
            let mut expected = vec![("name", r"^grpc\.((.+)\.)")];
            expected.extend(worker.2.iter().map(|regex| ("worker", *regex)));
            expected.extend([("listener", RBAC_ANYWHERE), ("mine", RBAC.1)]);
            let found = tags(&result);
            assert_eq!(found.iter().map(|(name, regex)| (name.as_str(), regex.as_str())).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn rbac_is_looked_for_in_known_listeners() {
        let config = "statsConfig:\n  statsTags:\n  - {tagName: listener, regex: '((.+?)\\.)rbac\\.'}\n";
        let found = |sections: &[&str]| {
            let sections: Vec<String> = sections.iter().map(|section| (*section).to_owned()).collect();
            let tags = tags(&cheaper(config, Some(&sections)));
            tags.into_iter().map(|(_, regex)| regex).collect::<Vec<_>>()
        };
        let http = r"^http\.(?!)|^((http\.self_inbound_dp_.+?)\.)rbac\.";
        assert_eq!(found(&[]), [http]);
        let tcp = r"^self_inbound_dp_8080\.(?!)|^((self_inbound_dp_8080)\.)rbac\.";
        assert_eq!(found(&["8080"]), [http, tcp]);
        assert_eq!(found(&["8080", "http-port"]), [RBAC_ANYWHERE]);
    }

    #[test]
    fn the_listener_that_is_polled_has_no_statistics_unless_others_choose() {
        let matcher = |config: &str| {
            let yaml = cheaper(config, None).into_owned();
            let document = Part::whole(&yaml).parse(Limits::FILE).unwrap().value;
            document["statsConfig"]["statsMatcher"].clone()
        };
        let patterns = json!([{"prefix": OF_OURS[0]}, {"prefix": OF_OURS[1]}]);
        assert_eq!(matcher("statsConfig:\n  statsTags: []\n"), json!({"exclusionList": {"patterns": patterns}}));
        let chosen = "statsConfig:\n  statsTags: []\n  statsMatcher: {rejectAll: true}\n";
        assert_eq!(matcher(chosen), json!({"rejectAll": true}));
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
            assert_eq!(cheaper(text, None), text);
        }
    }
}
