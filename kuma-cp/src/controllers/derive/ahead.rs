//! A store whose writes of MeshServices carry what is derived of them: one commit instead of two, so that a new service
//! has its address as soon as it is there, and proxies are planned once.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kuma_core::{
    registry::Kind,
    resource::{AnyResource, Key},
    store::{Author, Committed, Store, StoreError, WatchEvent, Write, history::Past},
};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::leadership::Leadership;

/// Longest wait for what is derived. Without it the write goes on alone, and what is derived follows.
const PATIENCE: Duration = Duration::from_millis(50);
/// Writes that wait for the reconciler.
const WAITING: usize = 64;

/// A batch that is about to be written, and where it goes when it is complete.
pub(super) struct Ask {
    pub(super) batch: Vec<Write>,
    pub(super) answer: oneshot::Sender<Vec<Write>>,
}

/// Where the reconciler hears of writes. Each term of leading takes it in turn.
#[derive(Clone)]
pub struct Asks(pub(super) Arc<Mutex<mpsc::Receiver<Ask>>>);

/// What others see of the store.
pub struct DerivedAhead {
    store: Arc<dyn Store>,
    leaders: Arc<dyn Store>,
    leadership: Leadership,
    asks: mpsc::Sender<Ask>,
}

impl DerivedAhead {
    /// Over a store, and the view of it that refuses writes of those who lead no more.
    pub fn new(store: Arc<dyn Store>, leaders: Arc<dyn Store>, leadership: Leadership) -> (Self, Asks) {
        let (asks, asked) = mpsc::channel(WAITING);
        (Self { store, leaders, leadership, asks }, Asks(Arc::new(Mutex::new(asked))))
    }

    /// The batch with what is derived of it; `None` if nobody says so in time.
    async fn complete(&self, batch: &[Write]) -> Option<Vec<Write>> {
        let is_derived = batch.iter().all(|w| w.key().kind == Kind::MeshService && !matches!(w, Write::Delete { .. }));
        if !is_derived || !self.leadership.leads() {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.asks.try_send(Ask { batch: batch.to_vec(), answer }).ok()?;
        tokio::time::timeout(PATIENCE, answered).await.ok()?.ok()
    }
}

#[async_trait]
impl Store for DerivedAhead {
    async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError> {
        self.store.get(key).await
    }

    async fn write_as(&self, author: Author, batch: Vec<Write>) -> Result<Committed, StoreError> {
        if let Some(complete) = self.complete(&batch).await {
            // An address that a leader of the past gives away may belong to somebody by now.
            match self.leaders.write_as(author.clone(), complete).await {
                Err(StoreError::Fenced) => {}
                outcome => return outcome,
            }
        }
        self.store.write_as(author, batch).await
    }

    async fn history(&self, key: &Key) -> Result<Vec<Past>, StoreError> {
        self.store.history(key).await
    }

    async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        self.store.watch().await
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kuma_core::{
        meta::{Labels, Meta},
        reconcile::Settings,
        resource::{NoStatus, Resource},
        resources::{Mesh, MeshService, MeshServiceStatus},
        store::MemoryStore,
    };
    use serde_json::json;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::state::{Feed, StateHandle};

    /// The view of one that does not lead any more.
    struct Deposed;

    #[async_trait]
    impl Store for Deposed {
        async fn get(&self, _: &Key) -> Result<Option<AnyResource>, StoreError> {
            Err(StoreError::Fenced)
        }
        async fn write_as(&self, _: Author, _: Vec<Write>) -> Result<Committed, StoreError> {
            Err(StoreError::Fenced)
        }
        async fn history(&self, _: &Key) -> Result<Vec<Past>, StoreError> {
            Err(StoreError::Fenced)
        }
        async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
            Err(StoreError::Fenced)
        }
    }

    struct Scene {
        store: Arc<MemoryStore>,
        state: StateHandle,
        ahead: DerivedAhead,
        asks: Asks,
        stop: CancellationToken,
    }

    async fn scene(leads: bool, leaders: Option<Arc<dyn Store>>) -> Scene {
        let store = Arc::new(MemoryStore::new(|| Timestamp::UNIX_EPOCH));
        let mesh = AnyResource::new(Meta::new("", "m", Labels::new()), Mesh::default(), NoStatus {});
        store.write(vec![Write::Create { resource: mesh, owner: None }]).await.unwrap();
        let (feed, state) = Feed::new(store.clone());
        let stop = CancellationToken::new();
        tokio::spawn(feed.run(stop.clone()));
        let leadership = Leadership::told_by(watch::channel(leads).1);
        let leaders = leaders.unwrap_or_else(|| store.clone());
        let (ahead, asks) = DerivedAhead::new(store.clone(), leaders, leadership);
        Scene { store, state, ahead, asks, stop }
    }

