//! What a proxy is asked to check, when it is asked again, and what its reports do to its Dataplane.

use envoy_api::envoy::{
    config::core::v3::HealthStatus,
    service::health::v3::{
        Capability, ClusterEndpointsHealth, EndpointHealth, HealthCheckSpecifier, LocalityEndpointsHealth,
    },
};
use kuma_core::resources::InboundState::{self, NotReady, Ready};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    auth::ProxyAuthenticator,
    dp_server::{
        leases::Presence,
        rig::{Call, Rig, SOON, dataplane, node},
    },
    state::StateHandle,
};

struct Served {
    rig: Rig,
    hds: Arc<Hds>,
}

impl Served {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let watched = Arc::new(Watched::default());
        rig.tasks.spawn(watched.clone().follow(&rig.state));
        let hds = Arc::new(Hds {
            connector: rig.connector.clone(),
            watched,
            leases: Leases::default(),
            settings: HdsSettings::default(),
            metrics: HealthMetrics::default(),
            tasks: rig.tasks.clone(),
        });
        Self { rig, hds }
    }

    /// With the Dataplane `web`, whose port 80 is probed and whose port 81 is not.
    async fn with_web() -> Self {
        let served = Self::new().await;
        served.rig.put(&web(80)).await;
        served
    }

    fn call(&self) -> Call<HealthCheckSpecifier> {
        Call::to(|request| self.hds.stream(request))
    }

    async fn introduced(&self) -> Call<HealthCheckSpecifier> {
        let call = self.call();
        call.say(&introduction("default.web")).await;
        call
    }

    async fn states(&self) -> Option<Vec<InboundState>> {
        let stored = self.rig.stored(Kind::Dataplane, "default", "web").await?;
        let spec = stored.spec::<Dataplane>().unwrap();
        Some(spec.networking.as_ref().unwrap().inbound.iter().map(|i| i.state).collect())
    }

    /// Waits until the states are these.
    async fn reach(&self, wanted: &[InboundState]) {
        let reached = async {
            let mut revisions = self.rig.state.revisions();
            while self.states().await.as_deref() != Some(wanted) {
                revisions.changed().await.unwrap();
            }
        };
        let reached = tokio::time::timeout(SOON, reached).await;
        assert!(reached.is_ok(), "wanted {wanted:?}, there is {:?}", self.states().await);
    }
}

fn web(service_port: u32) -> Value {
    dataplane("web", &json!([{"port": 80, "servicePort": service_port, "serviceProbe": {"tcp": {}}}, {"port": 81}]))
}

fn introduction(id: &str) -> Message {
    let capability = Some(Capability::default());
    let request = HealthCheckRequest { node: Some(node(id, &[])), capability };
    Message { request_type: Some(RequestType::HealthCheckRequest(request)) }
}

fn report(clusters: &[(&str, HealthStatus)]) -> Message {
    let cluster = |(name, status): &(&str, HealthStatus)| ClusterEndpointsHealth {
        cluster_name: (*name).to_owned(),
        locality_endpoints_health: vec![LocalityEndpointsHealth {
            endpoints_health: vec![EndpointHealth { health_status: *status as i32, ..Default::default() }],
            ..Default::default()
        }],
    };
    let cluster_endpoints_health = clusters.iter().map(cluster).collect();
    let report = EndpointHealthResponse { cluster_endpoints_health, ..Default::default() };
    Message { request_type: Some(RequestType::EndpointHealthResponse(report)) }
}

fn checked(specifier: &HealthCheckSpecifier) -> Vec<&str> {
    specifier.cluster_health_checks.iter().map(|c| c.cluster_name.as_str()).collect()
}

#[tokio::test]
async fn reports_move_inbounds_and_the_last_states_stay_when_the_stream_ends() {
    let served = Served::with_web().await;
    assert_eq!(served.states().await.unwrap(), [NotReady, Ready]);
    let mut call = served.introduced().await;
    assert_eq!(checked(&call.hear().await.unwrap()), ["system_envoy_admin", "localhost:80"]);

    call.say(&report(&[("system_envoy_admin", HealthStatus::Healthy), ("localhost:80", HealthStatus::Healthy)])).await;
    served.reach(&[Ready, Ready]).await;
    call.say(&report(&[("system_envoy_admin", HealthStatus::Healthy), ("localhost:80", HealthStatus::Unhealthy)]))
        .await;
    served.reach(&[NotReady, Ready]).await;
    // An Envoy that drains takes no traffic at all.
    call.say(&report(&[("system_envoy_admin", HealthStatus::Unhealthy), ("localhost:80", HealthStatus::Healthy)]))
        .await;
    served.reach(&[NotReady, NotReady]).await;
    assert!(call.hears_nothing().await, "states do not change what is checked");
    drop(call);
    served.rig.stop.cancel();
    served.rig.tasks.close();
    served.rig.tasks.wait().await;
    assert_eq!(served.states().await.unwrap(), [NotReady, NotReady]);
}

