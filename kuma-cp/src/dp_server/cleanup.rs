//! Dataplanes whose proxies have been offline for so long that nobody expects them back. The instance that leads removes
//! them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kuma_core::{
    registry::Kind,
    resource::{AnyResource, Key},
    resources::DataplaneInsight,
    state::MeshState,
    store::{Author, Store, StoreError},
};
use tokio_util::sync::CancellationToken;

use super::returning::{RETRY, removal};
use crate::state::StateHandle;

/// Control planes may have been away for longer than any age: their proxies get this long to come back first.
const RETURN: Duration = Duration::from_mins(5);

/// Removes what has been offline for `age`, until `stop`. It looks again when the next one may be due: whoever goes
/// offline meanwhile is due later than that.
pub async fn run(store: Arc<dyn Store>, state: StateHandle, age: Duration, stop: CancellationToken) {
    let work = async {
        tokio::time::sleep(RETURN.min(age)).await;
        loop {
            let known = state.ready().await;
            let (due, next) = due(&known, age, Timestamp::now());
            let mut wait = next;
            for key in due {
                match remove(&*store, &key).await {
                    Ok(()) => {
                        tracing::info!(mesh = %key.mesh, proxy = %key.name, "the proxy has been offline for {age:?}, its Dataplane is removed");
                    }
                    // It is back, or somebody has removed it.
                    Err(StoreError::Conflict(_) | StoreError::NotFound(_)) => {}
                    Err(error) => {
                        tracing::warn!(%error, mesh = %key.mesh, proxy = %key.name, "a Dataplane whose proxy is offline is not removed yet");
                        wait = RETRY;
                        break;
                    }
                }
            }
            tokio::time::sleep(wait).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Insights of proxies that have been offline for `age`, and when to look again.
fn due(state: &MeshState, age: Duration, now: Timestamp) -> (Vec<Key>, Duration) {
    let (mut due, mut next) = (Vec::new(), age);
    for insight in state.list(Kind::DataplaneInsight) {
        let Some(since) = offline_since(insight) else { continue };
        let offline = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        match age.checked_sub(offline) {
            Some(left) if !left.is_zero() => next = next.min(left),
            _ => due.push(insight.key()),
        }
    }
    (due, next)
}

/// Since when no stream of a proxy stands; `None` while one does.
fn offline_since(insight: &AnyResource) -> Option<Timestamp> {
    let spec = insight.spec::<DataplaneInsight>().filter(|spec| !spec.online())?;
    let last = spec.subscriptions.iter().filter_map(|s| s.disconnect_time.as_ref()?.parse().ok()).max();
    Some(last.unwrap_or(insight.meta.modified))
}

/// Removes a Dataplane, if its proxy is as the store itself has it.
async fn remove(store: &dyn Store, insight: &Key) -> Result<(), StoreError> {
    let dataplane = Key::new(Kind::Dataplane, insight.mesh.clone(), insight.name.clone());
    let Some(dataplane) = store.get(&dataplane).await? else { return Err(StoreError::NotFound(dataplane)) };
    let Some(insight) = store.get(insight).await?.filter(|insight| offline_since(insight).is_some()) else {
        return Err(StoreError::NotFound(insight.clone()));
    };
    store.write_as(Author::part("dp-server"), removal(&dataplane, Some(&insight))).await.map(drop)
}

#[cfg(test)]
mod tests {
    use kuma_core::{
        meta::{Labels, Meta},
        resource::NoStatus,
        resources::{Dataplane, Subscription},
        store::{MemoryStore, Write},
    };

    use super::*;
    use crate::state::Feed;

    const AGE: Duration = Duration::from_hours(72);

    /// Times at which the only stream of a proxy began and ended, in hours.
    type Stream = Option<(i64, Option<i64>)>;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3_600).unwrap()
    }

    async fn known(proxies: &[(&str, Stream)]) -> Arc<MemoryStore> {
        let store = Arc::new(MemoryStore::new(|| at(0)));
        for (name, stream) in proxies {
            let dataplane = AnyResource::new(Meta::new("m", *name, Labels::new()), Dataplane::default(), NoStatus {});
            let subscriptions = stream.iter().map(|(begin, end)| Subscription {
                connect_time: Some(at(*begin).to_string()),
                disconnect_time: end.map(|end| at(end).to_string()),
                ..Subscription::default()
            });
            let insight = DataplaneInsight { subscriptions: subscriptions.collect(), ..DataplaneInsight::default() };
            let owner = Some(dataplane.key());
            let insight = AnyResource::new(Meta::new("m", *name, Labels::new()), insight, NoStatus {});
            let batch =
                vec![Write::Create { resource: dataplane, owner: None }, Write::Create { resource: insight, owner }];
            store.write(batch).await.unwrap();
        }
        store
    }

    fn names(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(|key| &*key.name).collect()
    }

    #[tokio::test]
    async fn who_is_offline_for_the_age_is_due_and_nobody_else() {
        let proxies = [
            ("stands", Some((0, None))),
            ("left", Some((0, Some(10)))),
            ("left-later", Some((0, Some(20)))),
            ("never-came", None),
        ];
        let store = known(&proxies).await;
        let (feed, state) = Feed::new(store);
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        tokio::spawn(feed.run(stop));
        let state = state.ready().await;
        let hours = |hours: u64| Duration::from_hours(hours);
        assert_eq!(due(&state, AGE, at(71)), (Vec::new(), hours(1)));
        let (first, next) = due(&state, AGE, at(72));
        assert_eq!((names(&first), next), (vec!["never-came"], hours(10)));
        let (all, next) = due(&state, AGE, at(1_000));
        assert_eq!((names(&all), next), (vec!["left", "left-later", "never-came"], AGE));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_goes_after_others_had_time_to_come_back() {
        let store = known(&[("stands", Some((0, None))), ("left", Some((0, Some(1))))]).await;
        let (feed, state) = Feed::new(store.clone());
        let stop = CancellationToken::new();
        let _stop = stop.clone().drop_guard();
        tokio::spawn(feed.run(stop.clone()));
        tokio::spawn(run(store.clone(), state, AGE, stop));
        let is_there = async |kind, name: &'static str| store.get(&Key::new(kind, "m", name)).await.unwrap().is_some();
        tokio::time::sleep(RETURN.mul_f64(0.9)).await;
        assert!(is_there(Kind::Dataplane, "left").await);
        tokio::time::sleep(RETURN.mul_f64(0.2)).await;
        assert!(!is_there(Kind::Dataplane, "left").await && !is_there(Kind::DataplaneInsight, "left").await);
        assert!(is_there(Kind::Dataplane, "stands").await);
    }
}
