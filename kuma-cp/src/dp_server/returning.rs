//! After a start on a store that remembers: proxies that were connected before and do not come back.
//!
//! Their streams ended with the process before, so nobody saw them go. Without this a proxy that died meanwhile would be
//! shown online, and its endpoints would be sent traffic, for good. For stores that serve one control plane: with
//! several, a stream may be at another one.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kuma_core::{
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::DataplaneInsight,
    state::MeshState,
    store::{Store, StoreError, Write},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::leases::{Leases, Proxy};
use crate::state::StateHandle;

/// Key in the metadata of an insight: the Dataplane exists because its proxy brought it, and goes with it.
const REGISTERED: &str = "dataplane.registered";
/// Between two tries of a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Whether the Dataplane of a proxy exists because the proxy brought it, by what was noted when it connected before.
pub(super) fn was_registered(state: &MeshState, (mesh, name): &Proxy) -> bool {
    let insight = state.get(&Key::new(Kind::DataplaneInsight, mesh.clone(), name.clone()));
    insight.and_then(|i| i.spec::<DataplaneInsight>()).is_some_and(registered)
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

/// Waits for proxies that were connected when the process before ended. What has not come back after `patience` is
/// shown offline; a Dataplane that its proxy had brought is removed.
pub async fn run(
    store: Arc<dyn Store>,
    state: StateHandle,
    leases: Arc<Leases>,
    patience: Duration,
    stop: CancellationToken,
) {
    let expected = stop.run_until_cancelled(async { connected(&*state.ready().await) }).await.unwrap_or_default();
    if expected.is_empty() || stop.run_until_cancelled(tokio::time::sleep(patience)).await.is_none() {
        return;
    }
    for proxy in expected.into_iter().filter(|proxy| !leases.held(proxy)) {
        while let Err(error) = gone(&*store, &proxy).await {
            tracing::warn!(%error, mesh = %proxy.0, proxy = %proxy.1, "a proxy that did not come back is still shown online");
            if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                return;
            }
        }
    }
}

/// Proxies whose last stream was not closed, or was closed by the end of the process before: then the Dataplane that
/// they had brought is still there.
fn connected(state: &MeshState) -> Vec<Proxy> {
    let awaited = |insight: &&AnyResource| {
        insight.spec::<DataplaneInsight>().is_some_and(|insight| {
            registered(insight) || insight.subscriptions.last().is_some_and(|s| s.disconnect_time.is_none())
        })
    };
    let insights = state.list(Kind::DataplaneInsight).filter(awaited);
    insights.map(|insight| (insight.meta.mesh.clone(), insight.meta.name.clone())).collect()
}

async fn gone(store: &dyn Store, (mesh, name): &Proxy) -> Result<(), StoreError> {
    let key = Key::new(Kind::DataplaneInsight, mesh.clone(), name.clone());
    let Some(stored) = store.get(&key).await? else { return Ok(()) };
    let mut insight = stored.spec::<DataplaneInsight>().cloned().unwrap_or_default();
    let write = if registered(&insight) {
        tracing::info!(%mesh, proxy = %name, "the proxy did not come back after the restart, its Dataplane is removed");
        Write::Delete { key: Key::new(Kind::Dataplane, mesh.clone(), name.clone()), expected: None }
    } else {
        tracing::info!(%mesh, proxy = %name, "the proxy did not come back after the restart, it is shown offline");
        for subscription in insight.subscriptions.iter_mut().filter(|s| s.disconnect_time.is_none()) {
            subscription.disconnect_time = Some(Timestamp::now().to_string());
        }
        let expected = stored.meta.version;
        Write::Update { resource: AnyResource::new(stored.meta, insight, NoStatus {}), expected }
    };
    match store.write(vec![write]).await {
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

        run(store.clone(), state, leases, Duration::ZERO, stop.clone()).await;
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
        feeding.await.unwrap();
    }
}
