//! The readiness reporter: `GET /ready` answers for the whole data plane proxy, Envoy and kuma-dp together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use tokio::{net::TcpListener, sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{envoy::admin::Admin, http};

/// Names must be known before applications start, but not at any price.
const LONGEST_DNS_WAIT: Duration = Duration::from_secs(15);
const MOST_CONNECTIONS: usize = 64;
const LONGEST_CONNECTION: Duration = Duration::from_mins(2);

/// What readiness depends on besides Envoy. Shared by those who set it and the reporter.
#[derive(Debug)]
pub struct Conditions {
    /// Set once the end has begun.
    pub terminating: AtomicBool,
    /// Set once DNS records have arrived, or from the start if none are awaited.
    pub names_known: AtomicBool,
    begin: Instant,
}

impl Conditions {
    /// Not terminating; waiting for DNS records only if `await_names`.
    pub fn new(await_names: bool) -> Arc<Self> {
        Arc::new(Self {
            terminating: AtomicBool::new(false),
            names_known: AtomicBool::new(!await_names),
            begin: Instant::now(),
        })
    }

    /// Has the end begun?
    pub fn is_terminating(&self) -> bool {
        self.terminating.load(Ordering::Relaxed)
    }

    /// The answer that does not need Envoy, if there is one.
    pub fn verdict(&self) -> Option<(StatusCode, &'static str)> {
        if self.is_terminating() {
            return Some((StatusCode::SERVICE_UNAVAILABLE, "TERMINATING"));
        }
        let waiting = !self.names_known.load(Ordering::Relaxed) && self.begin.elapsed() < LONGEST_DNS_WAIT;
        waiting.then_some((StatusCode::SERVICE_UNAVAILABLE, "NOT_READY"))
    }
}

/// Serves until `stop`.
pub async fn serve(listener: TcpListener, conditions: Arc<Conditions>, admin: Admin, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(slot)) = (accepted, slots.clone().try_acquire_owned()) else {
            // Out of descriptors, or too many clients at once: let some of them finish.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (conditions, admin) = (conditions.clone(), admin.clone());
        tokio::spawn(async move {
            let handler = |request| answer(request, conditions.clone(), admin.clone());
            let _ = tokio::time::timeout(LONGEST_CONNECTION, http::serve(stream, handler)).await;
            drop(slot);
        });
    }
}

async fn answer(request: Request<Incoming>, conditions: Arc<Conditions>, admin: Admin) -> Response<Full<Bytes>> {
    if request.uri().path() != "/ready" {
        return text(StatusCode::NOT_FOUND, "only /ready is served here\n");
    }
    if let Some((status, body)) = conditions.verdict() {
        return text(status, body);
    }
    if admin.peer().is_none() {
        return text(StatusCode::OK, "READY");
    }
    match admin.ready().await {
        Ok(response) => {
            let (mut head, body) = response.into_parts();
            // The body is whole here, whatever way Envoy sent it.
            for name in [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::CONNECTION] {
                head.headers.remove(name);
            }
            Response::from_parts(head, Full::from(body))
        }
        Err(error) => {
            tracing::debug!(%error, "Envoy is not ready");
            text(StatusCode::SERVICE_UNAVAILABLE, "envoy not ready")
        }
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert("x-powered-by", header::HeaderValue::from_static("kuma-dp"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Limits, Peer, get, send};

    const LIMITS: Limits = Limits { connect: Duration::from_secs(1), total: Duration::from_secs(4), body: 1024 };

    struct Reporter {
        peer: Peer,
        conditions: Arc<Conditions>,
    }

    impl Reporter {
        async fn start(await_names: bool, admin: Option<Peer>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let peer = Peer::Tcp(listener.local_addr().unwrap());
            let conditions = Conditions::new(await_names);
            tokio::spawn(serve(listener, conditions.clone(), Admin::new(admin), CancellationToken::new()));
            Self { peer, conditions }
        }

        async fn ask(&self, path: &str) -> (u16, String) {
            let response = send(&self.peer, get(path), LIMITS).await.unwrap();
            (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
        }
    }

    #[tokio::test]
    async fn without_an_admin_api_kuma_dp_decides() {
        let reporter = Reporter::start(false, None).await;
        assert_eq!(reporter.ask("/ready").await, (200, "READY".into()));
        assert_eq!(reporter.ask("/config_dump").await.0, 404);
        reporter.conditions.terminating.store(true, Ordering::Relaxed);
        assert_eq!(reporter.ask("/ready").await, (503, "TERMINATING".into()));
    }

    #[tokio::test]
    async fn names_are_awaited_if_they_will_come() {
        let reporter = Reporter::start(true, None).await;
        assert_eq!(reporter.ask("/ready").await, (503, "NOT_READY".into()));
        reporter.conditions.names_known.store(true, Ordering::Relaxed);
        assert_eq!(reporter.ask("/ready").await, (200, "READY".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_not_awaited_for_ever() {
        let conditions = Conditions::new(true);
        assert!(conditions.verdict().is_some());
        tokio::time::advance(LONGEST_DNS_WAIT).await;
        assert!(conditions.verdict().is_none());
    }

    #[tokio::test]
    async fn envoy_is_asked_and_its_answer_passed_on() {
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = admin.local_addr().unwrap();
        let live = |_: Request<Incoming>| async { text(StatusCode::OK, "LIVE\n") };
        let envoy = tokio::spawn(async move {
            loop {
                http::serve(admin.accept().await.unwrap().0, live).await;
            }
        });
        let reporter = Reporter::start(false, Some(Peer::Tcp(address))).await;
        assert_eq!(reporter.ask("/ready").await, (200, "LIVE\n".into()));
        envoy.abort();
        let _ = envoy.await;
        assert_eq!(reporter.ask("/ready").await, (503, "envoy not ready".into()));
    }
}
