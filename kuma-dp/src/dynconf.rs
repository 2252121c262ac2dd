//! Dynamic configuration: JSON that the control plane puts into Envoy for kuma-dp, fetched over a Unix socket.
//!
//! Data flows from Envoy's listener to whoever consumes a path; today that is DNS (`/dns`).

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use hyper::{StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http::{self, HttpError, Limits, Peer};

const LIMITS: Limits =
    Limits { connect: Duration::from_secs(2), total: Duration::from_secs(5), body: 32 * 1024 * 1024 };
/// Polls come closer together until the first configuration is there: an application may be waiting for its names.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);
const FIRST_PHASE: Duration = Duration::from_secs(15);

/// Body of `/dns`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsConfig {
    /// Names and their addresses.
    pub records: Vec<DnsRecord>,
    /// Of every answer, in seconds.
    pub ttl: u32,
    /// Labels for metrics.
    pub extra_labels: BTreeMap<String, String>,
}

/// One name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DnsRecord {
    /// Without the trailing dot.
    pub name: String,
    /// Addresses as text: with `.` IPv4, with `:` IPv6.
    pub ips: Vec<String>,
}

/// What a poll found.
#[derive(Debug)]
enum Found {
    New { body: bytes::Bytes, etag: Option<header::HeaderValue> },
    Unchanged,
    NotConfigured,
}

/// A poll that failed.
#[derive(Debug, thiserror::Error)]
enum PollError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("unexpected status {0}")]
    Status(StatusCode),
    #[error("not the JSON that was expected: {0}")]
    Body(#[from] serde_json::Error),
}

/// Polls `/dns` every `interval` until `stop`, and hands each new configuration to `apply`.
pub async fn follow_dns(
    socket: PathBuf,
    interval: Duration,
    apply: Arc<dyn Fn(DnsConfig) + Send + Sync>,
    stop: CancellationToken,
) {
    let peer = Peer::Unix(socket);
    let begin = Instant::now();
    let mut etag = None;
    let mut had_one = false;
    let mut last_error = String::new();
    loop {
        let outcome = match poll(&peer, "/dns", etag.as_ref()).await {
            Ok(Found::New { body, etag: new }) => match serde_json::from_slice(&body) {
                Ok(config) => {
                    apply(config);
                    (etag, had_one) = (new, true);
                    Ok(())
                }
                Err(error) => Err(error.into()),
            },
            Ok(Found::Unchanged) => Ok(()),
            Ok(Found::NotConfigured) => {
                etag = None;
                Ok(())
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => last_error.clear(),
            Err(PollError::Http(error)) if error.is_absent() => {
                // Envoy has no such listener, or is not up: nothing to say, but what it has next is new to us.
                etag = None;
            }
            Err(error) => {
                etag = None;
                let text = error.to_string();
                if text != last_error {
                    tracing::warn!(%error, "cannot read the DNS configuration from Envoy");
                    last_error = text;
                }
            }
        }
        let hurry = !had_one && begin.elapsed() < FIRST_PHASE;
        let wait = if hurry { interval.min(FIRST_INTERVAL) } else { interval };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn poll(peer: &Peer, path: &str, etag: Option<&header::HeaderValue>) -> Result<Found, PollError> {
    let mut request = http::get(path);
    if let Some(etag) = etag {
        request.headers_mut().insert(header::IF_NONE_MATCH, etag.clone());
    }
    let response = http::send(peer, request, LIMITS).await?;
    match response.status() {
        StatusCode::OK => {
            let etag = response.headers().get(header::ETAG).cloned();
            Ok(Found::New { etag, body: response.into_body() })
        }
        StatusCode::NOT_MODIFIED => Ok(Found::Unchanged),
        StatusCode::NOT_FOUND => Ok(Found::NotConfigured),
        status => Err(PollError::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http_body_util::Full;
    use hyper::{Request, Response, body::Incoming};
    use tokio::net::UnixListener;

    use super::*;

    const BODY: &str = r#"{"records":[{"name":"backend.svc.mesh.local","ips":["241.0.0.0","::ffff:f100:0"]}],"ttl":30,"extraLabels":{"mesh":"default"}}"#;

    async fn as_envoy(request: Request<Incoming>) -> Response<Full<bytes::Bytes>> {
        let known = request.headers().get(header::IF_NONE_MATCH).is_some_and(|tag| tag == "abc");
        let mut response = Response::new(Full::from(if known { "" } else { BODY }));
        *response.status_mut() = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        response.headers_mut().insert(header::ETAG, header::HeaderValue::from_static("abc"));
        response
    }

    #[tokio::test]
    async fn each_configuration_is_applied_once_and_again_after_envoy_came_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.sock");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let apply = {
            let seen = seen.clone();
            Arc::new(move |config: DnsConfig| seen.lock().unwrap().push(config))
        };
        let stop = CancellationToken::new();
        let interval = Duration::from_millis(10);
        let follower = tokio::spawn(follow_dns(path.clone(), interval, apply, stop.clone()));
        for round in 1..=2 {
            let listener = UnixListener::bind(&path).unwrap();
            for _ in 0..5 {
                http::serve(listener.accept().await.unwrap().0, as_envoy).await;
            }
            assert_eq!(seen.lock().unwrap().len(), round, "only the first of five polls brings something new");
            drop(listener);
            std::fs::remove_file(&path).unwrap();
            tokio::time::sleep(interval * 5).await;
        }
        stop.cancel();
        follower.await.unwrap();
        let config = seen.lock().unwrap()[0].clone();
        assert_eq!(config.ttl, 30);
        assert_eq!(config.records[0].ips, ["241.0.0.0", "::ffff:f100:0"]);
        assert_eq!(config.extra_labels["mesh"], "default");
    }
}
