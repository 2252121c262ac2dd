//! The contract of stores, as tests that every backend runs. See [`store_contract!`](crate::store_contract).
//!
//! Each law takes an empty store. Texts of failures name the law that was broken, not the backend.
#![expect(clippy::unwrap_used, clippy::panic, clippy::missing_panics_doc, reason = "these are tests, shared by crates")]

mod foreign;
mod histories;

use std::{collections::BTreeMap, sync::Arc};

pub use foreign::*;
pub use histories::*;
use tokio::sync::mpsc;

use super::{Change, Revision, Store, StoreError, WatchEvent, Write};
use crate::{
    meta::{Labels, Meta, Version},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Mesh, MeshService, Workload, Zone},
};

/// A store under test.
pub type Tested = Arc<dyn Store>;

/// Makes a test of every law. The first argument is the attribute of a test, such as `tokio::test`, the second makes an
/// empty [`Tested`] each time and may `await`.
#[macro_export]
macro_rules! store_contract {
    ($test:meta, $make:expr) => {
        $crate::store_contract!(@laws $test, $make, [
            objects_come_back_as_written,
            names_are_apart,
            creation_needs_an_empty_place,
            updates_need_the_version_that_was_read,
            deletions_need_the_object,
            versions_do_not_come_back,
            batches_are_written_whole_or_not_at_all,
            a_batch_is_done_in_its_order,
            owned_objects_go_with_their_owner,
            owners_must_be_there,
            watches_begin_with_everything,
            watches_tell_each_commit_once,
            a_slow_watcher_misses_nothing_for_good,
            one_of_many_writers_wins,
            events_lead_to_what_is_stored,
            writes_leave_revisions,
            statuses_and_insights_leave_no_revisions,
            secrets_leave_revisions_without_content,
            refused_batches_leave_no_revisions,
            cascades_leave_revisions,
            histories_are_bounded,
            each_of_many_writers_leaves_a_revision,
            unknown_fields_stay_until_they_are_replaced,
            unknown_fields_are_in_revisions,
        ]);
    };
    (@laws $test:meta, $make:expr, [$($law:ident),* $(,)?]) => {
        $(
            #[$test]
            async fn $law() {
                $crate::store::contract::$law($make).await;
            }
        )*
    };
}

fn mesh(name: &str) -> AnyResource {
    AnyResource::new(Meta::new("", name, Labels::new()), Mesh::default(), NoStatus {})
}

fn labelled(mesh: &str, name: &str, team: &str) -> AnyResource {
    let labels = Labels::from([("team".into(), team.into())]);
    AnyResource::new(Meta::new(mesh, name, labels), Workload::default(), Default::default())
}

fn workload(name: &str) -> AnyResource {
    labelled("m", name, "")
}

fn create(resource: &AnyResource) -> Write {
    Write::Create { resource: resource.clone(), owner: None }
}

fn owned(resource: &AnyResource, owner: &AnyResource) -> Write {
    Write::Create { resource: resource.clone(), owner: Some(owner.key()) }
}

fn update(resource: &AnyResource, expected: Version) -> Write {
    Write::Update { resource: resource.clone(), expected }
}

fn delete(resource: &AnyResource) -> Write {
    Write::Delete { key: resource.key(), expected: None }
}

async fn done(store: &Tested, batch: Vec<Write>) -> (Revision, Vec<Option<AnyResource>>) {
    let committed = store.write(batch).await.unwrap();
    (committed.revision, committed.resources)
}

/// Writes one object and gives it back as stored.
async fn stored(store: &Tested, write: Write) -> AnyResource {
    done(store, vec![write]).await.1.remove(0).unwrap()
}

async fn found(store: &Tested, resource: &AnyResource) -> Option<AnyResource> {
    store.get(&resource.key()).await.unwrap()
}

async fn refused(store: &Tested, batch: Vec<Write>) -> StoreError {
    store.write(batch).await.expect_err("the batch breaks the contract")
}

