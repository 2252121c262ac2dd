//! Delta ADS: one task per stream. It authenticates the proxy, registers it, tells the world about it, and then moves
//! frames: requests into the delta session, what the session wants sent out to Envoy.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use envoy_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use jiff::Timestamp;
use kuma_core::resources::{DiscoveryStats, Rejected, SubscriptionStatus};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status, Streaming};
use uuid::Uuid;
use xds_gen::{
    delta::{Event, Request, Response, Session},
    frame,
    set::{Source, TypeUrl},
};

use super::{
    connect::{Connected, Connector, Introduction},
    grpc,
    handover::handed_over,
    insights::InsightEvent,
    leases::{FIGHT_PAUSE, Leases},
    remembered::Remembered,
    retry::Retry,
};
use crate::{
    diagnostics::metrics::discovery::{DiscoveryMetrics, StreamMetrics},
    serve::Drain,
    world::{StreamUp, WorldHandle},
};

/// Largest request in bytes.
const MAX_REQUEST: usize = 4 << 20;
/// A stream that cannot take a frame for so long is closed: its peer does not read.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(20);
/// A stream must say who it is within this time.
pub(super) const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A slot of the admission is held at most this long.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two reports of counters to the insights.
const COUNT_INTERVAL: Duration = Duration::from_secs(1);

/// What streams share.
pub struct Ads {
    /// Authenticates and registers proxies.
    pub connector: Arc<Connector>,
    /// Plans and renders.
    pub world: WorldHandle,
    /// Who speaks for which proxy.
    pub leases: Arc<Leases>,
    /// What proxies refused, for their next connection.
    pub remembered: Arc<Remembered>,
    /// Where connects, counters and disconnects are reported.
    pub insights: mpsc::Sender<InsightEvent>,
    /// Streams in their first full send.
    pub admission: Arc<Semaphore>,
    /// Until when after a start nothing is withdrawn; `None` on a store that remembers.
    pub grace_until: Option<Instant>,
    /// Counts streams and what goes over them.
    pub metrics: DiscoveryMetrics,
    /// Id of this instance.
    pub instance: Arc<str>,
    /// Waited for at shutdown.
    pub tasks: TaskTracker,
}

impl Ads {
    /// Answers a call of `DeltaAggregatedResources`.
    pub fn delta(self: &Arc<Self>, request: http::Request<axum::body::Body>) -> http::Response<axum::body::Body> {
        let (parts, body) = request.into_parts();
        let credential = match credential(&parts.headers) {
            Ok(credential) => credential,
            Err(status) => return grpc::refuse(&status),
        };
        let requests = grpc::requests::<DeltaDiscoveryRequest>(body, MAX_REQUEST);
        let (frames, receiver) = mpsc::channel(1);
        let (ads, drain) = (self.clone(), Drain::of(&parts.extensions));
        self.tasks.spawn(async move {
            if let Err(status) = ads.run(credential, requests, &frames, &drain).await {
                // The peer may be gone, then nobody needs the status.
                let _ = tokio::time::timeout(Duration::from_secs(1), frames.send(Err(status))).await;
            }
        });
        grpc::response(receiver)
    }

    async fn run(
        self: &Arc<Self>,
        credential: String,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        frames: &mpsc::Sender<Result<Bytes, Status>>,
        drain: &Drain,
    ) -> Result<(), Status> {
        if self.connector.handover.term().is_cancelled() {
            return Err(handed_over());
        }
        let first = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no discovery request within 10 s of the start of the stream"))??
            .ok_or_else(|| Status::cancelled("the stream ended before its first request"))?;
        let Introduction { proxy, .. } = Introduction::of(first.node.as_ref())?;
        if self.leases.fought_over(&proxy) {
            // Before it registers: two proxies of one name would move its endpoints to and fro.
            tokio::select! {
                () = tokio::time::sleep(FIGHT_PAUSE) => {}
                () = frames.closed() => return Ok(()),
                () = drain.begun() => return Err(shutting_down()),
            }
        }
        // Its Dataplane is not removed while it is about to use it.
        let arrival = self.leases.arrive(proxy).await;
        let connected = self.connector.connect(&credential, first.node.as_ref()).await?;
        let lease = self.leases.take(connected.proxy.clone());
        drop(arrival);
        if lease.report {
            tracing::warn!(
                mesh = %lease.proxy.0, proxy = %lease.proxy.1,
                "streams of one proxy keep replacing each other: are two proxies running under this name? Each waits \
                 {FIGHT_PAUSE:?} for its turn now"
            );
        }
        let outcome = self.talk(&connected, &lease.lost, drain, first, requests, frames).await;
        let last = self.leases.give_back(&lease);
        if last {
            self.connector.forget_later(connected, self.leases.clone());
        }
        outcome
    }

