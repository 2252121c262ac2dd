//! The order of the subscriptions of a proxy, which instances tell of on their own.

use jiff::{SignedDuration, Timestamp};
use kuma_core::resources::{DataplaneInsight, Subscription};

use super::pending::Pending;

/// How far the clocks of the hosts of control planes may be apart.
const CLOCKS: SignedDuration = SignedDuration::from_secs(5);

/// Puts changed subscriptions in, oldest first. All but the last are closed, and only the newest are kept.
///
/// Another instance may have written one of a newer stream before this one could tell of its own: the store was out of
/// its reach, or its process stood still.
pub(super) fn merge(spec: &mut DataplaneInsight, changes: &Pending, keep: usize) {
    let subscriptions = &mut spec.subscriptions;
    for id in &changes.order {
        let Some(subscription) = changes.subscriptions.get(id) else { continue };
        if let Some(known) = subscriptions.iter_mut().find(|known| known.id == subscription.id) {
            *known = subscription.clone();
        } else {
            subscriptions.insert(place(subscriptions, subscription), subscription.clone());
        }
        for older in 1..subscriptions.len() {
            if subscriptions[older - 1].disconnect_time.is_none() {
                subscriptions[older - 1].disconnect_time = subscriptions[older].connect_time.clone();
            }
        }
    }
    if spec.subscriptions.len() > keep {
        spec.subscriptions.drain(..spec.subscriptions.len() - keep);
    }
    if let Some(metadata) = &changes.metadata {
        spec.metadata = Some(metadata.clone());
    }
}

/// Where a subscription that nobody knows yet belongs. Instances may stand on hosts whose clocks differ: a stream that is
/// over does not come after one that stands, and one that stands is the newest unless it is much older.
fn place(known: &[Subscription], subscription: &Subscription) -> usize {
    let is_open = |subscription: &Subscription| subscription.disconnect_time.is_none();
    let allowance = if is_open(subscription) { CLOCKS } else { SignedDuration::ZERO };
    let since = begin(subscription).and_then(|at| at.checked_add(allowance).ok());
    let at = known.iter().rposition(|other| begin(other) <= since).map_or(0, |last| last + 1);
    match known.last() {
        Some(last) if is_open(last) && !is_open(subscription) => at.min(known.len() - 1),
        // Its clock has been set back.
        Some(last) if !is_open(last) && is_open(subscription) => known.len(),
        _ => at,
    }
}

/// When a subscription began; one that does not say so is older than all others.
fn begin(subscription: &Subscription) -> Option<Timestamp> {
    subscription.connect_time.as_ref().and_then(|time| time.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use super::*;

    fn subscription(id: &str, connected: &str, disconnected: Option<&str>) -> Subscription {
        let time = |seconds: &str| format!("2026-01-01T00:00:{seconds}Z");
        Subscription {
            id: id.into(),
            connect_time: Some(time(connected)),
            disconnect_time: disconnected.map(time),
            ..Subscription::default()
        }
    }

    /// What is known after this one is told of: ids, and whether the stream stands.
    fn merged(known: Vec<Subscription>, told: Subscription) -> Vec<(String, bool)> {
        let mut spec = DataplaneInsight { subscriptions: known, ..DataplaneInsight::default() };
        let id: Arc<str> = told.id.as_str().into();
        let subscriptions = BTreeMap::from([(id.clone(), told)]);
        merge(&mut spec, &Pending { subscriptions, order: vec![id], ..Pending::default() }, 10);
        spec.subscriptions.into_iter().map(|s| (s.id, s.disconnect_time.is_none())).collect()
    }

    #[test]
    fn who_tells_late_of_a_stream_that_is_over_does_not_close_the_one_that_stands() {
        let expected = [("late".to_owned(), false), ("stands".to_owned(), true)];
        let stands = || vec![subscription("stands", "20", None)];
        assert_eq!(merged(stands(), subscription("late", "10", Some("15"))), expected);
        assert_eq!(merged(stands(), subscription("late", "22", Some("25"))), expected, "by a clock that is ahead");
        let both = vec![subscription("late", "10", Some("20")), subscription("stands", "20", None)];
        assert_eq!(merged(both, subscription("late", "10", None)), expected, "it does not know yet");
    }

    #[test]
    fn a_stream_that_stands_is_the_last_unless_it_is_much_older() {
        let known = || vec![subscription("left", "20", None)];
        let moved = [("left".to_owned(), false), ("new".to_owned(), true)];
        assert_eq!(merged(known(), subscription("new", "21", None)), moved);
        assert_eq!(merged(known(), subscription("new", "18", None)), moved, "by a clock that is behind");
        let over = vec![subscription("over", "40", Some("50"))];
        let expected = [("over".to_owned(), false), ("new".to_owned(), true)];
        assert_eq!(merged(over, subscription("new", "10", None)), expected, "by a clock that was set back");
        let expected = [("half-open".to_owned(), false), ("left".to_owned(), true)];
        assert_eq!(merged(known(), subscription("half-open", "10", None)), expected);
    }
}