async fn team(store: &Tested, resource: &AnyResource) -> Option<String> {
    found(store, resource).await.map(|r| r.meta.label("team").unwrap_or_default().to_owned())
}

async fn next(events: &mut mpsc::Receiver<WatchEvent>) -> WatchEvent {
    events.recv().await.expect("the watch is open")
}

async fn next_changes(events: &mut mpsc::Receiver<WatchEvent>) -> (Revision, Arc<[Change]>) {
    match next(events).await {
        WatchEvent::Changes { revision, changes } => (revision, changes),
        WatchEvent::Reset { .. } => panic!("changes were expected"),
    }
}

/// Spec, status and labels come back; times and versions are the store's.
pub async fn objects_come_back_as_written(store: Tested) {
    let mut status = <MeshService as crate::resource::Spec>::Status::default();
    status.dataplane_proxies.total = 3;
    let labels = Labels::from([("a".into(), "ä b".into()), ("kuma.io/mesh".into(), "m".into())]);
    let mut service = AnyResource::new(Meta::new("m", "web", labels), MeshService::default(), status);
    service.meta.version = Version(u64::MAX);
    assert!(found(&store, &service).await.is_none());
    let first = stored(&store, create(&service)).await;
    assert!(first.same_content(&service));
    assert_eq!(first.meta.created, first.meta.modified);
    assert_ne!(first.meta.created, crate::meta::UNSET_TIME);
    let read = found(&store, &service).await.unwrap();
    assert!(read.same_content(&service));
    assert_eq!(read.meta, first.meta);

    let without = AnyResource::new(Meta::new("m", "web", Labels::new()), MeshService::default(), Default::default());
    let second = stored(&store, update(&without, read.meta.version)).await;
    let read = found(&store, &service).await.unwrap();
    assert!(read.same_content(&without), "labels, spec and status are replaced together");
    assert_eq!((read.meta.created, read.meta.version), (first.meta.created, second.meta.version));
    assert!(read.meta.modified >= first.meta.modified);
}

/// Kind, mesh and name together are the place of an object, byte by byte.
pub async fn names_are_apart(store: Tested) {
    let zone = AnyResource::new(Meta::new("", "a", Labels::new()), Zone::default(), NoStatus {});
    // The longest that users may give: a mesh is named like a DNS label, anything else like a DNS name.
    let (mesh_name, long) = ("x".repeat(63), "x".repeat(253));
    let all = [
        mesh("a"),
        zone,
        labelled("m", "a", "1"),
        labelled("n", "a", "2"),
        labelled("m", "a.b", "3"),
        labelled("m_", "a-b", "4"),
        labelled(&mesh_name, &long, "5"),
    ];
    done(&store, all.iter().map(create).collect()).await;
    for one in &all {
        assert!(found(&store, one).await.unwrap().same_content(one), "{:?}", one.key());
    }
    done(&store, vec![delete(&all[2])]).await;
    assert_eq!(team(&store, &all[2]).await, None);
    assert_eq!(team(&store, &all[3]).await.as_deref(), Some("2"));
}

/// An object is not created twice.
pub async fn creation_needs_an_empty_place(store: Tested) {
    let first = labelled("m", "a", "first");
    done(&store, vec![create(&first)]).await;
    let fault = refused(&store, vec![create(&labelled("m", "a", "second"))]).await;
    assert!(matches!(&fault, StoreError::AlreadyExists(key) if *key == first.key()), "{fault}");
    assert_eq!(team(&store, &first).await.as_deref(), Some("first"));
}

