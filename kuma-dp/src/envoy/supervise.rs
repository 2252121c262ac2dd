//! Keeps Envoy running: starts it again when it dies, tells why it died, gives up when it dies too often, stops it when asked.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    process::{EnvoyProcess, EnvoySpec},
    restart::{MOST_DEATHS, Next, RestartPolicy},
    tail::Tail,
};

/// Why there is no Envoy any more, although nobody asked kuma-dp to stop.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// It does not even start.
    #[error("cannot start Envoy: {0}")]
    Start(#[source] io::Error),
    /// The system lost it.
    #[error("cannot wait for Envoy: {0}")]
    Wait(#[source] io::Error),
    /// It keeps dying.
    #[error("Envoy died {MOST_DEATHS} times within {within}s, giving up. Last: {last}")]
    KeepsDying {
        /// Whole seconds.
        within: u64,
        /// How and why it died.
        last: String,
    },
    /// It died while draining.
    #[error("Envoy died before the drain time was over: {0}")]
    DiedDraining(String),
}

/// How it ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// `stop` was cancelled.
    Stopped,
    /// Somebody else asked Envoy to end, and it did, with status 0.
    ByItself,
}

/// Runs Envoy until `stop` is cancelled, it ends with status 0, or it cannot be kept alive. While `draining` is set a
/// death is final.
pub async fn supervise(
    spec: &EnvoySpec,
    draining: &Arc<AtomicBool>,
    stop: &CancellationToken,
) -> Result<Ended, EnvoyError> {
    let begin = Instant::now();
    let mut policy = RestartPolicy::default();
    loop {
        let mut envoy = spec.start().map_err(EnvoyError::Start)?;
        tracing::info!(pid = envoy.id(), binary = %spec.binary.display(), "Envoy started");
        let status = tokio::select! {
            () = stop.cancelled() => {
                envoy.stop().await.map_err(EnvoyError::Wait)?;
                tracing::info!("Envoy stopped");
                return Ok(Ended::Stopped);
            }
            status = envoy.ended() => status.map_err(EnvoyError::Wait)?,
        };
        if status.success() {
            tracing::info!("Envoy was asked by somebody else to end, and did");
            return Ok(Ended::ByItself);
        }
        let death = describe(&mut envoy, status).await;
        if draining.load(Ordering::Relaxed) {
            return Err(EnvoyError::DiedDraining(death));
        }
        match policy.died(begin.elapsed()) {
            Next::GiveUp(within) => return Err(EnvoyError::KeepsDying { within: within.as_secs(), last: death }),
            Next::Restart(wait) => {
                tracing::error!("Envoy died: {death}. Starting it again in {wait:?}");
                if !pause(wait, stop).await {
                    return Ok(Ended::Stopped);
                }
            }
        }
    }
}

/// Waits; false if `stop` came first.
async fn pause(wait: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

async fn describe(envoy: &mut EnvoyProcess, status: ExitStatus) -> String {
    explain(status, &envoy.last_lines().await)
}

fn explain(status: ExitStatus, tail: &Tail) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal 9 (killed; if nobody did it, the system ran out of memory)".to_owned(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    };
    let lines: Vec<&str> = tail.lines().collect();
    match tail.cause() {
        Some(cause) => format!("{how}, cause: {cause}"),
        None if lines.is_empty() => format!("{how}, without a word"),
        None => format!("{how}, last lines:\n  {}", lines.join("\n  ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_told_with_its_cause() {
        let mut tail = Tail::default();
        assert_eq!(explain(ExitStatus::from_raw(9), &tail).split(" (").next(), Some("signal 9"));
        tail.push(b"one\ntwo\n");
        assert_eq!(explain(ExitStatus::from_raw(1 << 8), &tail), "exit status 1, last lines:\n  one\n  two");
        tail.push(b"[t][critical][main] [a.cc:1] bad config\n");
        assert_eq!(explain(ExitStatus::from_raw(1 << 8), &tail), "exit status 1, cause: bad config");
    }
}