    impl Scene {
        fn reconcile(&self) {
            let settings = Settings::in_zone("east");
            let (store, state) = (self.store.clone(), self.state.clone());
            tokio::spawn(super::super::run(store, state, settings, self.asks.clone(), self.stop.clone()));
        }

        async fn create(&self, name: &str) -> Resource<MeshService> {
            let meta = Meta::new("m", name, Labels::new());
            let resource = AnyResource::new(meta, MeshService::default(), MeshServiceStatus::default());
            self.write(Write::Create { resource, owner: None }).await.typed().unwrap()
        }

        async fn write(&self, write: Write) -> AnyResource {
            self.ahead.write(vec![write]).await.unwrap().resources.remove(0).unwrap()
        }

        /// As soon as it has one.
        async fn address(&self, name: &str) -> String {
            let mut changes = self.state.subscribe();
            loop {
                let batch = changes.next().await.unwrap();
                let service = batch.state.find::<MeshService>("m", name);
                if let Some(vip) = service.and_then(|service| service.status().vips.first().cloned()) {
                    return vip.ip;
                }
            }
        }
    }

    #[tokio::test]
    async fn a_service_has_its_address_with_its_first_commit() {
        let scene = scene(true, None).await;
        scene.reconcile();
        // The reconciler knows everything when it has derived something.
        scene.create("first").await;
        scene.address("first").await;
        let second = scene.create("second").await;
        assert_eq!(second.status().vips[0].ip, "241.0.0.1");
        // Nothing is written again: the third would have come after it.
        let third = scene.create("third").await;
        assert_eq!(third.status().vips[0].ip, "241.0.0.2");
        let stored = scene.store.get(&Key::new(Kind::MeshService, "m", "second")).await.unwrap().unwrap();
        assert_eq!(stored.meta.version, second.meta.version);
    }

    /// As a rollback writes it: with what a newer version wrote once.
    #[tokio::test]
    async fn what_is_unknown_of_a_service_stays() {
        let scene = scene(true, None).await;
        scene.reconcile();
        scene.create("first").await;
        scene.address("first").await;
        let spec = json!({"selector": {}, "ports": [{"port": 80, "weight": 3}], "future": 1});
        let meta = Meta::new("m", "web", Labels::new());
        let resource = Kind::MeshService.decode_stored(meta, spec.clone(), None).unwrap();
        let created = scene.write(Write::Create { resource: resource.clone(), owner: None }).await;
        assert_eq!(created.status::<MeshService>().unwrap().vips.len(), 1);
        assert_eq!(created.stored_spec()["future"], 1);
        let plain = AnyResource::new(created.meta.clone(), MeshService::default(), MeshServiceStatus::default());
        let expected = created.meta.version;
        let plain = Write::Replace { resource: plain.with_status_of(Some(&created)), expected };
        let plain = scene.write(plain).await;
        assert_eq!(plain.stored_spec()["future"], serde_json::Value::Null);
        let again = resource.with_status_of(Some(&plain)).carrying(&resource);
        let again = scene.write(Write::Replace { resource: again, expected: plain.meta.version }).await;
        assert_eq!(
            (&again.stored_spec()["future"], &again.stored_spec()["ports"][0]["weight"]),
            (&json!(1), &json!(3))
        );
    }

    #[tokio::test]
    async fn without_an_answer_the_write_goes_on_and_is_derived_afterwards() {
        let scene = scene(true, None).await;
        assert!(scene.create("alone").await.status().vips.is_empty());
        scene.reconcile();
        assert_eq!(scene.address("alone").await, "241.0.0.0");
    }

    #[tokio::test]
    async fn who_does_not_lead_or_leads_no_more_gives_no_address_away() {
        let follower = scene(false, None).await;
        follower.reconcile();
        assert!(follower.create("api").await.status().vips.is_empty());
        let past = scene(true, Some(Arc::new(Deposed))).await;
        past.reconcile();
        past.create("first").await;
        past.address("first").await;
        assert!(past.create("second").await.status().vips.is_empty());
    }
}
