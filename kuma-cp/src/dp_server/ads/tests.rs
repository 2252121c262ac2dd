//! A stream in the process, and what it leaves in the metrics.

use envoy_api::{
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource},
    google::rpc,
};
use kuma_core::{plan::PlanSettings, registry::Kind};
use serde_json::json;

use super::*;
use crate::{
    diagnostics::Metrics,
    dp_server::{
        admin_ca::{self, AdminCa},
        rig::{Call, Rig, SOON, dataplane, node},
    },
    logging::{LogControl, LogLevel},
    world::{self, EnvoyRender},
};

const CLUSTER: &str = TypeUrl::Cluster.as_str();
const LISTENER: &str = TypeUrl::Listener.as_str();

/// Discovery over a rig.
struct Served {
    rig: Rig,
    ads: Arc<Ads>,
    metrics: Metrics,
    /// Of streams that said that they are there: what is cancelled if their Dataplane is not.
    missing: Arc<std::sync::Mutex<Vec<CancellationToken>>>,
}

impl Served {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let metrics = Metrics::new("z", &LogControl::new(LogLevel::Info));
        let render = EnvoyRender::new(admin_ca::as_issuer(&Arc::new(AdminCa::default())));
        let (world, _) = world::spawn(PlanSettings::default(), render, metrics.planning.clone()).unwrap();
        let (mut changes, fed) = (rig.state.subscribe(), world.clone());
        rig.tasks.spawn(async move {
            while let Some(batch) = changes.next().await {
                fed.changed((*batch.state).clone(), batch.changes).await.unwrap();
            }
        });
        let (insights, mut events) = mpsc::channel(16);
        let missing = Arc::new(std::sync::Mutex::new(Vec::new()));
        let tokens = missing.clone();
        rig.tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                if let InsightEvent::Connected { missing, .. } = event {
                    tokens.lock().unwrap().push(missing);
                }
            }
        });
        let ads = Arc::new(Ads {
            connector: rig.connector.clone(),
            world,
            leases: Arc::new(Leases::default()),
            remembered: Arc::default(),
            insights,
            admission: Arc::new(Semaphore::new(1)),
            grace_until: None,
            metrics: metrics.xds.clone(),
            instance: "cp".into(),
            tasks: rig.tasks.clone(),
        });
        Self { rig, ads, metrics, missing }
    }

    /// The value of a series; 0 while there is none.
    fn value(&self, series: &str) -> u64 {
        let text = self.metrics.encode().unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    async fn until(&self, series: &str, value: u64) {
        let wait = async {
            while self.value(series) != value {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(SOON, wait).await.is_ok(), "{series}: {}", self.metrics.encode().unwrap());
    }
}

fn answer(response: &DeltaDiscoveryResponse, error: Option<&str>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        error_detail: error.map(|message| rpc::Status { code: 13, message: message.into(), ..rpc::Status::default() }),
        ..DeltaDiscoveryRequest::default()
    }
}

fn web(inbounds: &[u16]) -> serde_json::Value {
    dataplane("web", &inbounds.iter().map(|port| json!({"port": port})).collect())
}

