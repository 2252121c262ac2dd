//! The store: how long what is asked of it takes, and how often somebody else was faster.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use kuma_core::{
    resource::{AnyResource, Key},
    store::{Author, Committed, Store, StoreError, WatchEvent, Write, history::Past},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, histogram::Histogram},
    registry::Registry,
};
use tokio::sync::mpsc;

use super::exact::ExactCounter;

/// Seconds.
const BUCKETS: [f64; 11] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Metrics of the store. Clones share them.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    operations: Family<Operation, Histogram>,
    conflicts: Family<Kind, ExactCounter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
    resource_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    resource_type: &'static str,
}

impl StoreMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let this =
            Self { operations: Family::new_with_constructor(|| Histogram::new(BUCKETS)), conflicts: Family::default() };
        registry.register("store", "Seconds that operations of the store took", this.operations.clone());
        registry.register(
            "store_conflicts",
            "Writes that were refused since somebody else had written first",
            this.conflicts.clone(),
        );
        this
    }

    /// The store, with all that is asked of it measured.
    pub fn measured(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Measured { metrics: self.clone(), store })
    }

    fn took(&self, operation: &'static str, resource_type: &'static str, since: Instant) {
        self.operations.get_or_create(&Operation { operation, resource_type }).observe(since.elapsed().as_secs_f64());
    }
}

struct Measured {
    metrics: StoreMetrics,
    store: Arc<dyn Store>,
}

#[async_trait]
impl Store for Measured {
    async fn get(&self, key: &Key) -> Result<Option<AnyResource>, StoreError> {
        let since = Instant::now();
        let outcome = self.store.get(key).await;
        self.metrics.took("get", key.kind.name(), since);
        outcome
    }

    async fn write_as(&self, author: Author, batch: Vec<Write>) -> Result<Committed, StoreError> {
        // What is written together takes the time of all of it; the first says what it is about.
        let about = batch.first().map(|write| (operation(write), write.key().kind.name()));
        let since = Instant::now();
        let outcome = self.store.write_as(author, batch).await;
        if let Some((operation, resource_type)) = about {
            self.metrics.took(operation, resource_type, since);
        }
        if let Err(StoreError::Conflict(key)) = &outcome {
            self.metrics.conflicts.get_or_create(&Kind { resource_type: key.kind.name() }).inc();
        }
        outcome
    }

    async fn history(&self, key: &Key) -> Result<Vec<Past>, StoreError> {
        self.store.history(key).await
    }

    async fn watch(&self) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        self.store.watch().await
    }
}

fn operation(write: &Write) -> &'static str {
    match write {
        Write::Create { .. } => "create",
        Write::Update { .. } | Write::Replace { .. } => "update",
        Write::Delete { .. } => "delete",
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kuma_core::{
        meta::{Labels, Meta},
        resource::NoStatus,
        resources::Mesh,
        store::MemoryStore,
    };

    use super::*;
    use crate::{
        diagnostics::Metrics,
        logging::{LogControl, LogLevel},
    };

    #[tokio::test]
    async fn one_of_fifty_writers_wins_and_the_others_are_counted() {
        let metrics = Metrics::new("z", &LogControl::new(LogLevel::Info));
        let store = metrics.store.measured(Arc::new(MemoryStore::new(Timestamp::now)));
        let mesh = AnyResource::new(Meta::new("", "m", Labels::new()), Mesh::default(), NoStatus {});
        let first = store.write(vec![Write::Create { resource: mesh.clone(), owner: None }]).await.unwrap();
        let expected = first.resources[0].as_ref().unwrap().meta.version;
        let label = |nth: usize| {
            let labels = Labels::from([("writer".to_owned(), nth.to_string())]);
            mesh.with_meta(Meta { labels: labels.into(), ..mesh.meta.clone() })
        };
        let writes = (0..50).map(|nth| store.write(vec![Write::Update { resource: label(nth), expected }]));
        let outcomes = futures::future::join_all(writes).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        store.get(&mesh.key()).await.unwrap();
        let text = metrics.encode().unwrap();
        for line in [
            r#"store_conflicts{zone="z",resource_type="Mesh"} 49"#,
            r#"store_count{zone="z",operation="create",resource_type="Mesh"} 1"#,
            r#"store_count{zone="z",operation="update",resource_type="Mesh"} 50"#,
            r#"store_count{zone="z",operation="get",resource_type="Mesh"} 1"#,
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
