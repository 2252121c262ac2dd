//! The life of one simulated proxy: its bootstrap, and one stream after the other.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use envoy_api::envoy::{
    config::core::v3::Node,
    service::{
        discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
        health::v3::{
            HealthCheckRequest, HealthCheckRequestOrEndpointHealthResponse, HealthCheckSpecifier,
            health_check_request_or_endpoint_health_response::RequestType,
        },
    },
};
use kuma_dp::{
    bootstrap::{
        self, Attempt, Patience,
        request::{BootstrapRequest, HostResources, MetricsResources, SpireResources, Versions},
        tls::Trust,
    },
    envoy::binary::EnvoyVersion,
    otel_env::OtelEnv,
};
use serde_json::Value;
use tokio::{sync::SemaphorePermit, time::sleep};
use tonic::{Code, Status};

use super::{
    Doors, Member,
    connection::{Call, Connection},
    discovery::{Discovery, Received},
};
use crate::harness::PATIENCE;

const DISCOVERY: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const HEALTH: &str = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck";
/// Between two tries of kuma-dp to get a bootstrap.
const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(200);
/// Envoy's pauses before a new stream are random up to this long, twice as long after each failure…
const PAUSE: Duration = Duration::from_millis(500);
/// … and never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What became of a proxy so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The door that its stream stands at.
    pub at: Option<usize>,
    /// When that stream began.
    pub since: Option<Instant>,
    /// It has all clusters with their endpoints, and listeners.
    pub is_complete: bool,
    /// Everything that it was sent.
    pub received: Vec<Received>,
    /// How its streams ended.
    pub ends: Vec<End>,
    /// Why it could not connect.
    pub failures: Vec<String>,
    /// When the text that is looked for came.
    pub found: Option<Instant>,
}

/// The end of a stream.
#[derive(Clone, Debug)]
pub struct End {
    /// When.
    pub at: Instant,
    /// The control plane said GOAWAY, for no error.
    pub is_orderly: bool,
    /// The status of the stream.
    pub code: Code,
    /// And its text.
    pub text: String,
}

/// One simulated proxy.
pub(super) struct SimulatedProxy {
    pub(super) member: Member,
    pub(super) doors: Arc<Doors>,
    pub(super) seen: Mutex<Seen>,
}

impl SimulatedProxy {
    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lives until its task is dropped.
    pub(super) async fn live(self: Arc<Self>) {
        let (mut door, mut failed) = (self.member.door, 0);
        let mut start = self.doors.starts.acquire().await.ok();
        let node = self.bootstrap(door).await;
        let mut discovery = Discovery::default();
        for stream in 0.. {
            match self.connect(door).await {
                Ok((mut connection, call)) => {
                    failed = 0;
                    {
                        let mut seen = self.seen();
                        (seen.at, seen.since) = (Some(door), Some(Instant::now()));
                    }
                    let health = connection.call::<HealthCheckSpecifier>(HEALTH, &self.member.token).await;
                    let health = tokio::spawn(checks(health, node.clone()));
                    let status = self.talk(call, &node, &mut discovery, stream, &mut start).await;
                    health.abort();
                    self.clone().note_end(status, connection);
                }
                Err(error) => self.seen().failures.push(error),
            }
            sleep(self.pause(stream, failed)).await;
            failed += 1;
            door = (door + 1) % self.doors.addresses.len();
        }
    }

    /// As kuma-dp does, by its own code; the node of Envoy's bootstrap.
    async fn bootstrap(&self, door: usize) -> Node {
        let url = format!("https://{}", self.doors.addresses[door]);
        let attempt = || {
            Ok(Attempt {
                trust: Trust::Ca(self.doors.ca.clone()),
                request: self.member.bootstrap_request(&self.doors.ca),
                renewable_token: false,
            })
        };
        let patience = Patience { backoff: BOOTSTRAP_PAUSE, total: PATIENCE };
        let note = |error: &bootstrap::TryError| self.seen().failures.push(error.to_string());
        let bootstrap = bootstrap::fetch(&url, patience, attempt, note).await.unwrap();
        let document: Value = serde_saphyr::from_slice(&bootstrap.yaml).unwrap();
        xds_gen::json::from_json(document["node"].clone()).unwrap()
    }

