//! Health discovery: one task per stream. It tells the Envoy of a proxy what to check, again whenever its Dataplane
//! comes to say something else, and puts what Envoy reports into the Dataplane.
//!
//! Nothing is made here: a report about a Dataplane that is gone ends the stream. The last known states stay when a
//! stream ends.

mod watched;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use envoy_api::envoy::service::health::v3::{
    EndpointHealthResponse, HealthCheckRequest, HealthCheckRequestOrEndpointHealthResponse,
    health_check_request_or_endpoint_health_response::RequestType,
};
use kuma_core::{
    plan::NodeFacts,
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::Dataplane,
    store::{Author, StoreError, Write},
};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status, Streaming};
use xds_gen::hds::{HdsSettings, fold_report, specifier};

pub use watched::Watched;

use super::{
    ads::{FIRST_REQUEST_TIMEOUT, SEND_TIMEOUT, credential, replaced, shutting_down},
    connect::{Connector, Introduction},
    grpc,
    handover::handed_over,
    leases::{FIGHT_PAUSE, Lease, Leases, Proxy},
};
use crate::{
    diagnostics::metrics::health::{HealthMetrics, HealthStream},
    serve::Drain,
};
use watched::Watch;

/// How long a stream may wait for its Dataplane: the discovery stream of the same Envoy may be about to bring it.
const DATAPLANE_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries to store a Dataplane that somebody else writes at the same time.
const TRIES: usize = 5;
/// Largest report in bytes; one with a thousand inbounds has about 100 kB.
const MAX_REPORT: usize = 1 << 20;

type Message = HealthCheckRequestOrEndpointHealthResponse;

/// What streams share.
pub struct Hds {
    /// Authenticates proxies, and knows where their Dataplanes are.
    pub connector: Arc<Connector>,
    /// Which streams a change of a Dataplane concerns.
    pub watched: Arc<Watched>,
    /// Who reports for which proxy. Not the leases of discovery: a proxy has a stream of both.
    pub leases: Leases,
    /// What checks are made of.
    pub settings: HdsSettings,
    /// Counts streams and what goes over them.
    pub metrics: HealthMetrics,
    /// Waited for at shutdown.
    pub tasks: TaskTracker,
}

impl Hds {
    /// Answers a call of `StreamHealthCheck`.
    pub fn stream(self: &Arc<Self>, request: http::Request<axum::body::Body>) -> http::Response<axum::body::Body> {
        let (parts, body) = request.into_parts();
        let credential = match credential(&parts.headers) {
            Ok(credential) => credential,
            Err(status) => return grpc::refuse(&status),
        };
        let requests = grpc::requests::<Message>(body, MAX_REPORT);
        let (frames, receiver) = mpsc::channel(1);
        let (hds, drain) = (self.clone(), Drain::of(&parts.extensions));
        let handover = self.connector.handover.term();
        self.tasks.spawn(async move {
            let outcome = tokio::select! {
                // Connections drain at a handover as well.
                biased;
                () = handover.cancelled() => Err(handed_over()),
                () = drain.begun() => Err(shutting_down()),
                outcome = hds.run(&credential, requests, &frames) => outcome,
            };
            if let Err(status) = outcome {
                // The peer may be gone, then nobody needs the status.
                let _ = tokio::time::timeout(Duration::from_secs(1), frames.send(Err(status))).await;
            }
        });
        grpc::response(receiver)
    }