/// An update of something else than what the writer has read is refused.
pub async fn updates_need_the_version_that_was_read(store: Tested) {
    let object = labelled("m", "a", "1");
    let fault = refused(&store, vec![update(&object, Version(1))]).await;
    assert!(matches!(&fault, StoreError::NotFound(key) if *key == object.key()), "{fault}");
    let first = stored(&store, create(&object)).await;
    let second = stored(&store, update(&labelled("m", "a", "2"), first.meta.version)).await;
    assert_ne!(first.meta.version, second.meta.version);
    let fault = refused(&store, vec![update(&labelled("m", "a", "3"), first.meta.version)]).await;
    assert!(matches!(&fault, StoreError::Conflict(key) if *key == object.key()), "{fault}");
    assert_eq!(team(&store, &object).await.as_deref(), Some("2"));
    // Writes of others do not disturb.
    done(&store, vec![create(&workload("b"))]).await;
    stored(&store, update(&labelled("m", "a", "4"), second.meta.version)).await;
}

/// What is not there cannot be deleted, and a version that is given must be the present one.
pub async fn deletions_need_the_object(store: Tested) {
    let object = workload("a");
    let fault = refused(&store, vec![delete(&object)]).await;
    assert!(matches!(&fault, StoreError::NotFound(key) if *key == object.key()), "{fault}");
    let first = stored(&store, create(&object)).await;
    let second = stored(&store, update(&object, first.meta.version)).await;
    let at = |version| Write::Delete { key: object.key(), expected: Some(version) };
    let fault = refused(&store, vec![at(first.meta.version)]).await;
    assert!(matches!(fault, StoreError::Conflict(_)), "{fault}");
    let (_, resources) = done(&store, vec![at(second.meta.version)]).await;
    assert!(resources[0].is_none() && found(&store, &object).await.is_none());
}

/// Nobody mistakes an object for an earlier one of its name.
pub async fn versions_do_not_come_back(store: Tested) {
    let object = workload("a");
    let first = stored(&store, create(&object)).await;
    done(&store, vec![delete(&object)]).await;
    let second = stored(&store, create(&object)).await;
    assert_ne!(first.meta.version, second.meta.version);
    let fault = refused(&store, vec![update(&object, first.meta.version)]).await;
    assert!(matches!(fault, StoreError::Conflict(_)), "{fault}");
}

/// One write that cannot be done keeps the others from being done, and nobody hears of them.
pub async fn batches_are_written_whole_or_not_at_all(store: Tested) {
    let (old, new) = (labelled("m", "old", "1"), workload("new"));
    let first = stored(&store, create(&old)).await;
    let mut events = store.watch().await.unwrap();
    next(&mut events).await;
    let changed = update(&labelled("m", "old", "2"), first.meta.version);
    for last in [create(&old), delete(&workload("absent")), update(&old, Version(u64::MAX >> 1))] {
        refused(&store, vec![create(&new), changed.clone(), last]).await;
        assert!(found(&store, &new).await.is_none());
        assert_eq!(team(&store, &old).await.as_deref(), Some("1"));
    }
    let (revision, resources) = done(&store, vec![create(&new), changed, delete(&new)]).await;
    let kept: Vec<bool> = resources.iter().map(Option::is_some).collect();
    assert_eq!(kept, [true, true, false], "answers are in the order of the batch");
    assert_eq!(next_changes(&mut events).await.0, revision);
}

/// Later writes of a batch see what the earlier ones did; the outcome is told once for each object.
pub async fn a_batch_is_done_in_its_order(store: Tested) {
    let old = labelled("m", "a", "old");
    done(&store, vec![create(&old)]).await;
    let mut events = store.watch().await.unwrap();
    next(&mut events).await;
    let again = refused(&store, vec![create(&workload("b")), create(&workload("b"))]).await;
    assert!(matches!(again, StoreError::AlreadyExists(_)), "{again}");
    let gone = refused(&store, vec![delete(&old), delete(&old)]).await;
    assert!(matches!(gone, StoreError::NotFound(_)), "{gone}");
    done(&store, vec![delete(&old), create(&labelled("m", "a", "new"))]).await;
    assert_eq!(team(&store, &old).await.as_deref(), Some("new"));
    let (_, changes) = next_changes(&mut events).await;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].now.as_ref().unwrap().meta.label("team"), Some("new"));
}

