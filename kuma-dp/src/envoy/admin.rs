//! The few things kuma-dp asks of Envoy's admin API.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Response, StatusCode};

use crate::http::{self, Flowing, HttpError, Limits, Peer};

const LIMITS: Limits = Limits { connect: Duration::from_secs(5), total: Duration::from_secs(10), body: 64 * 1024 };
const READY_LIMITS: Limits = Limits { connect: Duration::from_secs(2), total: Duration::from_secs(3), body: 64 * 1024 };
/// Statistics of a busy Envoy take their time, and are not held in memory.
const STATS_LIMITS: Limits = Limits { connect: Duration::from_secs(5), total: Duration::from_secs(30), body: 0 };

/// A request that the admin API did not fulfil.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// This Envoy has no admin API.
    #[error("Envoy has no admin API")]
    Absent,
    /// No answer.
    #[error("Envoy's admin API: {0}")]
    Http(#[from] HttpError),
    /// Another answer than 200.
    #[error("Envoy's admin API answered {0}")]
    Status(StatusCode),
}

/// Envoy's admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    peer: Option<Peer>,
}

impl Admin {
    /// At `peer`, or nowhere.
    pub const fn new(peer: Option<Peer>) -> Self {
        Self { peer }
    }

    /// Where it is.
    pub const fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Makes health checks of this Envoy fail, which also ends idle keep-alive connections.
    pub async fn fail_health_checks(&self) -> Result<(), AdminError> {
        self.post("/healthcheck/fail").await
    }

    /// Drains inbound listeners, gracefully, without ending Envoy.
    pub async fn drain_inbound_listeners(&self) -> Result<(), AdminError> {
        self.post("/drain_listeners?inboundonly&graceful&skip_exit").await
    }

    /// Envoy's own readiness, whatever the status.
    pub async fn ready(&self) -> Result<Response<Bytes>, AdminError> {
        let peer = self.peer.as_ref().ok_or(AdminError::Absent)?;
        Ok(http::send(peer, http::get("/ready"), READY_LIMITS).await?)
    }

    /// Statistics as Prometheus text, those in use only; the body is still flowing.
    pub async fn stats(&self) -> Result<Flowing, AdminError> {
        let peer = self.peer.as_ref().ok_or(AdminError::Absent)?;
        let request = http::get("/stats?format=prometheus&text_readouts=&usedonly");
        let answer = http::open(peer, request, STATS_LIMITS).await?;
        let status = answer.response.status();
        if status == StatusCode::OK { Ok(answer) } else { Err(AdminError::Status(status)) }
    }

    async fn post(&self, path: &str) -> Result<(), AdminError> {
        let peer = self.peer.as_ref().ok_or(AdminError::Absent)?;
        let response = http::send(peer, http::post(path), LIMITS).await?;
        if response.status() == StatusCode::OK { Ok(()) } else { Err(AdminError::Status(response.status())) }
    }
}