#[tokio::test]
async fn a_report_that_changes_nothing_writes_nothing() {
    let served = Served::with_web().await;
    let mut call = served.introduced().await;
    call.hear().await.unwrap();
    let well = report(&[("system_envoy_admin", HealthStatus::Healthy), ("localhost:80", HealthStatus::Healthy)]);
    call.say(&well).await;
    served.reach(&[Ready, Ready]).await;
    let version = served.rig.stored(Kind::Dataplane, "default", "web").await.unwrap().meta.version;
    call.say(&well).await;
    call.say(&well).await;
    // Messages are taken in order, so this one ends the stream after the reports.
    call.say(&introduction("default.other")).await;
    let status = call.hear().await.unwrap_err();
    assert!(status.message().contains("Node ID cannot be changed"), "{status}");
    assert_eq!(served.rig.stored(Kind::Dataplane, "default", "web").await.unwrap().meta.version, version);
}

#[tokio::test]
async fn checks_are_sent_again_when_they_change_and_only_then() {
    let served = Served::with_web().await;
    let mut call = served.introduced().await;
    call.hear().await.unwrap();
    let mut labelled = web(80);
    labelled["labels"] = json!({"team": "a"});
    served.rig.put(&labelled).await;
    assert!(call.hears_nothing().await);
    served.rig.put(&web(8080)).await;
    assert_eq!(checked(&call.hear().await.unwrap()), ["system_envoy_admin", "localhost:8080"]);
}

#[tokio::test]
async fn a_stream_waits_for_the_dataplane_that_discovery_brings() {
    let served = Served::new().await;
    let mut call = served.introduced().await;
    assert!(call.hears_nothing().await);
    served.rig.put(&web(80)).await;
    assert_eq!(checked(&call.hear().await.unwrap()).len(), 2);
}

#[tokio::test]
async fn a_dataplane_that_is_gone_ends_the_stream() {
    let served = Served::with_web().await;
    let mut call = served.introduced().await;
    call.hear().await.unwrap();
    served.rig.delete(Kind::Dataplane, "default", "web").await;
    assert_eq!(call.hear().await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_report_does_not_bring_back_what_was_deleted_a_moment_ago() {
    let served = Served::with_web().await;
    let web = served.rig.stored(Kind::Dataplane, "default", "web").await.unwrap();
    served.rig.delete(Kind::Dataplane, "default", "web").await;
    let proxy: Proxy = ("default".into(), "web".into());
    let known = &served.rig.connector;
    let behind = Connector {
        state: StateHandle::of([web]),
        store: known.store.clone(),
        auth: ProxyAuthenticator::None,
        prepare: known.prepare.clone(),
        instance: known.instance.clone(),
        deregistration_delay: known.deregistration_delay,
        handover: known.handover.clone(),
        stop: known.stop.clone(),
        tasks: known.tasks.clone(),
        brought: known.brought.clone(),
    };
    let hds = Hds {
        connector: Arc::new(behind),
        watched: Arc::default(),
        leases: Leases::default(),
        settings: HdsSettings::default(),
        metrics: HealthMetrics::default(),
        tasks: TaskTracker::new(),
    };
    let Some(RequestType::EndpointHealthResponse(report)) =
        report(&[("localhost:80", HealthStatus::Healthy)]).request_type
    else {
        panic!("a report")
    };
    assert_eq!(hds.fold(&proxy, &report).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(served.states().await, None);
}

#[tokio::test]
async fn who_reports_has_to_say_who_it_is_first() {
    let served = Served::with_web().await;
    let mut call = served.call();
    call.say(&report(&[("localhost:80", HealthStatus::Healthy)])).await;
    assert_eq!(call.hear().await.unwrap_err().code(), Code::InvalidArgument);
    let mut call = served.call();
    let nobody = HealthCheckRequest { node: None, capability: None };
    call.say(&Message { request_type: Some(RequestType::HealthCheckRequest(nobody)) }).await;
    assert!(call.hear().await.unwrap_err().message().contains("Envoy ID must not be nil"));
    assert_eq!(served.states().await.unwrap(), [NotReady, Ready]);
}

#[tokio::test]
async fn a_new_stream_of_a_proxy_replaces_the_old_one() {
    let served = Served::with_web().await;
    let mut old = served.introduced().await;
    old.hear().await.unwrap();
    let mut new = served.introduced().await;
    new.hear().await.unwrap();
    assert_eq!(old.hear().await.unwrap_err().code(), Code::Aborted);
    new.say(&report(&[("localhost:80", HealthStatus::Healthy)])).await;
    served.reach(&[Ready, Ready]).await;
}

#[tokio::test]
async fn streams_end_with_the_control_plane_and_a_report_that_is_too_large_ends_its_own() {
    let served = Served::with_web().await;
    let mut call = served.introduced().await;
    call.hear().await.unwrap();
    let name = "x".repeat(MAX_REPORT);
    call.say(&report(&[(name.as_str(), HealthStatus::Healthy)])).await;
    assert_eq!(call.hear().await.unwrap_err().code(), Code::OutOfRange);

    let drain = CancellationToken::new();
    let mut call = Call::<HealthCheckSpecifier>::to(|mut request| {
        request.extensions_mut().insert(Drain::from(drain.clone()));
        served.hds.stream(request)
    });
    call.say(&introduction("default.web")).await;
    call.hear().await.unwrap();
    let proxy: Proxy = ("default".into(), "web".into());
    assert_eq!(served.hds.leases.presence(&proxy), Presence::Held);
    drain.cancel();
    assert_eq!(call.hear().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(served.hds.leases.presence(&proxy), Presence::Absent, "the lease is given back");
}
