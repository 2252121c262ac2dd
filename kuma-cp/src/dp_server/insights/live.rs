//! Streams that stand.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use kuma_core::{
    registry::Kind,
    resource::Key,
    resources::{DataplaneInsight, Subscription, SubscriptionStatus},
    store::Change,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{super::leases::Proxy, InsightEvent, InsightSettings, pending::Unwritten};
use crate::state::Batch;

/// The streams of this instance.
pub(super) struct Live {
    instance: Arc<str>,
    keep: usize,
    streams: BTreeMap<Arc<str>, Stream>,
    /// The latest stream of each proxy.
    latest: BTreeMap<Proxy, Latest>,
}

struct Stream {
    subscription: Subscription,
    /// As JSON text, which takes a fraction of the room of a value.
    metadata: Option<Box<str>>,
    missing: CancellationToken,
}

struct Latest {
    id: Arc<str>,
    /// Its Dataplane is not there: its insight waits for one.
    orphaned: bool,
}

impl Live {
    pub(super) fn new(settings: &InsightSettings) -> Self {
        let (streams, latest) = (BTreeMap::new(), BTreeMap::new());
        Self { instance: settings.instance.clone(), keep: settings.keep, streams, latest }
    }

    /// Takes an event in; true if it is to be written at once.
    pub(super) fn note(&mut self, event: InsightEvent, pending: &mut Unwritten) -> bool {
        let now = Timestamp::now().to_string();
        let (proxy, subscription, urgent) = match event {
            InsightEvent::Connected { proxy, id, version, metadata, missing } => {
                let subscription = Subscription {
                    id: id.to_string(),
                    control_plane_instance_id: self.instance.to_string(),
                    connect_time: Some(now.clone()),
                    version,
                    status: SubscriptionStatus { last_update_time: Some(now), ..SubscriptionStatus::default() },
                    ..Subscription::default()
                };
                let text = metadata.as_ref().map(|metadata| metadata.to_string().into());
                let stream = Stream { subscription: subscription.clone(), metadata: text, missing: missing.clone() };
                self.streams.insert(id.clone(), stream);
                self.latest.insert(proxy.clone(), Latest { id, orphaned: false });
                pending.entry(proxy).or_default().put(subscription, metadata, Some(missing), self.keep);
                return true;
            }
            InsightEvent::Counted { proxy, id, status } => {
                let Some(Stream { subscription, .. }) = self.streams.get_mut(&id) else { return false };
                // A refusal is what the user is looking for: it does not wait for the next flush.
                let urgent = status.rejections != subscription.status.rejections;
                subscription.status = SubscriptionStatus { last_update_time: Some(now), ..*status };
                (proxy, subscription.clone(), urgent)
            }
            InsightEvent::Disconnected { proxy, id, status } => {
                let Some(Stream { mut subscription, .. }) = self.streams.remove(&id) else { return false };
                if self.latest.get(&proxy).is_some_and(|latest| latest.id == id) {
                    self.latest.remove(&proxy);
                }
                subscription.status = SubscriptionStatus { last_update_time: Some(now.clone()), ..*status };
                subscription.disconnect_time = Some(now);
                (proxy, subscription, true)
            }
        };
        pending.entry(proxy).or_default().put(subscription, None, None, self.keep);
        urgent
    }

    /// Looks at what has changed in the store; true if something of a stream that stands is gone from it, which is
    /// pending then. A write finds out whether the Dataplane is there.
    pub(super) fn look(&mut self, batch: &Batch, pending: &mut Unwritten) -> bool {
        let mut lost = false;
        for Change { key, now } in &batch.changes {
            if !matches!(key.kind, Kind::Dataplane | Kind::DataplaneInsight) {
                continue;
            }
            let proxy: Proxy = (key.mesh.clone(), key.name.clone());
            let Some(latest) = self.latest.get_mut(&proxy) else { continue };
            let is_lost = match (key.kind, now) {
                (Kind::Dataplane, Some(_)) => std::mem::take(&mut latest.orphaned),
                (Kind::Dataplane, None) => {
                    latest.orphaned = true;
                    true
                }
                (_, None) => {
                    let dataplane = Key::new(Kind::Dataplane, key.mesh.clone(), key.name.clone());
                    latest.orphaned = batch.state.get(&dataplane).is_none();
                    true
                }
                (_, Some(insight)) => {
                    let known = insight.spec::<DataplaneInsight>().map_or(&[][..], |insight| &insight.subscriptions);
                    // With as many as are kept, this one may have had to go for newer ones.
                    known.len() < self.keep && known.iter().all(|known| *known.id != *latest.id)
                }
            };
            if is_lost && let Some(stream) = self.streams.get(&latest.id) {
                let metadata: Option<Value> = stream.metadata.as_ref().and_then(|text| serde_json::from_str(text).ok());
                let (subscription, missing) = (stream.subscription.clone(), stream.missing.clone());
                pending.entry(proxy).or_default().put(subscription, metadata, Some(missing), self.keep);
                lost = true;
            }
        }
        lost
    }
}
