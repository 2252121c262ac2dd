//! What the service manager hears of kuma-dp: what the start waits for, when Envoy is ready, that kuma-dp works.
//!
//! Signs of life come from the one thread that does everything else too. They do not depend on Envoy: kuma-dp itself
//! starts another one when it dies, and says in the status what it knows of it.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;
use service_notify::Notifier;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{envoy::admin::Admin, readiness::Conditions};

/// A start that does not report for so long has failed. It reports far more often.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// How often a starting Envoy is asked.
const READY_POLL: Duration = Duration::from_millis(100);

/// The service manager that the environment names, or nobody.
pub fn manager() -> Arc<Notifier> {
    let notifier = Notifier::new(|name| std::env::var_os(name)).unwrap_or_else(|error| {
        tracing::warn!("{error}");
        Notifier::none()
    });
    Arc::new(notifier)
}

/// Gives signs of life until what is returned is dropped. Until `started` the start is extended as well: a control plane
/// that is waited for is no failure, and kuma-dp itself gives up in time.
pub fn give_signs(notifier: Arc<Notifier>, started: CancellationToken) -> Option<AbortOnDropHandle<()>> {
    notifier.is_heard().then(|| {
        AbortOnDropHandle::new(tokio::spawn(async move {
            let mut tick = tokio::time::interval(notifier.interval());
            loop {
                tick.tick().await;
                if !started.is_cancelled() {
                    notifier.starting(START_PATIENCE);
                }
                notifier.alive();
            }
        }))
    })
}

/// Asks as `/ready` does, says once that the data plane proxy is ready, and from then on how it is. Ends when the end of
/// the proxy begins.
pub async fn follow(
    notifier: Arc<Notifier>,
    what: String,
    admin: Admin,
    conditions: Arc<Conditions>,
    started: CancellationToken,
) {
    loop {
        let problem = problem(&admin, &conditions).await;
        // Who ends says so itself, and nothing else after it.
        if conditions.is_terminating() {
            return;
        }
        match (problem, started.is_cancelled()) {
            (None, true) => notifier.status(&format!("{what}: Envoy is ready")),
            (None, false) => {
                started.cancel();
                notifier.ready(&format!("{what}: Envoy is ready"));
            }
            (Some(problem), true) => notifier.status(&format!("{what}: {problem}")),
            (Some(problem), false) => notifier.status(&format!("{what}: waiting for Envoy: {problem}")),
        }
        tokio::time::sleep(if started.is_cancelled() { notifier.interval() } else { READY_POLL }).await;
    }
}

/// Why the proxy is not ready; `None` if it is.
async fn problem(admin: &Admin, conditions: &Conditions) -> Option<String> {
    if let Some((_, word)) = conditions.verdict() {
        return Some(word.to_owned());
    }
    // Without an admin API nobody can be asked.
    admin.peer()?;
    match admin.ready().await {
        Ok(answer) if answer.status() == StatusCode::OK => None,
        Ok(answer) => Some(String::from_utf8_lossy(answer.body()).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}
