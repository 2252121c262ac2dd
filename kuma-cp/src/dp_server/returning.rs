//! Proxies that were connected to a control plane that is gone, and did not come back to any.
//!
//! Their streams ended with that process, so nobody saw them go. Without this a proxy that died meanwhile would be shown
//! online, and its endpoints would be sent traffic, for good. The instance that leads looks after it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use kuma_core::{
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::DataplaneInsight,
    state::MeshState,
    store::{Author, Store, StoreError, Write},
};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::leases::{Leases, Proxy};
use crate::state::StateHandle;

/// Key in the metadata of an insight: the Dataplane exists because its proxy brought it, and goes with it.
const REGISTERED: &str = "dataplane.registered";
/// Between two tries of a write that failed.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// Tries of a write when others write the same object.
const TRIES: usize = 5;

/// Whether the Dataplane of a proxy exists because the proxy brought it, by what was noted when it connected before.
pub(super) fn was_registered(state: &MeshState, (mesh, name): &Proxy) -> bool {
    let insight = state.get(&Key::new(Kind::DataplaneInsight, mesh.clone(), name.clone()));
    insight.and_then(|i| i.spec::<DataplaneInsight>()).is_some_and(registered)
}

/// Removes the Dataplane that a proxy had brought, unless its last stream is open at another instance than this one; false
/// if it is. This instance may not have heard of that yet, so nothing is removed if the database knows better.
pub(super) async fn remove(store: &dyn Store, (mesh, name): &Proxy, instance: &str) -> Result<bool, StoreError> {
    let dataplane = Key::new(Kind::Dataplane, mesh.clone(), name.clone());
    let key = Key::new(Kind::DataplaneInsight, mesh.clone(), name.clone());
    for attempt in 1.. {
        if store.get(&dataplane).await?.is_none() {
            return Ok(true);
        }
        let insight = store.get(&key).await?;
        let last = insight.as_ref().and_then(|i| i.spec::<DataplaneInsight>()).and_then(|i| i.subscriptions.last());
        if last.is_some_and(|s| s.disconnect_time.is_none() && s.control_plane_instance_id != instance) {
            return Ok(false);
        }
        match store.write_as(Author::part("dp-server"), removal(dataplane.clone(), insight.as_ref())).await {
            Ok(_) => return Ok(true),
            // Something was told of the proxy meanwhile.
            Err(StoreError::NotFound(_) | StoreError::Conflict(_)) if attempt < TRIES => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Removes a Dataplane, if its proxy's insight is still the one that was read.
fn removal(dataplane: Key, insight: Option<&AnyResource>) -> Vec<Write> {
    let unchanged = insight.map(|read| Write::Delete { key: read.key(), expected: Some(read.meta.version) });
    unchanged.into_iter().chain([Write::Delete { key: dataplane, expected: None }]).collect()
}

fn registered(insight: &DataplaneInsight) -> bool {
    insight.metadata.as_ref().is_some_and(|m| m[REGISTERED] == Value::Bool(true))
}

/// Notes in the metadata of a proxy that its Dataplane goes with it.
pub(super) fn note_registered(metadata: &mut Value) {
    if let Value::Object(fields) = metadata {
        fields.insert(REGISTERED.to_owned(), Value::Bool(true));
    }
}

/// Which instances are gone.
#[derive(Clone, Debug)]
pub enum Gone {
    /// This one has the store for itself: all that were before it.
    Others {
        /// This instance.
        than: Arc<str>,
    },
    /// Those that the store tells.
    Told(watch::Receiver<BTreeSet<Arc<str>>>),
}

impl Gone {
    fn includes(&self, instance: &str) -> bool {
        match self {
            Self::Others { than } => instance != &**than,
            Self::Told(known) => known.borrow().contains(instance),
        }
    }

    /// Waits until more may be gone.
    async fn changed(&mut self) {
        match self {
            Self::Others { .. } => std::future::pending().await,
            Self::Told(known) => {
                if known.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// Waits for proxies of instances that are gone. What has not come back after `patience` is shown offline; a Dataplane
/// that its proxy had brought is removed.
pub async fn run(
    store: Arc<dyn Store>,
    state: StateHandle,
    leases: Arc<Leases>,
    mut gone: Gone,
    patience: Duration,
    stop: CancellationToken,
) {
    let work = async {
        // Whoever comes late to the lead knows no better than one that has just started who is on its way back.
        tokio::time::sleep(patience).await;
        loop {
            if let Gone::Told(known) = &mut gone {
                known.mark_unchanged();
            }
            for proxy in absent(&*state.ready().await, &gone).into_iter().filter(|proxy| !leases.held(proxy)) {
                while let Err(error) = leave(&*store, &proxy, &gone).await {
                    tracing::warn!(%error, mesh = %proxy.0, proxy = %proxy.1, "a proxy that did not come back is still shown online");
                    tokio::time::sleep(RETRY).await;
                }
            }
            gone.changed().await;
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Proxies whose last stream was at an instance that is gone, and was not closed; or was, by the end of that instance,
/// so that the Dataplane that they had brought is still there.
fn absent(state: &MeshState, gone: &Gone) -> Vec<Proxy> {
    let awaited =
        |insight: &&AnyResource| insight.spec::<DataplaneInsight>().is_some_and(|insight| is_absent(insight, gone));
    let insights = state.list(Kind::DataplaneInsight).filter(awaited);
    insights.map(|insight| (insight.meta.mesh.clone(), insight.meta.name.clone())).collect()
}

fn is_absent(insight: &DataplaneInsight, gone: &Gone) -> bool {
    insight.subscriptions.last().is_some_and(|last| {
        gone.includes(&last.control_plane_instance_id) && (last.disconnect_time.is_none() || registered(insight))
    })
}

async fn leave(store: &dyn Store, (mesh, name): &Proxy, gone: &Gone) -> Result<(), StoreError> {
    let key = Key::new(Kind::DataplaneInsight, mesh.clone(), name.clone());
    let Some(stored) = store.get(&key).await? else { return Ok(()) };
    let mut insight = stored.spec::<DataplaneInsight>().cloned().unwrap_or_default();
    if !is_absent(&insight, gone) {
        return Ok(());
    }
    let batch = if registered(&insight) {
        tracing::info!(%mesh, proxy = %name, "the proxy did not come back to a control plane, its Dataplane is removed");
        removal(Key::new(Kind::Dataplane, mesh.clone(), name.clone()), Some(&stored))
    } else {
        tracing::info!(%mesh, proxy = %name, "the proxy did not come back to a control plane, it is shown offline");
        for subscription in insight.subscriptions.iter_mut().filter(|s| s.disconnect_time.is_none()) {
            subscription.disconnect_time = Some(Timestamp::now().to_string());
        }
        let expected = stored.meta.version;
        vec![Write::Update { resource: AnyResource::new(stored.meta, insight, NoStatus {}), expected }]
    };
    match store.write_as(Author::part("dp-server"), batch).await {
        // It came back at this very moment, or somebody removed it.
        Ok(_) | Err(StoreError::NotFound(_) | StoreError::Conflict(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use kuma_core::{
        meta::{Labels, Meta},
        resources::{Dataplane, Subscription},
        store::MemoryStore,
    };
    use serde_json::json;

    use super::*;
    use crate::state::Feed;

    async fn known(store: &dyn Store, name: &str, metadata: Value) {
        let dataplane = AnyResource::new(Meta::new("m", name, Labels::new()), Dataplane::default(), NoStatus {});
        let subscriptions = vec![Subscription { id: "1".into(), ..Subscription::default() }];
        let insight = DataplaneInsight { subscriptions, metadata: Some(metadata), ..DataplaneInsight::default() };
        let owner = Some(dataplane.key());
        let insight = AnyResource::new(Meta::new("m", name, Labels::new()), insight, NoStatus {});
        let batch =
            vec![Write::Create { resource: dataplane, owner: None }, Write::Create { resource: insight, owner }];
        store.write(batch).await.unwrap();
    }

    fn noted() -> Value {
        let mut metadata = json!({"dataplane.admin.port": "9901"});
        note_registered(&mut metadata);
        metadata
    }

    #[test]
    fn who_is_at_an_instance_that_is_there_is_not_absent() {
        let (tell, told) = watch::channel(BTreeSet::new());
        let gone = Gone::Told(told);
        let at = |instance: &str, closed: bool| Subscription {
            control_plane_instance_id: instance.into(),
            disconnect_time: closed.then(|| "2026-01-01T00:00:00Z".to_owned()),
            ..Subscription::default()
        };
        let insight = |subscriptions, metadata| DataplaneInsight {
            subscriptions,
            metadata: Some(metadata),
            ..DataplaneInsight::default()
        };
        let open = insight(vec![at("a", false)], json!({}));
        assert!(!is_absent(&open, &gone));
        tell.send_replace(BTreeSet::from(["a".into()]));
        assert!(is_absent(&open, &gone));
        assert!(!is_absent(&insight(vec![at("a", false), at("b", false)], json!({})), &gone), "it went to another one");
        assert!(!is_absent(&insight(vec![at("a", true)], json!({})), &gone), "it said good-bye");
        assert!(is_absent(&insight(vec![at("a", true)], noted()), &gone), "its Dataplane was left");
    }

    #[tokio::test]
    async fn who_does_not_come_back_is_offline_and_goes_if_it_brought_its_dataplane() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Timestamp::now));
        for (name, metadata) in [("applied", json!({})), ("brought", noted()), ("back", noted())] {
            known(&*store, name, metadata).await;
        }
        let stop = CancellationToken::new();
        let (feed, state) = Feed::new(store.clone());
        let feeding = tokio::spawn(feed.run(stop.clone()));
        let leases = Arc::new(Leases::default());
        let _held = leases.take(("m".into(), "back".into()));
        let now = state.ready().await;
        assert!(was_registered(&now, &("m".into(), "back".into())) && !was_registered(&now, &("m".into(), "x".into())));

        let looking = tokio::spawn(run(
            store.clone(),
            state.clone(),
            leases,
            Gone::Others { than: "me".into() },
            Duration::ZERO,
            stop.clone(),
        ));
        let mut changes = state.subscribe();
        let settled = |state: &MeshState| {
            let key = |kind, name: &str| Key::new(kind, "m", name);
            let applied = state.get(&key(Kind::DataplaneInsight, "applied"));
            let closed = applied
                .and_then(|i| i.spec::<DataplaneInsight>())
                .is_some_and(|i| i.subscriptions[0].disconnect_time.is_some());
            closed && state.get(&key(Kind::Dataplane, "brought")).is_none()
        };
        while !settled(&changes.next().await.unwrap().state) {}
        let get = async |kind, name: &str| store.get(&Key::new(kind, "m", name)).await.unwrap();
        assert!(
            get(Kind::Dataplane, "brought").await.is_none() && get(Kind::DataplaneInsight, "brought").await.is_none()
        );
        assert!(get(Kind::Dataplane, "back").await.is_some() && get(Kind::Dataplane, "applied").await.is_some());
        let closed = async |name: &str| {
            let insight = get(Kind::DataplaneInsight, name).await.unwrap();
            insight.spec::<DataplaneInsight>().unwrap().subscriptions[0].disconnect_time.is_some()
        };
        assert!(closed("applied").await && !closed("back").await);
        stop.cancel();
        looking.await.unwrap();
        feeding.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_open_elsewhere_is_not_removed() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Timestamp::now));
        known(&*store, "web", noted()).await;
        let (proxy, key): (Proxy, _) = (("m".into(), "web".into()), |kind| Key::new(kind, "m", "web"));
        let stored = store.get(&key(Kind::DataplaneInsight)).await.unwrap().unwrap();
        let mut insight = stored.spec::<DataplaneInsight>().unwrap().clone();
        insight.subscriptions[0].control_plane_instance_id = "other".into();
        let (before, meta) = (stored.clone(), stored.meta.clone());
        let update = |resource| Write::Update { resource, expected: stored.meta.version };
        store.write(vec![update(AnyResource::new(meta, insight, NoStatus {}))]).await.unwrap();
        assert!(!remove(&*store, &proxy, "me").await.unwrap());
        // An instance that has not heard of it believes what was before.
        let late = store.write(removal(key(Kind::Dataplane), Some(&before))).await;
        assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
        assert!(store.get(&key(Kind::Dataplane)).await.unwrap().is_some());
        assert!(remove(&*store, &proxy, "other").await.unwrap() && remove(&*store, &proxy, "me").await.unwrap());
        assert!(store.get(&key(Kind::Dataplane)).await.unwrap().is_none());
    }
}