#[tokio::test]
async fn a_change_is_measured_until_the_proxy_has_accepted_or_refused_it() {
    let served = Served::new().await;
    served.rig.put(&web(&[80])).await;
    let mut call = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    let first = DeltaDiscoveryRequest {
        node: Some(node("default.web", &[])),
        type_url: CLUSTER.into(),
        ..DeltaDiscoveryRequest::default()
    };
    call.say(&first).await;
    let response = call.hear().await.expect("clusters");
    served.until(r#"xds_streams_active{zone="z"}"#, 1).await;
    assert_eq!(served.value(r#"xds_delivery_count{zone="z"}"#), 0, "it is not acknowledged yet");
    call.say(&answer(&response, None)).await;
    served.until(r#"xds_delivery_count{zone="z"}"#, 1).await;

    served.rig.put(&web(&[80, 81])).await;
    let response = call.hear().await.expect("a cluster more");
    assert!(response.resources.iter().any(|r| r.name.contains("81")), "{response:?}");
    call.say(&answer(&response, Some("no"))).await;
    served.until(r#"xds_delivery_count{zone="z"}"#, 2).await;

    let confirmed = |confirmation, error| {
        format!(
            r#"xds_requests_received{{zone="z",type_url="{CLUSTER}",confirmation="{confirmation}",error_type="{error}"}}"#
        )
    };
    assert_eq!(served.value(&confirmed("ACK", "no_error")), 1);
    assert_eq!(served.value(&confirmed("NACK", "other")), 1);
    let of_clusters = |name| format!(r#"{name}{{zone="z",type_url="{CLUSTER}"}}"#);
    assert_eq!(served.value(&of_clusters("xds_responses_sent")), 2);
    assert_eq!(served.value(&of_clusters("xds_responses_sent_bytes_count")), 2);
    // Clusters of both inbounds.
    assert!(served.value(r#"planning_work_total{zone="z",work="inbounds"}"#) >= 2);
    assert!(served.value(r#"xds_generation_count{zone="z",proxy_type="dataplane",result="changed"}"#) >= 2);
    drop(call);
    served.until(r#"xds_streams_active{zone="z"}"#, 0).await;
}

/// The rig admits one at a time.
#[tokio::test]
async fn who_is_sent_no_listeners_makes_room_for_the_next_as_well() {
    let served = Served::new().await;
    served.rig.put(&web(&[80])).await;
    let ask = |type_url: &str, has: &[Resource]| DeltaDiscoveryRequest {
        node: Some(node("default.web", &[])),
        type_url: type_url.into(),
        initial_resource_versions: has.iter().map(|r| (r.name.clone(), r.version.clone())).collect(),
        ..DeltaDiscoveryRequest::default()
    };
    let free = || served.ads.admission.available_permits();
    // Sooner than by the clock.
    let is_free = async || {
        let wait = async {
            while free() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(ADMISSION_TIMEOUT / 2, wait).await.is_ok()
    };
    let mut call = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    call.say(&ask(CLUSTER, &[])).await;
    let clusters = call.hear().await.expect("clusters");
    call.say(&answer(&clusters, None)).await;
    served.until(r#"xds_delivery_count{zone="z"}"#, 1).await;
    assert_eq!(free(), 0, "its listeners are still to come");
    call.say(&ask(LISTENER, &[])).await;
    let listeners = call.hear().await.expect("listeners");
    call.say(&answer(&listeners, None)).await;
    assert!(is_free().await);
    drop(call);
    served.until(r#"xds_streams_active{zone="z"}"#, 0).await;

    let mut call = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    call.say(&ask(CLUSTER, &[])).await;
    let clusters = call.hear().await.expect("clusters");
    call.say(&ask(LISTENER, &listeners.resources)).await;
    assert_eq!(free(), 0);
    call.say(&answer(&clusters, None)).await;
    assert!(is_free().await, "it has its listeners");
}

#[tokio::test]
async fn a_change_that_asks_for_nothing_is_not_measured() {
    let served = Served::new().await;
    served.rig.put(&web(&[80])).await;
    let mut call = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    // It wants to know nothing of clusters and listeners.
    let first = DeltaDiscoveryRequest {
        node: Some(node("default.web", &[])),
        type_url: TypeUrl::Runtime.as_str().into(),
        resource_names_subscribe: vec!["nothing".into()],
        ..DeltaDiscoveryRequest::default()
    };
    call.say(&first).await;
    let response = call.hear().await.expect("an answer, if only that there is none");
    call.say(&answer(&response, None)).await;
    served.until(r#"xds_delivery_count{zone="z"}"#, 1).await;
    served.rig.put(&web(&[80, 81])).await;
    served.until(r#"xds_generation_count{zone="z",proxy_type="dataplane",result="changed"}"#, 2).await;
    assert!(call.hears_nothing().await);
    assert_eq!(served.value(r#"xds_delivery_count{zone="z"}"#), 1);
}

/// What a proxy that brings its Dataplane says first.
fn introduction() -> DeltaDiscoveryRequest {
    let brought = web(&[80]).to_string();
    DeltaDiscoveryRequest {
        node: Some(node("default.web", &[("dataplane.resource", &brought)])),
        type_url: CLUSTER.into(),
        ..DeltaDiscoveryRequest::default()
    }
}

#[tokio::test]
async fn a_proxy_whose_dataplane_is_missing_brings_it_again() {
    let served = Served::new().await;
    let mut call = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    call.say(&introduction()).await;
    let response = call.hear().await.expect("clusters");
    call.say(&answer(&response, None)).await;
    served.rig.delete(Kind::Dataplane, "default", "web").await;
    assert!(call.hears_nothing().await, "an Envoy that serves is not told to drop anything");
    served.missing.lock().unwrap()[0].cancel();
    let status = call.hear().await.expect_err("the end of the stream");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let mut call = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    call.say(&introduction()).await;
    call.hear().await.expect("clusters");
    assert!(served.rig.stored(Kind::Dataplane, "default", "web").await.is_some());
}

#[tokio::test]
async fn an_instance_that_is_cut_off_lets_go_of_its_proxies_once() {
    let served = Served::new().await;
    let (tell, cut_off) = tokio::sync::watch::channel(false);
    let handover = served.rig.connector.handover.clone();
    served.rig.tasks.spawn(handover.run(cut_off, Duration::from_secs(1), served.rig.stop.clone()));
    let mut call = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    call.say(&introduction()).await;
    call.hear().await.expect("clusters");
    tell.send_replace(true);
    let status = call.hear().await.expect_err("the end of the stream");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let mut refused = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    refused.say(&introduction()).await;
    assert_eq!(refused.hear().await.expect_err("nobody is let in").code(), Code::Unavailable);
    let term = served.rig.connector.handover.clone();
    let opened = async {
        while term.term().is_cancelled() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, opened).await.expect("it lets them in again");
    let mut call = Call::<DeltaDiscoveryResponse>::to(|request| served.ads.delta(request));
    call.say(&introduction()).await;
    call.hear().await.expect("clusters");
    assert!(served.rig.stored(Kind::Dataplane, "default", "web").await.is_some());
}
