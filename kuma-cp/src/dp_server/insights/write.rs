//! From pending changes to the store.

use std::sync::Arc;

use futures::future::join_all;
use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::DataplaneInsight,
    store::{Store, StoreError, Write},
};

use super::{
    super::leases::Proxy,
    InsightSettings,
    pending::{Pending, Unwritten},
    subscriptions::merge,
};

/// Insights written in one batch.
const BATCH: usize = 500;
/// Tries per proxy when somebody else wrote in between.
const TRIES: usize = 5;

/// Writes all of it, in batches. What could not be written comes back, with the last reason.
pub(super) async fn write(
    store: Arc<dyn Store>,
    settings: InsightSettings,
    mut unwritten: Unwritten,
) -> (Unwritten, Option<StoreError>) {
    let mut all = std::mem::take(&mut unwritten).into_iter();
    let mut reason = None;
    loop {
        let batch: Vec<_> = all.by_ref().take(BATCH).collect();
        if batch.is_empty() {
            return (unwritten, reason);
        }
        let (left, error) = write_batch(&*store, &settings, batch).await;
        unwritten.extend(left);
        let is_away = matches!(error, Some(StoreError::Unavailable(_)));
        reason = error.or(reason);
        if is_away {
            unwritten.extend(all);
            return (unwritten, reason);
        }
    }
}

/// Writes some together. If somebody else has written one of them, each is written by itself: proxies that move to
/// another instance are written there at the same moment, and one of those must not hold up the others.
async fn write_batch(
    store: &dyn Store,
    settings: &InsightSettings,
    mut batch: Vec<(Proxy, Pending)>,
) -> (Vec<(Proxy, Pending)>, Option<StoreError>) {
    let mut reason = None;
    for attempt in 0..TRIES {
        let mut prepared = Vec::with_capacity(batch.len());
        for (proxy, changes) in std::mem::take(&mut batch) {
            match prepare(store, settings, &proxy, &changes).await {
                Ok(Some(write)) => prepared.push(((proxy, changes), write)),
                // Its Dataplane is gone.
                Ok(None) => {
                    if let Some(missing) = changes.missing {
                        missing.cancel();
                    }
                }
                Err(error) => {
                    reason = Some(error);
                    batch.push((proxy, changes));
                }
            }
        }
        let (changes, writes): (Vec<_>, Vec<_>) = prepared.into_iter().unzip();
        if writes.is_empty() {
            break;
        }
        let outcomes = if attempt == 0 {
            vec![store.write(writes).await.map(drop); changes.len()]
        } else {
            join_all(writes.into_iter().map(|write| async { store.write(vec![write]).await.map(drop) })).await
        };
        for (changes, outcome) in changes.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {}
                // It is written when its row can be read again, which the sink sees.
                Err(StoreError::Unreadable(key)) if key.name == changes.0.1 && attempt > 0 => {
                    tracing::warn!(mesh = %key.mesh, proxy = %key.name, "{}", StoreError::Unreadable(key.clone()));
                }
                Err(error) => {
                    reason = Some(error);
                    batch.push(changes);
                }
            }
        }
        // What is away now is so in a moment as well; otherwise somebody wrote or deleted some in between: read again.
        if batch.is_empty() || matches!(reason, Some(StoreError::Unavailable(_))) {
            break;
        }
    }
    let reason = reason.filter(|_| !batch.is_empty());
    (batch, reason)
}

/// The write for one proxy; `None` if its Dataplane is gone.
async fn prepare(
    store: &dyn Store,
    settings: &InsightSettings,
    proxy: &Proxy,
    changes: &Pending,
) -> Result<Option<Write>, StoreError> {
    let (mesh, name) = proxy;
    let owner = Key::new(Kind::Dataplane, mesh.clone(), name.clone());
    if store.get(&owner).await?.is_none() {
        return Ok(None);
    }
    let key = Key::new(Kind::DataplaneInsight, mesh.clone(), name.clone());
    let stored = store.get(&key).await?;
    let mut spec = stored.as_ref().and_then(|r| r.spec::<DataplaneInsight>()).cloned().unwrap_or_default();
    merge(&mut spec, changes, settings.keep);
    Ok(Some(match stored {
        Some(stored) => {
            let expected = stored.meta.version;
            Write::Update { resource: AnyResource::new(stored.meta, spec, NoStatus {}), expected }
        }
        None => {
            let meta = Meta::new(mesh.clone(), name.clone(), Labels::new());
            Write::Create { resource: AnyResource::new(meta, spec, NoStatus {}), owner: Some(owner) }
        }
    }))
}