    async fn talk(
        self: &Arc<Self>,
        connected: &Connected,
        lost: &CancellationToken,
        drain: &Drain,
        first: DeltaDiscoveryRequest,
        mut requests: Streaming<DeltaDiscoveryRequest>,
        frames: &mpsc::Sender<Result<Bytes, Status>>,
    ) -> Result<(), Status> {
        let node_id = first.node.as_ref().map(|n| n.id.clone()).unwrap_or_default();
        let subscription: Arc<str> = Uuid::new_v4().to_string().into();
        let proxy = connected.proxy.clone();
        let up = StreamUp { proxy: proxy.clone(), node: connected.node.clone() };
        let mut view = self.world.stream_up(up).await.map_err(|_| shutting_down())?;
        let missing = CancellationToken::new();
        let handover = self.connector.handover.term();
        let leaving = async {
            tokio::select! {
                // Connections drain at a handover as well.
                biased;
                () = handover.cancelled() => handed_over(),
                () = lost.cancelled() => replaced(),
                () = drain.begun() => shutting_down(),
                // Only the proxy has what it brought.
                () = missing.cancelled(), if connected.brought => removed(),
            }
        };
        tokio::pin!(leaving);
        self.report(InsightEvent::Connected {
            proxy: proxy.clone(),
            id: subscription.clone(),
            version: connected.version.clone(),
            metadata: connected.metadata.clone(),
            missing: missing.clone(),
        })
        .await;

        let mut stream = Stream {
            session: Session::new(self.remembered.take(&proxy), self.in_grace()),
            start: Instant::now(),
            metrics: self.metrics.stream(),
            delivery: None,
            instance: &self.instance,
            rejections: Vec::new(),
            retry: Retry::default(),
            last_update: Timestamp::now(),
        };
        stream.note_rejections();
        // With the moment at which it is given up, whatever the proxy has acknowledged.
        let mut permit: Option<(OwnedSemaphorePermit, tokio::time::Instant)> = None;
        let mut admitted = false;
        let mut first = Some(first);
        let mut grace = self.in_grace();
        let mut reported = SubscriptionStatus::default();
        // Set while something may have been counted that was not reported: a stream at rest wakes nobody.
        let mut next_report = None;

        let outcome = loop {
            let mut set = view.set();
            let mut responses = Vec::new();
            // The request stays until there is a set to answer it from.
            if set.is_some()
                && let Some(request) = first.take()
            {
                // What was told before is in the set, if that is read afterwards.
                stream.delivery = view.take_changes().since.map(Delivery::since);
                set = view.set();
                if let Some(set) = &set {
                    match stream.request(request, &node_id, &**set) {
                        Ok(answers) => responses = answers,
                        Err(status) => break Err(status),
                    }
                }
            } else if first.is_some() || set.is_none() {
                // The world has not planned this proxy yet: it will be told.
                tokio::select! {
                    () = view.changed() => continue,
                    why = &mut leaving => break Err(why),
                    () = tokio::time::sleep(FIRST_REQUEST_TIMEOUT) => {
                        break Err(Status::unavailable("the control plane could not plan this proxy in time"));
                    }
                }
            } else if let Some(set) = &set {
                let tick = stream.session.deadline(stream.start.elapsed()).map(|at| (stream.start + at).into());
                let retry = stream.retry.at.map(Into::into);
                let slot_end = permit.as_ref().map(|(_, until)| *until);
                let grace_end = self.grace_until.filter(|_| grace).map(Into::into);
                tokio::select! {
                    message = requests.message() => match message {
                        Ok(Some(request)) => match stream.request(request, &node_id, &**set) {
                            Ok(answers) => responses = answers,
                            Err(status) => break Err(status),
                        },
                        Ok(None) => break Ok(()),
                        Err(status) if status.code() == Code::OutOfRange || status.code() == Code::ResourceExhausted => break Err(status),
                        // The connection is gone: nobody is there to be told.
                        Err(_) => break Ok(()),
                    },
                    () = view.changed() => {
                        let told = view.take_changes();
                        stream.delivery = stream.delivery.take().or(told.since.map(Delivery::since));
                        if let Some(set) = view.set() {
                            responses = stream.step(Event::Changed(&told.changes), &*set);
                        }
                    }
                    () = reached(tick) => responses = stream.step(Event::Tick, &**set),
                    () = reached(retry) => {
                        stream.retry.at = None;
                        responses = stream.step(Event::Retry, &**set);
                    }
                    () = reached(slot_end) => permit = None,
                    () = reached(grace_end) => {
                        grace = false;
                        responses = stream.step(Event::Grace(false), &**set);
                    }
                    () = reached(next_report) => {
                        next_report = None;
                        let status = stream.status();
                        if status != reported {
                            reported = status.clone();
                            self.report(InsightEvent::Counted {
                                proxy: proxy.clone(), id: subscription.clone(), status: Box::new(status),
                            }).await;
                        }
                        continue;
                    }
                    why = &mut leaving => break Err(why),
                }
            }
            next_report = next_report.or_else(|| Some(tokio::time::Instant::now() + COUNT_INTERVAL));
            if !responses.is_empty() && !admitted {
                admitted = true;
                tokio::select! {
                    slot = self.admission.clone().acquire_owned() => {
                        permit = slot.ok().map(|slot| (slot, tokio::time::Instant::now() + ADMISSION_TIMEOUT));
                    }
                    why = &mut leaving => break Err(why),
                }
            }
            // One that came back with nearly everything is not sent listeners: it is done when it has asked for them. One
            // that is new asks when its clusters are warm.
            let has_asked = stream.session.is_subscribed(TypeUrl::Listener);
            if responses.is_empty() && has_asked && stream.session.is_settled() {
                permit = None;
            }
            stream.note_delivery(!responses.is_empty());
            let Some(set) = view.set() else { continue };
            let mut closed = None;
            for response in responses {
                let bytes = frame::encode(&response, set.own(), stream.instance);
                let size = bytes.len();
                stream.last_update = Timestamp::now();
                match tokio::time::timeout(SEND_TIMEOUT, frames.send(Ok(bytes))).await {
                    Ok(Ok(())) => stream.metrics.sent(response.type_url.as_str(), size),
                    Ok(Err(_)) => {
                        closed = Some(Ok(()));
                        break;
                    }
                    Err(_) => {
                        closed = Some(Err(Status::deadline_exceeded("the proxy does not read what it is sent")));
                        break;
                    }
                }
            }
            if let Some(outcome) = closed {
                break outcome;
            }
        };
        let status = stream.status();
        self.remembered.keep(proxy.clone(), stream.session.into_memory());
        self.report(InsightEvent::Disconnected { proxy, id: subscription, status: Box::new(status) }).await;
        outcome
    }

