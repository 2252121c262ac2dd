//! Cells of tables: ages, dates, tags.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// Longest age that the published tool can express, which it prints for a time that was never set.
const LONGEST: i64 = i64::MAX / 1_000_000_000;

/// Time since `then` in one unit; `never` for the future.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = (now.as_second() - then.as_second()).min(LONGEST);
    match seconds {
        ..-1 => "never".into(),
        -1 => "0s".into(),
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        DAY..YEAR => format!("{}d", seconds / DAY),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// Time since a JSON time; `never` if there is none.
pub fn ago(now: Timestamp, then: &Value) -> String {
    time(then).map_or_else(|| "never".into(), |then| age(now, then))
}

/// A JSON time in the local zone; `-` if there is none.
pub fn date(value: &Value, zone: &TimeZone) -> String {
    time(value).map_or_else(|| "-".into(), |at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Reads a JSON time.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Age of a resource from its `modificationTime`.
pub fn resource_age(now: Timestamp, resource: &Value) -> String {
    time(&resource["modificationTime"]).map_or_else(|| "never".into(), |at| age(now, at))
}

/// `k=v1,v2` pairs, sorted, from labels and gateway tags of a Dataplane.
pub fn tags(labels: &Value, gateway_tags: &Value) -> String {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for map in [labels, gateway_tags] {
        for (key, value) in map.as_object().into_iter().flatten() {
            all.entry(key).or_default().insert(value.as_str().unwrap_or_default());
        }
    }
    let pairs: Vec<String> = all
        .into_iter()
        .map(|(key, values)| format!("{key}={}", values.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    pairs.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit_and_are_cut_off() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let at = |seconds: i64| Timestamp::from_second(now.as_second() - seconds).expect("in range");
        for (seconds, text) in
            [(-5, "never"), (-1, "0s"), (59, "59s"), (119, "1m"), (7199, "1h"), (86_400 * 3, "3d"), (YEAR * 2, "2y")]
        {
            assert_eq!(age(now, at(seconds)), text);
        }
        assert_eq!(age(now, "0001-01-01T00:00:00Z".parse().expect("a time")), "292y");
    }

    #[test]
    fn a_missing_time_is_never() {
        assert_eq!(ago(Timestamp::UNIX_EPOCH, &Value::Null), "never");
        assert_eq!(date(&Value::Null, &TimeZone::UTC), "-");
    }
}
