//! Proxies that were connected to a control plane that is gone, and did not come back to any.
//!
//! Their streams ended with that process, so nobody saw them go. Without this a proxy that died meanwhile would be shown
//! online, and its endpoints would be sent traffic, for good. The instance that leads looks after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt, stream};
use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Dataplane, DataplaneInsight},
    state::MeshState,
    store::{Author, Store, StoreError, Write},
};
use serde_json::{Map, Value};
use tokio::{net::TcpStream, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::leases::{Leases, Presence, Proxy};
use crate::state::StateHandle;

/// Key in the metadata of an insight: the Dataplane exists because its proxy brought it, and goes with it.
const REGISTERED: &str = "dataplane.registered";
/// Between two tries of a write that failed.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// Proxies that are looked after at the same time.
const AT_ONCE: usize = 64;
/// How long a proxy may take to take a connection.
const KNOCK: Duration = Duration::from_secs(2);
/// Between two looks at proxies that are out of reach of control planes and take connections.
const LOOK: Duration = Duration::from_mins(1);

/// Whether the Dataplane of a proxy exists because the proxy brought it, by what was noted when it connected before.
pub(super) fn was_registered(state: &MeshState, (mesh, name): &Proxy) -> bool {
    let insight = state.get(&Key::new(Kind::DataplaneInsight, mesh.clone(), name.clone()));
    insight.and_then(|i| i.spec::<DataplaneInsight>()).is_some_and(registered)
}

/// What became of the Dataplane of a proxy that has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// It is not there any more.
    Done,
    /// It stays: the last stream of the proxy is open at another instance.
    Elsewhere,
    /// It, or what is known of the proxy, was written at this moment: by whom, and whether the proxy is back, is seen later.
    Changed,
}

/// Removes the Dataplane that a proxy had brought, unless its last stream is open at another instance than this one. This
/// instance may not have heard of that yet, so nothing is removed if the database knows better.
pub(super) async fn remove(store: &dyn Store, (mesh, name): &Proxy, instance: &str) -> Result<Removal, StoreError> {
    let key = |kind| Key::new(kind, mesh.clone(), name.clone());
    let Some(dataplane) = store.get(&key(Kind::Dataplane)).await? else { return Ok(Removal::Done) };
    let insight = store.get(&key(Kind::DataplaneInsight)).await?;
    let last = insight.as_ref().and_then(|i| i.spec::<DataplaneInsight>()).and_then(|i| i.subscriptions.last());
    if last.is_some_and(|s| s.disconnect_time.is_none() && s.control_plane_instance_id != instance) {
        return Ok(Removal::Elsewhere);
    }
    match store.write_as(Author::part("dp-server"), removal(&dataplane, insight.as_ref())).await {
        Ok(_) => Ok(Removal::Done),
        Err(StoreError::NotFound(_) | StoreError::Conflict(_)) => Ok(Removal::Changed),
        Err(error) => Err(error),
    }
}

/// Removes a Dataplane, if it and its proxy's insight are still those that were read.
pub(super) fn removal(dataplane: &AnyResource, insight: Option<&AnyResource>) -> Vec<Write> {
    let unchanged = |read: &AnyResource| Write::Delete { key: read.key(), expected: Some(read.meta.version) };
    insight.into_iter().chain([dataplane]).map(unchanged).collect()
}

fn registered(insight: &DataplaneInsight) -> bool {
    insight.metadata.as_ref().is_some_and(|m| m[REGISTERED] == Value::Bool(true))
}

