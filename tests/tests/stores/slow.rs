//! A database that takes its time, below a whole control plane: nothing waits for it but writes, and those not for long.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use envoy_api::envoy::config::core::v3::Node;
use futures::future::join_all;
use kuma_core::{
    meta::{Labels, Meta},
    plan::NodeFacts,
    registry::Kind,
    resource::AnyResource,
};
use kuma_cp::{
    api::{self, Scheme},
    compose::{self, Parts},
    config::Config,
    controllers::boot,
    diagnostics::Metrics,
    dp_server::handover::Handover,
    logging::{LogControl, LogLevel},
    world::StreamUp,
};
use serde_json::json;
use tests::harness::{
    http::{Answer, Client},
    postgres::Database,
    relay::Relay,
};
use tokio_util::sync::CancellationToken;

use crate::scene::{PATIENCE, create, database, settings};

/// How late the answers of the database are.
const LATENCY: Duration = Duration::from_secs(5);
/// What takes longer than this does not happen.
const LONG: Duration = Duration::from_secs(30);

/// A control plane in this process, without ports for proxies.
struct Served {
    parts: Parts,
    api: SocketAddr,
    stop: CancellationToken,
}

async fn serve(database: &Database) -> Served {
    kuma_cp::tls::install_provider();
    let mut config = Config::default();
    config.store.kind = "postgres".into();
    config.store.postgres = settings(database);
    config.dp_server.authn.dp_proxy.kind = "none".into();
    let (metrics, stop) = (Metrics::new("default", &LogControl::new(LogLevel::Info)), CancellationToken::new());
    let parts = compose::start(&config, "slow", &metrics, &Handover::default(), &stop, &stop).await.unwrap();
    boot::run(&parts.store, &parts.state, &parts.boot).await.unwrap();
    let context = compose::api(&config, &parts).unwrap();
    let app = api::router(context, Scheme::Http).into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    Served { parts, api, stop }
}

impl Served {
    /// One request to the API on a connection of its own, and how long it took.
    async fn ask(&self, method: &'static str, path: String, body: String) -> (Answer, Duration) {
        let api = self.api;
        let asking = tokio::task::spawn_blocking(move || {
            let since = Instant::now();
            let headers = [("content-type", "application/json")];
            (Client::new(api).send(method, &path, &headers, body.as_bytes()).unwrap(), since.elapsed())
        });
        asking.await.unwrap()
    }

    async fn put(&self, name: &str) -> (Answer, Duration) {
        let spec = json!({"to": [{"targetRef": {"kind": "Mesh"}, "default": {"connectionTimeout": "5s"}}]});
        let body = json!({"type": "MeshTimeout", "mesh": "default", "name": name, "spec": spec});
        self.ask("PUT", format!("/meshes/default/meshtimeouts/{name}"), body.to_string()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_database_delays_writes_alone_and_those_not_for_long() {
    let database = database();
    let relay = Relay::start(0, database.address);
    let served = serve(&database.at(relay.address())).await;
    let spec = json!({"networking": {"address": "127.0.0.1", "inbound": [{"port": 8080}]}});
    let meta = Meta::new("default", "web", Labels::new());
    let dataplane: AnyResource = Kind::Dataplane.decode(meta, spec, None).unwrap();
    let written = served.parts.store.write(vec![create(&dataplane)]).await.unwrap();
    served.parts.state.at_least(written.revision).await;
    assert_eq!(served.put("before").await.0.status, 201);
    // The one for the lock of the leader comes after the one for writes.
    let connections = 2;
    let connected = async {
        while database.connections() != connections {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, connected).await.is_ok(), "{} connections", database.connections());

    relay.set_latency(LATENCY);
    let (refused, waited) = served.put("slow").await;
    assert!(refused.status == 503 && refused.retry_after.is_some(), "{refused:?}");
    println!("the first write was refused after {waited:.2?}, the patience is {PATIENCE} s, the latency {LATENCY:?}");
    assert!(waited < LATENCY, "nobody waits for the database itself");
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < LATENCY * 2 {
        let names: Vec<String> = (0..20).map(|n| format!("slow-{n}")).collect();
        for (refused, waited) in join_all(names.iter().map(|name| served.put(name))).await {
            assert!(
                refused.status == 503 && refused.retry_after.is_some() && waited < LATENCY,
                "{refused:?} {waited:?}"
            );
        }
        for path in ["/meshes", "/meshes/default/dataplanes/_overview", "/meshes/default/meshtimeouts/before"] {
            let (answer, waited) = served.ask("GET", path.into(), String::new()).await;
            assert!(answer.status == 200 && waited < LATENCY, "{path}: {answer:?} {waited:?}");
        }
        most = most.max(database.connections());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("at most {most} connections at a time");
    assert!(most <= connections + 2, "at most one that ends beside each of them: {most}");

    // A proxy that connects meanwhile is let in, and has its configuration.
    let node = Node { id: "default.web".into(), ..Node::default() };
    let ads = &served.parts.ads;
    let connecting = tokio::time::timeout(LATENCY, ads.connector.connect("", Some(&node)));
    let connected = connecting.await.expect("it does not wait for the database").unwrap();
    let node: Arc<NodeFacts> = connected.node.clone();
    let view = served.parts.world.stream_up(StreamUp { proxy: connected.proxy, node }).await.unwrap();
    let planned = async {
        while view.set().is_none() {
            view.changed().await;
        }
    };
    assert!(tokio::time::timeout(LATENCY, planned).await.is_ok(), "it is planned from what is known");

    relay.set_latency(Duration::ZERO);
    let mut available = served.parts.available.clone().unwrap();
    assert!(tokio::time::timeout(LONG, available.wait_for(|is_there| *is_there)).await.is_ok());
    // The one that was under way may have been kept.
    let (answer, _) = served.put("slow").await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    let back = async {
        while database.connections() != connections {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(LONG, back).await.is_ok(), "{} connections", database.connections());
    served.stop.cancel();
}
