//! What has happened and is not written yet.

use std::{collections::BTreeMap, sync::Arc};

use kuma_core::resources::Subscription;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::leases::Proxy;

/// The changes of all proxies that are not written yet.
pub(super) type Unwritten = BTreeMap<Proxy, Pending>;

/// The changes of one proxy that are not written yet.
#[derive(Default)]
pub(super) struct Pending {
    /// By id; latest state of each.
    pub(super) subscriptions: BTreeMap<Arc<str>, Subscription>,
    /// Ids in the order in which they came.
    pub(super) order: Vec<Arc<str>>,
    /// Node metadata of the latest stream.
    pub(super) metadata: Option<Value>,
    /// Cancelled if the Dataplane turns out not to be there.
    pub(super) missing: Option<CancellationToken>,
}

impl Pending {
    /// Adds a state of a subscription, and what its stream has brought if it is new. The latest `keep` stay.
    pub(super) fn put(
        &mut self,
        subscription: Subscription,
        metadata: Option<Value>,
        missing: Option<CancellationToken>,
        keep: usize,
    ) {
        let id: Arc<str> = subscription.id.as_str().into();
        if self.subscriptions.insert(id.clone(), subscription).is_none() {
            self.order.push(id);
        }
        while self.order.len() > keep.max(1) {
            self.subscriptions.remove(&self.order.remove(0));
        }
        self.metadata = metadata.or(self.metadata.take());
        self.missing = missing.or(self.missing.take());
    }
}

/// Both, of which `newer` happened later. The latest `keep` subscriptions of each proxy stay.
pub(super) fn stack(older: Unwritten, newer: Unwritten, keep: usize) -> Unwritten {
    let mut all = older;
    for (proxy, mut newer) in newer {
        let entry = all.entry(proxy).or_default();
        for id in &newer.order {
            if let Some(subscription) = newer.subscriptions.remove(id) {
                entry.put(subscription, None, None, keep);
            }
        }
        entry.metadata = newer.metadata.or(entry.metadata.take());
        entry.missing = newer.missing.or(entry.missing.take());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(id: &str, end: Option<&str>) -> Subscription {
        Subscription { id: id.into(), disconnect_time: end.map(str::to_owned), ..Subscription::default() }
    }

    #[test]
    fn what_happened_later_counts() {
        let proxy: Proxy = ("default".into(), "web-1".into());
        let (mut older, mut newer) = (Unwritten::new(), Unwritten::new());
        older.entry(proxy.clone()).or_default().put(subscription("a", None), Some("a".into()), None, 2);
        let gone = CancellationToken::new();
        newer.entry(proxy.clone()).or_default().put(subscription("a", Some("end")), None, None, 2);
        newer.entry(proxy.clone()).or_default().put(subscription("b", None), None, Some(gone.clone()), 2);
        let all = stack(older, newer, 2);
        let Pending { subscriptions, order, metadata, missing } = &all[&proxy];
        assert_eq!(order.iter().map(|id| &**id).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(subscriptions["a"].disconnect_time.as_deref(), Some("end"));
        assert_eq!(metadata, &Some("a".into()), "nothing newer is known");
        assert!(missing.is_some());
    }

    #[test]
    fn no_more_are_kept_than_will_be_written() {
        let mut pending = Pending::default();
        for id in ["a", "b", "c", "b"] {
            pending.put(subscription(id, None), None, None, 2);
        }
        assert_eq!(pending.order.iter().map(|id| &**id).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(pending.subscriptions.len(), 2);
    }
}