/// The insight of a proxy that has brought its Dataplane and has no stream yet.
pub(super) fn note_of_registration((mesh, name): &Proxy) -> AnyResource {
    let mut metadata = Value::Object(Map::new());
    note_registered(&mut metadata);
    let insight = DataplaneInsight { metadata: Some(metadata), ..DataplaneInsight::default() };
    AnyResource::new(Meta::new(mesh.clone(), name.clone(), Labels::new()), insight, NoStatus {})
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

/// Instances that are gone, and how long their proxies are waited for.
struct Awaited {
    gone: Gone,
    patience: Duration,
    begin: Instant,
    /// Since when it is known of those that are told.
    since: BTreeMap<Arc<str>, Instant>,
}

impl Awaited {
    /// Whoever comes late to the lead knows no better than one that has just started who is on its way back.
    fn new(gone: Gone, patience: Duration) -> Self {
        Self { gone, patience, begin: Instant::now(), since: BTreeMap::new() }
    }

    /// Takes note of who is gone now.
    fn look(&mut self) {
        if let Gone::Told(known) = &mut self.gone {
            let known = known.borrow_and_update();
            self.since.retain(|instance, _| known.contains(instance));
            for instance in known.iter() {
                self.since.entry(instance.clone()).or_insert_with(Instant::now);
            }
        }
    }

    /// The proxies of this instance were waited for long enough.
    fn is_over(&self, instance: &str) -> bool {
        let since = match &self.gone {
            Gone::Others { .. } => Some(&self.begin),
            Gone::Told(_) => self.since.get(instance),
        };
        self.gone.includes(instance) && since.is_some_and(|since| since.elapsed() >= self.patience)
    }

    /// Waits until there may be more to do.
    async fn changed(&mut self) {
        let now = Instant::now();
        let due = self.since.values().chain([&self.begin]).map(|since| *since + self.patience).filter(|at| *at > now);
        let due = due.min();
        let next = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = next => {}
            () = self.gone.changed() => {}
        }
    }
}

/// Waits for proxies of instances that are gone. What has not come back after `patience` is shown offline; a Dataplane
/// that its proxy had brought is removed, unless the proxy takes connections: then it is cut off like its instance, and
/// serves.
pub async fn run(
    store: Arc<dyn Store>,
    state: StateHandle,
    leases: Arc<Leases>,
    gone: Gone,
    patience: Duration,
    stop: CancellationToken,
) {
    let work = async {
        let mut awaited = Awaited::new(gone, patience);
        loop {
            awaited.look();
            let is_over = |instance: &str| awaited.is_over(instance);
            let mut absent = absent(&*state.ready().await, is_over);
            absent.retain(|proxy| leases.presence(proxy) != Presence::Held);
            // Who is being let in may be refused.
            let arriving = absent.extract_if(.., |proxy| leases.presence(proxy) == Presence::Arriving).count() > 0;
            // A machine that is gone with its proxies lets each of them wait.
            let left = stream::iter(absent).map(|proxy| settle(&*store, proxy, is_over)).buffer_unordered(AT_ONCE);
            let stays = serve(left).await || arriving;
            let again = if stays { LOOK.min(patience.max(RETRY)) } else { Duration::MAX };
            // When that is over it is time to look again as well.
            let _ = tokio::time::timeout(again, awaited.changed()).await;
        }
    };
    stop.run_until_cancelled(work).await;
}

/// Proxies whose last stream was at an instance that is gone, and was not closed; or was, by the end of that instance,
/// so that the Dataplane that they had brought is still there.
fn absent(state: &MeshState, is_gone: impl Fn(&str) -> bool) -> Vec<Proxy> {
    let awaited =
        |insight: &&AnyResource| insight.spec::<DataplaneInsight>().is_some_and(|insight| is_absent(insight, &is_gone));
    let insights = state.list(Kind::DataplaneInsight).filter(awaited);
    insights.map(|insight| (insight.meta.mesh.clone(), insight.meta.name.clone())).collect()
}

fn is_absent(insight: &DataplaneInsight, is_gone: impl Fn(&str) -> bool) -> bool {
    insight.subscriptions.last().is_some_and(|last| {
        is_gone(&last.control_plane_instance_id) && (last.disconnect_time.is_none() || registered(insight))
    })
}

/// What was found of a proxy that did not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// There is nothing more to do for it.
    Settled,
    /// It takes connections, so its Dataplane stays for now.
    Serves,
}