/// The owned ones of the owned ones too, and nothing else; the watch tells all of them.
pub async fn owned_objects_go_with_their_owner(store: Tested) {
    let (top, other) = (mesh("m"), mesh("other"));
    let [a, b, free, foreign, orphan] = ["a", "b", "free", "foreign", "orphan"].map(workload);
    done(&store, vec![create(&top), create(&other), owned(&a, &top), owned(&b, &a)]).await;
    done(&store, vec![create(&free), owned(&foreign, &other), owned(&orphan, &top)]).await;
    // Ownership is fixed at creation, survives updates, and ends with the object.
    let version = found(&store, &a).await.unwrap().meta.version;
    done(&store, vec![update(&a, version), delete(&orphan), create(&orphan)]).await;
    let mut events = store.watch().await.unwrap();
    next(&mut events).await;
    done(&store, vec![delete(&top)]).await;
    let (_, changes) = next_changes(&mut events).await;
    let mut gone: Vec<&str> = changes.iter().map(|c| &*c.key.name).collect();
    gone.sort_unstable();
    assert_eq!(gone, ["a", "b", "m"]);
    assert!(changes.iter().all(|c| c.now.is_none()));
    for (object, there) in [(&a, false), (&b, false), (&free, true), (&foreign, true), (&orphan, true)] {
        assert_eq!(found(&store, object).await.is_some(), there, "{}", object.meta.name);
    }
    // A later object of the name owns nothing yet.
    done(&store, vec![create(&top), owned(&a, &top)]).await;
    done(&store, vec![delete(&a), create(&a), delete(&top)]).await;
    assert!(found(&store, &a).await.is_some());
}

/// Nothing is created for an owner that is not there (any more).
pub async fn owners_must_be_there(store: Tested) {
    let (top, object) = (mesh("m"), workload("a"));
    let missing = |fault: &StoreError| matches!(fault, StoreError::NotFound(key) if *key == top.key());
    let fault = refused(&store, vec![owned(&object, &top)]).await;
    assert!(missing(&fault), "{fault}");
    done(&store, vec![create(&top), owned(&object, &top)]).await;
    let fault = refused(&store, vec![delete(&top), owned(&workload("b"), &top)]).await;
    assert!(missing(&fault), "{fault}");
    // What a deletion takes along is gone for the rest of the batch.
    let fault = refused(&store, vec![delete(&top), delete(&object)]).await;
    assert!(matches!(&fault, StoreError::NotFound(key) if *key == object.key()), "{fault}");
    done(&store, vec![delete(&top), create(&object)]).await;
    assert!(found(&store, &object).await.is_some() && found(&store, &top).await.is_none());
}

/// A watch begins with all that is stored and its revision.
pub async fn watches_begin_with_everything(store: Tested) {
    let mut empty = store.watch().await.unwrap();
    let WatchEvent::Reset { resources, revision: before } = next(&mut empty).await else { panic!("no reset") };
    assert!(resources.is_empty());
    let (written, _) = done(&store, vec![create(&mesh("m")), create(&workload("a"))]).await;
    assert!(written > before);
    let WatchEvent::Reset { resources, revision } = next(&mut store.watch().await.unwrap()).await else {
        panic!("no reset")
    };
    assert_eq!(revision, written);
    let mut keys: Vec<Key> = resources.iter().map(AnyResource::key).collect();
    keys.sort();
    assert_eq!(keys, [Key::new(Kind::Mesh, "", "m"), Key::new(Kind::Workload, "m", "a")]);
}

/// Every watcher sees every commit, in order, at the revision that the writer was told.
pub async fn watches_tell_each_commit_once(store: Tested) {
    let mut watchers = [store.watch().await.unwrap(), store.watch().await.unwrap()];
    let mut written = Vec::new();
    for name in ["a", "b", "c"] {
        written.push(done(&store, vec![create(&workload(name))]).await.0);
    }
    assert!(written.is_sorted() && written[0] < written[2]);
    for events in &mut watchers {
        assert!(matches!(next(events).await, WatchEvent::Reset { .. }));
        for (name, expected) in ["a", "b", "c"].iter().zip(&written) {
            let (revision, changes) = next_changes(events).await;
            assert_eq!((revision, changes.len()), (*expected, 1));
            assert_eq!(&*changes[0].key.name, *name);
            assert_eq!(changes[0].now.as_ref().unwrap().key(), changes[0].key);
        }
    }
}