    async fn run(
        &self,
        credential: &str,
        mut requests: Streaming<Message>,
        frames: &mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<(), Status> {
        let first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no health check request within 10 s of the start of the stream"))??
            .ok_or_else(|| Status::cancelled("the stream ended before its first request"))?;
        let Some(RequestType::HealthCheckRequest(first)) = first.request_type else {
            return Err(Status::invalid_argument(
                "the first message of a health check stream has to be a HealthCheckRequest: nothing is taken from a \
                 proxy that has not said who it is",
            ));
        };
        let Introduction { proxy, metadata } = Introduction::of(first.node.as_ref())?;
        if self.leases.fought_over(&proxy) {
            // Discovery reports it.
            tokio::select! {
                () = tokio::time::sleep(FIGHT_PAUSE) => {}
                () = frames.closed() => return Ok(()),
            }
        }
        let watch = self.watched.watch(&proxy);
        let dataplane = self.await_dataplane(&proxy, &watch).await?;
        self.connector.authenticate(credential, &dataplane)?;
        let lease = self.leases.take(proxy);
        let mut stream = Stream {
            hds: self,
            metrics: self.metrics.stream(),
            lease,
            node: NodeFacts::from_metadata(&metadata),
            node_id: first.node.map(|node| node.id).unwrap_or_default(),
        };
        let lost = stream.lease.lost.clone();
        tokio::select! {
            outcome = stream.talk(&watch, requests, frames) => outcome,
            () = lost.cancelled() => Err(replaced()),
        }
    }

    async fn await_dataplane(&self, proxy: &Proxy, watch: &Watch) -> Result<AnyResource, Status> {
        let stored = async {
            self.connector.state.ready().await;
            loop {
                if let Some(dataplane) = self.connector.state.current().get(&key(proxy)) {
                    return dataplane.clone();
                }
                watch.changed().await;
            }
        };
        tokio::time::timeout(DATAPLANE_TIMEOUT, stored).await.map_err(|_| gone(proxy))
    }

    /// Puts a report into the stored Dataplane. A store that is away is no reason to end the stream: Envoy reports
    /// again in a moment.
    async fn fold(&self, proxy: &Proxy, report: &EndpointHealthResponse) -> Result<(), Status> {
        let key = key(proxy);
        let state = self.connector.state.current();
        // Nearly all reports change nothing: those never get to the store.
        let known = state.get(&key).ok_or_else(|| gone(proxy))?;
        if known.spec::<Dataplane>().and_then(|spec| fold_report(report, spec)).is_none() {
            return Ok(());
        }
        for attempt in 1.. {
            let outcome = match self.connector.store.get(&key).await {
                Ok(Some(stored)) => {
                    let Some(after) = stored.spec::<Dataplane>().and_then(|spec| fold_report(report, spec)) else {
                        return Ok(());
                    };
                    let changes = states(&after);
                    let expected = stored.meta.version;
                    let resource = AnyResource::new(stored.meta, after, NoStatus {});
                    let written = self
                        .connector
                        .store
                        .write_as(Author::part("health"), vec![Write::Update { resource, expected }])
                        .await;
                    written.map(|_| tracing::info!(mesh = %proxy.0, proxy = %proxy.1, inbounds = changes, "what Envoy reports has changed inbounds"))
                }
                Ok(None) => return Err(gone(proxy)),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if attempt >= TRIES || matches!(error, StoreError::Unavailable(_)) => {
                    tracing::warn!(%error, mesh = %proxy.0, proxy = %proxy.1, "the health of inbounds is not stored, the next report is waited for");
                    return Ok(());
                }
                // Somebody else wrote it in between: read again.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// A stream of a proxy that was let in.
struct Stream<'a> {
    hds: &'a Hds,
    metrics: HealthStream,
    lease: Lease,
    node: NodeFacts,
    node_id: String,
}

impl Drop for Stream<'_> {
    /// Also of a stream that is ended from outside.
    fn drop(&mut self) {
        self.hds.leases.give_back(&self.lease);
    }
}

impl Stream<'_> {
    async fn talk(
        &mut self,
        watch: &Watch,
        mut requests: Streaming<Message>,
        frames: &mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<(), Status> {
        let mut sent = None;
        loop {
            let state = self.hds.connector.state.current();
            let proxy = &self.lease.proxy;
            let dataplane = state.find::<Dataplane>(&proxy.0, &proxy.1).ok_or_else(|| gone(proxy))?;
            let wanted = specifier(dataplane.spec(), &self.node, &self.hds.settings);
            if sent.as_ref() != Some(&wanted) {
                match tokio::time::timeout(SEND_TIMEOUT, frames.send(Ok(grpc::frame(&wanted)))).await {
                    Ok(Ok(())) => {
                        self.metrics.sent();
                        sent = Some(wanted);
                    }
                    Ok(Err(_)) => return Ok(()),
                    Err(_) => return Err(Status::deadline_exceeded("the proxy does not read what it is sent")),
                }
            }
            // Until its Dataplane changes there is nothing to tell the proxy.
            loop {
                tokio::select! {
                    message = requests.message() => match message {
                        Ok(Some(message)) => self.take(message).await?,
                        Ok(None) => return Ok(()),
                        Err(status) if matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted) => {
                            return Err(status);
                        }
                        // The connection is gone: nobody is there to be told.
                        Err(_) => return Ok(()),
                    },
                    () = watch.changed() => break,
                }
            }
        }
    }

    async fn take(&self, message: Message) -> Result<(), Status> {
        match message.request_type {
            Some(RequestType::EndpointHealthResponse(report)) => {
                self.metrics.received();
                self.hds.fold(&self.lease.proxy, &report).await
            }
            Some(RequestType::HealthCheckRequest(again)) => self.same_node(&again),
            None => Err(Status::invalid_argument("the message is neither a HealthCheckRequest nor a report")),
        }
    }

    fn same_node(&self, again: &HealthCheckRequest) -> Result<(), Status> {
        match &again.node {
            Some(node) if node.id != self.node_id => Err(Status::unknown(format!(
                "stream was authenticated for ID {}. Received request is for node with ID {}. Node ID cannot be changed \
                 after stream is initialized",
                self.node_id, node.id
            ))),
            _ => Ok(()),
        }
    }
}

fn key(proxy: &Proxy) -> Key {
    Key::new(Kind::Dataplane, proxy.0.clone(), proxy.1.clone())
}

/// Inbounds and their states, for the log.
fn states(dataplane: &Dataplane) -> String {
    let inbounds = dataplane.networking.iter().flat_map(|n| &n.inbound);
    let shown: Vec<String> = inbounds.map(|i| format!("{}={:?}", i.section(), i.state)).collect();
    shown.join(" ")
}

fn gone(proxy: &Proxy) -> Status {
    Status::not_found(format!("Dataplane {} of mesh {} is not stored, nothing of it can be checked", proxy.1, proxy.0))
}

#[cfg(test)]
mod tests;