/// Waits for all of them; whether any serves. One that does keeps nobody from being looked after.
async fn serve(left: impl Stream<Item = Left>) -> bool {
    left.fold(false, async |serves, left| serves || left == Left::Serves).await
}

/// Looks after one of them until the store has it.
async fn settle(store: &dyn Store, proxy: Proxy, is_gone: impl Fn(&str) -> bool) -> Left {
    loop {
        match leave(store, &proxy, &is_gone).await {
            Ok(left) => return left,
            Err(error) => {
                tracing::warn!(%error, mesh = %proxy.0, proxy = %proxy.1, "a proxy that did not come back is still shown online");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn leave(store: &dyn Store, (mesh, name): &Proxy, is_gone: impl Fn(&str) -> bool) -> Result<Left, StoreError> {
    let key = |kind| Key::new(kind, mesh.clone(), name.clone());
    let Some(stored) = store.get(&key(Kind::DataplaneInsight)).await? else { return Ok(Left::Settled) };
    let mut insight = stored.spec::<DataplaneInsight>().cloned().unwrap_or_default();
    if !is_absent(&insight, &is_gone) {
        return Ok(Left::Settled);
    }
    let batch = if registered(&insight) {
        let Some(dataplane) = store.get(&key(Kind::Dataplane)).await? else { return Ok(Left::Settled) };
        if takes_connections(&dataplane).await {
            tracing::info!(%mesh, proxy = %name, "the proxy did not come back to a control plane and takes connections: its Dataplane stays");
            return Ok(Left::Serves);
        }
        if !is_gone(last_instance(&insight)) {
            return Ok(Left::Settled);
        }
        tracing::info!(%mesh, proxy = %name, "the proxy did not come back to a control plane, its Dataplane is removed");
        removal(&dataplane, Some(&stored))
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
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(Left::Settled),
        Err(error) => Err(error),
    }
}

fn last_instance(insight: &DataplaneInsight) -> &str {
    insight.subscriptions.last().map_or("", |last| &last.control_plane_instance_id)
}

/// Whether a proxy takes connections at any of its inbounds. It may be cut off from control planes and serve all the
/// same; then nobody is helped by its removal.
async fn takes_connections(dataplane: &AnyResource) -> bool {
    let Some(networking) = dataplane.spec::<Dataplane>().and_then(|spec| spec.networking.as_ref()) else {
        return false;
    };
    let knocks = networking.inbound.iter().map(async |inbound| {
        let host = if inbound.address.is_empty() { &networking.address } else { &inbound.address };
        let port = u16::try_from(inbound.port).unwrap_or_default();
        let connected = tokio::time::timeout(KNOCK, TcpStream::connect((host.as_str(), port))).await;
        connected.is_ok_and(|connected| connected.is_ok())
    });
    futures::future::join_all(knocks).await.contains(&true)
}

#[cfg(test)]
mod tests {
    use kuma_core::{
        resources::Subscription,
        store::{Committed, MemoryStore, WatchEvent, history::Past},
    };
    use serde_json::json;
    use tokio::sync::mpsc;

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
        let is_gone = |instance: &str| gone.includes(instance);
        assert!(!is_absent(&open, is_gone));
        tell.send_replace(BTreeSet::from(["a".into()]));
        assert!(is_absent(&open, is_gone));
        assert!(
            !is_absent(&insight(vec![at("a", false), at("b", false)], json!({})), is_gone),
            "it went to another one"
        );
        assert!(!is_absent(&insight(vec![at("a", true)], json!({})), is_gone), "it said good-bye");
        assert!(is_absent(&insight(vec![at("a", true)], noted()), is_gone), "its Dataplane was left");
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

    /// A store to which somebody else writes at the last moment before a Dataplane is removed.
    struct Overtaken(MemoryStore);

    #[async_trait::async_trait]
    impl Store for Overtaken {
        async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError> {
            self.0.get(key).await
        }
        async fn write_as(&self, author: Author, batch: Vec<Write>) -> Result<Committed, StoreError> {
            let key = Key::new(Kind::Dataplane, "m", "web");
            if batch.iter().any(|write| matches!(write, Write::Delete { .. })) {
                let resource = self.0.get(&key).await?.expect("it is there");
                let expected = resource.meta.version;
                self.0.write_as(Author::Proxy("web".into()), vec![Write::Update { resource, expected }]).await?;
            }
            self.0.write_as(author, batch).await
        }
        async fn history(&self, key: &Key) -> Result<Vec<Past>, StoreError> {
            self.0.history(key).await
        }
        async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
            self.0.watch().await
        }
    }

    #[tokio::test]
    async fn who_registers_at_the_last_moment_keeps_its_dataplane() {
        let store = Overtaken(MemoryStore::new(Timestamp::now));
        known(&store, "web", noted()).await;
        let outcome = remove(&store, &("m".into(), "web".into()), "").await.unwrap();
        assert_eq!(outcome, Removal::Changed);
        assert!(store.get(&Key::new(Kind::Dataplane, "m", "web")).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn who_takes_connections_is_not_removed() {
        let store = MemoryStore::new(Timestamp::now);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        known(&store, "web", noted()).await;
        let key = Key::new(Kind::Dataplane, "m", "web");
        let stored = store.get(&key).await.unwrap().unwrap();
        let spec = json!({"networking": {"address": "127.0.0.1", "inbound": [{"port": port}]}});
        let resource = Kind::Dataplane.decode(stored.meta.clone(), spec, None).unwrap();
        store.write(vec![Write::Update { resource, expected: stored.meta.version }]).await.unwrap();
        let proxy: Proxy = ("m".into(), "web".into());
        assert_eq!(leave(&store, &proxy, |_| true).await.unwrap(), Left::Serves);
        assert!(store.get(&key).await.unwrap().is_some());
        drop(listener);
        assert_eq!(leave(&store, &proxy, |_| true).await.unwrap(), Left::Settled);
        assert!(store.get(&key).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_serves_does_not_end_the_look_at_others() {
        let looked = std::sync::atomic::AtomicUsize::new(0);
        let one = async |seconds: u64| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            looked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seconds == 0 { Left::Serves } else { Left::Settled }
        };
        assert!(serve(stream::iter([2, 0, 2, 2]).map(&one).buffer_unordered(2)).await);
        assert_eq!(looked.load(std::sync::atomic::Ordering::Relaxed), 4);
        assert!(!serve(stream::iter([1, 1]).map(&one).buffer_unordered(2)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn proxies_are_waited_for_from_when_their_instance_is_gone() {
        let (tell, told) = watch::channel(BTreeSet::new());
        let mut awaited = Awaited::new(Gone::Told(told), Duration::from_mins(1));
        let mut after = async |seconds: u64| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            awaited.look();
            awaited.is_over("a")
        };
        assert!(!after(600).await);
        tell.send_replace(BTreeSet::from(["a".into()]));
        assert!(!after(0).await && !after(59).await && after(1).await);
        tell.send_replace(BTreeSet::new());
        assert!(!after(0).await, "it is back");
        tell.send_replace(BTreeSet::from(["a".into()]));
        assert!(!after(0).await && !after(59).await, "and waited for anew");
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
        assert_eq!(remove(&*store, &proxy, "me").await.unwrap(), Removal::Elsewhere);
        // An instance that has not heard of it believes what was before.
        let dataplane = store.get(&key(Kind::Dataplane)).await.unwrap().unwrap();
        let late = store.write(removal(&dataplane, Some(&before))).await;
        assert!(matches!(late, Err(StoreError::Conflict(_))), "{late:?}");
        assert!(store.get(&key(Kind::Dataplane)).await.unwrap().is_some());
        assert_eq!(remove(&*store, &proxy, "other").await.unwrap(), Removal::Done);
        assert_eq!(remove(&*store, &proxy, "me").await.unwrap(), Removal::Done);
        assert!(store.get(&key(Kind::Dataplane)).await.unwrap().is_none());
    }
}