/// A watcher that reads nothing for long holds nobody up. It gets all events, or finds the watch closed (and the next
/// one begins with everything): it is never left with an old state and an open watch.
pub async fn a_slow_watcher_misses_nothing_for_good(store: Tested) {
    let mut events = store.watch().await.unwrap();
    let mut last = stored(&store, create(&labelled("m", "a", "0"))).await;
    for round in 1..3000 {
        last = stored(&store, update(&labelled("m", "a", &round.to_string()), last.meta.version)).await;
    }
    let mut seen = Version(0);
    while seen != last.meta.version {
        match events.recv().await {
            Some(WatchEvent::Reset { resources, .. }) => {
                seen = resources.first().map_or(Version(0), |r| r.meta.version);
            }
            Some(WatchEvent::Changes { changes, .. }) => seen = changes[0].now.as_ref().unwrap().meta.version,
            None => events = store.watch().await.unwrap(),
        }
    }
}

/// Of writers that have read the same version, one succeeds.
pub async fn one_of_many_writers_wins(store: Tested) {
    let object = workload("a");
    let version = stored(&store, create(&object)).await.meta.version;
    let writers = (0..50).map(|n| {
        let (store, write) = (store.clone(), update(&labelled("m", "a", &n.to_string()), version));
        async move { store.write(vec![write]).await }
    });
    let answers = futures::future::join_all(writers).await;
    let won: Vec<usize> = (0..answers.len()).filter(|n| answers[*n].is_ok()).collect();
    assert_eq!(won.len(), 1);
    assert!(answers.iter().filter_map(|a| a.as_ref().err()).all(|e| matches!(e, StoreError::Conflict(_))));
    assert_eq!(team(&store, &object).await, Some(won[0].to_string()));
}

/// Whatever was written, somebody who follows the watch knows what `get` answers.
pub async fn events_lead_to_what_is_stored(store: Tested) {
    let mut events = store.watch().await.unwrap();
    let mut known: BTreeMap<Key, Version> = BTreeMap::new();
    let mut random = 7_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let top = mesh("m");
    let names: Vec<AnyResource> = (0..8).map(|n| workload(&format!("w{n}"))).chain([top.clone()]).collect();
    for _ in 0..400 {
        let batch: Vec<Write> = (0..=draw(2))
            .map(|_| {
                let object = &names[usize::try_from(draw(9)).unwrap()];
                let version = known.get(&object.key()).copied().unwrap_or_default();
                match draw(4) {
                    0 => update(object, version),
                    1 if object.kind() == Kind::Mesh && draw(3) > 0 => create(object),
                    1 => delete(object),
                    _ if object.kind() == Kind::Workload && draw(2) == 0 => owned(object, &top),
                    _ => create(object),
                }
            })
            .collect();
        // Many break a rule: those must not show.
        let committed = store.write(batch).await;
        while committed.as_ref().is_ok_and(|c| !c.resources.is_empty()) {
            let revision = match next(&mut events).await {
                WatchEvent::Reset { resources, revision } => {
                    known = resources.iter().map(|r| (r.key(), r.meta.version)).collect();
                    revision
                }
                WatchEvent::Changes { changes, revision } => {
                    for change in &*changes {
                        match &change.now {
                            Some(now) => known.insert(change.key.clone(), now.meta.version),
                            None => known.remove(&change.key),
                        };
                    }
                    revision
                }
            };
            if committed.as_ref().is_ok_and(|c| c.revision == revision) {
                break;
            }
        }
        for object in &names {
            let now = found(&store, object).await.map(|r| r.meta.version);
            assert_eq!(known.get(&object.key()).copied(), now, "{}", object.meta.name);
        }
    }
}