    async fn connect(&self, door: usize) -> Result<(Connection, Call<DeltaDiscoveryResponse>), String> {
        let mut connection = Connection::open(self.doors.addresses[door], &self.doors.tls).await?;
        let call = connection.call(DISCOVERY, &self.member.token).await.map_err(|status| status.to_string())?;
        Ok((connection, call))
    }

    async fn talk(
        &self,
        mut call: Call<DeltaDiscoveryResponse>,
        node: &Node,
        discovery: &mut Discovery,
        stream: usize,
        start: &mut Option<SemaphorePermit<'_>>,
    ) -> Status {
        let mut node_once = Some(node.clone());
        for request in discovery.open() {
            call.say(&DeltaDiscoveryRequest { node: node_once.take(), ..request }).await;
        }
        loop {
            let response = match call.hear().await {
                Ok(response) => response,
                Err(status) => return status,
            };
            let (requests, received) = discovery.take(&response, stream);
            let is_found = self.doors.looks_for(&response);
            {
                let mut seen = self.seen();
                seen.is_complete = discovery.is_complete();
                if is_found {
                    seen.found.get_or_insert(received.at);
                }
                seen.received.push(received);
                if seen.is_complete {
                    *start = None;
                }
            }
            for request in requests {
                call.say(&request).await;
            }
        }
    }

    /// The stream has ended; its connection is about to.
    fn note_end(self: Arc<Self>, status: Status, connection: Connection) {
        let at = Instant::now();
        self.seen().at = None;
        tokio::spawn(async move {
            let is_orderly = connection.ended().await;
            self.seen().ends.push(End { at, is_orderly, code: status.code(), text: status.message().to_owned() });
        });
    }

    /// Random, and the same for the same proxy in every run.
    fn pause(&self, stream: usize, failed: u32) -> Duration {
        let mut hasher = DefaultHasher::new();
        (&self.member.name, stream).hash(&mut hasher);
        let longest = PAUSE.saturating_mul(1 << failed.min(16)).min(LONGEST_PAUSE);
        longest.mul_f64((hasher.finish() % 10_000) as f64 / 10_000.0)
    }
}

/// Has itself told what to check; it has nothing to report.
async fn checks(call: Result<Call<HealthCheckSpecifier>, Status>, node: Node) {
    let Ok(mut call) = call else { return };
    let introduction = HealthCheckRequest { node: Some(node), capability: None };
    call.say(&HealthCheckRequestOrEndpointHealthResponse {
        request_type: Some(RequestType::HealthCheckRequest(introduction)),
    })
    .await;
    while call.hear().await.is_ok() {}
}

impl Member {
    fn bootstrap_request(&self, ca: &str) -> BootstrapRequest {
        let text = |key: &str| self.dataplane[key].as_str().unwrap().to_owned();
        let envoy = EnvoyVersion {
            version: "1.38.0".into(),
            build: "0/1.38.0/Clean/RELEASE/BoringSSL".into(),
            kuma_dp_compatible: true,
        };
        BootstrapRequest {
            mesh: text("mesh"),
            name: self.name.clone(),
            proxy_type: "dataplane".into(),
            dataplane_token: self.token.clone(),
            dataplane_token_path: String::new(),
            dataplane_resource: self.dataplane.to_string(),
            version: Versions::with(envoy),
            ca_cert: ca.to_owned(),
            dynamic_metadata: Default::default(),
            otel_env: OtelEnv::default(),
            dns_port: 15_053,
            readiness_port: 9_902,
            app_probe_proxy_enabled: false,
            operating_system: std::env::consts::OS,
            features: vec!["feature-tcp-accesslog-via-named-pipe"],
            resources: HostResources { max_heap_size_bytes: 0 },
            workdir: format!("/run/kuma-dp/{}", self.name),
            metrics_resources: MetricsResources { cert_path: String::new(), key_path: String::new() },
            system_ca_path: String::new(),
            dataplane_config: None,
            ipv6_enabled: false,
            spire_resources: SpireResources { socket_path: String::new() },
        }
    }
}