    fn in_grace(&self) -> bool {
        self.grace_until.is_some_and(|until| Instant::now() < until)
    }

    async fn report(&self, event: InsightEvent) {
        // The sink outlives the streams; if it is gone, the process is going too.
        let _ = self.insights.send(event).await;
    }
}

/// Ends at this moment; never if there is none.
async fn reached(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Changes on their way to a proxy that has not accepted or refused all of them.
struct Delivery {
    /// When the oldest of them came in.
    since: Instant,
    /// Something of them was sent.
    sent: bool,
}

impl Delivery {
    fn since(since: Instant) -> Self {
        Self { since, sent: false }
    }
}

/// The session of a stream and what is told about it.
struct Stream<'a> {
    session: Session,
    start: Instant,
    metrics: StreamMetrics,
    delivery: Option<Delivery>,
    instance: &'a str,
    rejections: Vec<Rejected>,
    retry: Retry,
    last_update: Timestamp,
}

impl Stream<'_> {
    fn request(
        &mut self,
        request: DeltaDiscoveryRequest,
        node_id: &str,
        source: &dyn Source,
    ) -> Result<Vec<Response>, Status> {
        if let Some(node) = &request.node
            && node.id != node_id
        {
            return Err(Status::unknown(format!(
                "stream was authenticated for ID {node_id}. Received request is for node with ID {}. Node ID cannot be \
                 changed after stream is initialized",
                node.id
            )));
        }
        if request.type_url.is_empty() {
            return Err(Status::invalid_argument("type URL is required for ADS"));
        }
        let refused = request.error_detail.is_some();
        let Some(request) = Request::from_proto(request) else { return Ok(Vec::new()) };
        if request.nonce.is_some() {
            self.metrics.confirmed(request.type_url.as_str(), refused);
        }
        let responses = self.step(Event::Request(request), source);
        if refused {
            self.note_rejections();
        }
        Ok(responses)
    }

    fn step(&mut self, event: Event<'_>, source: &dyn Source) -> Vec<Response> {
        self.session.step(self.start.elapsed(), event, source)
    }

    /// Measures how long changes took to get through. One that asks for nothing to be sent is not measured.
    fn note_delivery(&mut self, sending: bool) {
        let Some(delivery) = &mut self.delivery else { return };
        delivery.sent |= sending;
        if sending || !self.session.is_settled() {
            return;
        }
        if delivery.sent {
            self.metrics.delivered(delivery.since.elapsed());
        }
        self.delivery = None;
    }

    fn note_rejections(&mut self) {
        self.retry.schedule(self.session.rejected(), Instant::now());
        let now = Timestamp::now().to_string();
        let known = std::mem::take(&mut self.rejections);
        self.rejections = self
            .session
            .rejected()
            .map(|r| {
                let kind = short_type(r.type_url);
                let time = known.iter().find(|k| k.kind == kind && k.name == r.name && k.reason == *r.text);
                Rejected {
                    kind: kind.into(),
                    name: r.name.to_string(),
                    reason: r.text.to_string(),
                    time: time.map_or_else(|| now.clone(), |k| k.time.clone()),
                }
            })
            .collect();
    }

    fn status(&mut self) -> SubscriptionStatus {
        self.note_rejections();
        let mut total = DiscoveryStats::default();
        for counts in TypeUrl::ALL.map(|t| self.session.counts(t)) {
            total.responses_sent += counts.sent;
            total.responses_acknowledged += counts.acked;
            total.responses_rejected += counts.rejected;
        }
        let of = |t| {
            let counts = self.session.counts(t);
            DiscoveryStats {
                responses_sent: counts.sent,
                responses_acknowledged: counts.acked,
                responses_rejected: counts.rejected,
            }
        };
        SubscriptionStatus {
            last_update_time: Some(self.last_update.to_string()),
            total,
            cds: of(TypeUrl::Cluster),
            eds: of(TypeUrl::Endpoint),
            lds: of(TypeUrl::Listener),
            rds: of(TypeUrl::Route),
            rejections: self.rejections.clone(),
        }
    }
}

fn short_type(type_url: TypeUrl) -> &'static str {
    type_url.as_str().rsplit('.').next().unwrap_or_default()
}

/// The bare token of a call: none is empty, more than one is refused.
pub fn credential(headers: &http::HeaderMap) -> Result<String, Status> {
    let values: Vec<_> = headers.get_all(http::header::AUTHORIZATION).iter().collect();
    match values.as_slice() {
        [] => Ok(String::new()),
        [one] => one
            .to_str()
            .map(str::to_owned)
            .map_err(|_| Status::unauthenticated("authentication failed: the authorization header is not text")),
        more => {
            Err(Status::unknown(format!("request must have exactly 1 \"authorization\" header, got {}", more.len())))
        }
    }
}

pub(super) fn replaced() -> Status {
    Status::aborted("another stream of this proxy has taken over; if two proxies run under this name, rename one")
}

fn removed() -> Status {
    Status::unavailable("the Dataplane of this proxy was removed meanwhile, connect again to bring it")
}

pub(super) fn shutting_down() -> Status {
    Status::unavailable("the control plane is shutting down, connect again")
}

#[cfg(test)]
mod tests;
