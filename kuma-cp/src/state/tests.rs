//! The feed over the memory store: what readers and followers see, and when.

use kuma_core::{
    meta::Meta,
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::Mesh,
    store::{MemoryStore, Store, Write},
};
use tokio_util::sync::CancellationToken;

use super::*;

fn mesh(name: &str) -> AnyResource {
    AnyResource::new(Meta::new("", name, Default::default()), Mesh::default(), NoStatus {})
}

fn create(name: &str) -> Write {
    Write::Create { resource: mesh(name), owner: None }
}

fn delete(name: &str) -> Write {
    Write::Delete { key: Key::new(Kind::Mesh, "", name), expected: None }
}

fn started() -> (Arc<MemoryStore>, StateHandle, CancellationToken) {
    let store = Arc::new(MemoryStore::new(|| jiff::Timestamp::UNIX_EPOCH));
    let (feed, handle) = Feed::new(store.clone());
    let stop = CancellationToken::new();
    tokio::spawn(feed.run(stop.clone()));
    (store, handle, stop)
}

fn names(batch: &Batch) -> Vec<(String, bool)> {
    batch.changes.iter().map(|c| (c.key.name.to_string(), c.now.is_some())).collect()
}

#[tokio::test]
async fn a_writer_reads_its_write() {
    let (store, handle, _stop) = started();
    let written = store.write(vec![create("one")]).await.unwrap();
    let state = handle.at_least(written.revision).await;
    assert!(state.get(&Key::new(Kind::Mesh, "", "one")).is_some());
}

#[tokio::test]
async fn nothing_is_ready_before_the_store_has_spoken() {
    let store = Arc::new(MemoryStore::new(|| jiff::Timestamp::UNIX_EPOCH));
    store.write(vec![create("one")]).await.unwrap();
    let (feed, handle) = Feed::new(store);
    assert_eq!(*handle.revisions().borrow(), None);
    tokio::spawn(feed.run(CancellationToken::new()));
    assert_eq!(handle.ready().await.all().count(), 1);
}

#[tokio::test]
async fn a_slow_follower_gets_one_merged_batch() {
    let (store, handle, _stop) = started();
    store.write(vec![create("old")]).await.unwrap();
    let seen = store.write(vec![create("gone")]).await.unwrap();
    handle.at_least(seen.revision).await;

    let mut changes = handle.subscribe();
    store.write(vec![create("new")]).await.unwrap();
    let last = store.write(vec![delete("gone")]).await.unwrap();
    handle.at_least(last.revision).await;

    let batch = changes.next().await.unwrap();
    assert_eq!(names(&batch), [("gone".into(), false), ("new".into(), true), ("old".into(), true)]);
    assert_eq!(batch.state.revision(), last.revision);
    assert!(changes.take().is_none(), "nothing is told twice");
}

#[tokio::test]
async fn a_follower_wakes_for_what_comes_later() {
    let (store, handle, _stop) = started();
    let mut changes = handle.subscribe();
    let next = tokio::spawn(async move { changes.next().await.map(|b| names(&b)) });
    tokio::task::yield_now().await;
    store.write(vec![create("one")]).await.unwrap();
    assert_eq!(next.await.unwrap().unwrap(), [("one".into(), true)]);
}

#[tokio::test]
async fn a_follower_ends_with_the_feed() {
    let (_store, handle, stop) = started();
    handle.ready().await;
    let mut changes = handle.subscribe();
    stop.cancel();
    assert!(changes.next().await.is_none());
}

#[tokio::test]
async fn a_burst_larger_than_the_backlog_arrives_whole() {
    let (store, handle, _stop) = started();
    handle.ready().await;
    // No await point lets the feed run before the last write, so its channel overflows.
    let mut last = Revision(0);
    for n in 0..3000 {
        last = store.write(vec![create(&format!("m{n}"))]).await.unwrap().revision;
    }
    let state = handle.at_least(last).await;
    assert_eq!(state.all().count(), 3000);
}
