//! Rows that cannot be read hold up nothing else that the control plane writes by itself, and count again once they are
//! mended.

use std::{sync::Arc, time::Duration};

use kuma_core::{
    meta::{Labels, Meta, label},
    reconcile::Settings,
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Dataplane, DataplaneInsight},
    store::{Store, StoreError, Write},
};
use kuma_cp::{
    controllers::derive::{self, DerivedAhead},
    dp_server::insights::{self, InsightEvent, InsightSettings},
    leadership::Leadership,
    state::Feed,
    stores::postgres::PostgresStore,
};
use tests::harness::postgres::Database;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::scene::{create, database, key, mesh, open, stored, workload};

/// Longer than the sink and the reconciler pause.
const LONG: Duration = Duration::from_secs(20);
const PROXIES: [&str; 2] = ["bad", "good"];

fn tamper(database: &Database, kind: &str) {
    database.sql(&format!(
        "INSERT INTO resources (name, mesh, type, version, spec, labels, status)
         VALUES ('bad', 'm', '{kind}', 5, '[1]', '{{}}', '{{}}')"
    ));
}

async fn online(store: &PostgresStore, name: &str) -> bool {
    let stored = store.get(&Key::new(Kind::DataplaneInsight, "m", name)).await.unwrap();
    stored.and_then(|insight| insight.spec::<DataplaneInsight>().map(DataplaneInsight::online)).unwrap_or_default()
}

async fn is_there(store: &PostgresStore, kind: Kind, name: &str) -> bool {
    store.get(&Key::new(kind, "m", name)).await.unwrap().is_some()
}

async fn until(what: &str, check: impl AsyncFn() -> bool) {
    let waiting = async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, waiting).await.is_ok(), "{what}");
}

#[tokio::test]
async fn what_cannot_be_read_holds_up_nothing_else() {
    let database = database();
    tamper(&database, "DataplaneInsight");
    tamper(&database, "Workload");
    let store = open(&database).await;
    stored(&store, create(&mesh("m"))).await;
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let (feed, state) = Feed::new(shared.clone());
    tokio::spawn(feed.run(stop.clone()));
    let (_, asks) = DerivedAhead::new(shared.clone(), shared.clone(), Leadership::always());
    tokio::spawn(derive::run(shared.clone(), state.clone(), Settings::in_zone("default"), asks, stop.clone()));
    let (events, receiver) = mpsc::channel(8);
    let settings = InsightSettings { instance: "ours".into(), flush_interval: Duration::from_secs(1), keep: 10 };
    tokio::spawn(insights::run(shared, state, settings, receiver, stop));

    // Together: both are in one batch of the reconciler, and of the sink.
    let dataplane = |name: &str| {
        let labels = Labels::from([(label::WORKLOAD.to_owned(), name.to_owned())]);
        create(&AnyResource::new(Meta::new("m", name, labels), Dataplane::default(), NoStatus {}))
    };
    store.write(PROXIES.map(dataplane).to_vec()).await.unwrap();
    for name in PROXIES {
        let (proxy, missing) = (("m".into(), name.into()), CancellationToken::new());
        let connected = InsightEvent::Connected { proxy, id: name.into(), version: None, metadata: None, missing };
        events.send(connected).await.unwrap();
    }
    until("the other proxy is shown online", async || online(&store, "good").await).await;
    until("the other Workload is there", async || is_there(&store, Kind::Workload, "good").await).await;
    assert!(!online(&store, "bad").await && !is_there(&store, Kind::Workload, "bad").await);

    for write in [create(&workload("bad", "1")), Write::Delete { key: key("bad"), expected: None }] {
        let refused = store.write(vec![write]).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Unreadable(of) if *of == key("bad")), "{refused}");
        assert!(refused.to_string().contains("mend or delete its row"), "{refused}");
    }
    assert_eq!(database.sql("SELECT count(*) FROM resources WHERE name = 'bad' AND spec = '[1]'"), "2");

    database.sql("UPDATE resources SET spec = '{}' WHERE name = 'bad' AND type <> 'Dataplane'");
    until("the proxy is shown online", async || online(&store, "bad").await).await;
    until("the Workload counts", async || is_there(&store, Kind::Workload, "bad").await).await;
}
