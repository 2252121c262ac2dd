//! What the service manager hears of the control plane: when it serves, what it does, that it still works.
//!
//! Nothing here has a thread of its own. A sign of life is given by a task of the runtime that serves everything, after
//! the planning thread has answered it: where either hangs, the manager hears nothing and starts the process again. A
//! database that is away is no reason to be silent: proxies are served from memory.

use std::{sync::Arc, time::Duration};

use kuma_core::state::MeshState;
use service_notify::Notifier;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{
    diagnostics::{Readiness, metrics::discovery::DiscoveryMetrics},
    state::StateHandle,
    world::WorldHandle,
};

/// A start that does not report for so long has failed. It reports far more often.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// The end takes no longer: servers finish what is under way, then tasks end.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// The service manager, if there is one.
pub struct Service {
    notifier: Arc<Notifier>,
    /// Cancelled when the start is over.
    started: CancellationToken,
}

/// What is asked for signs of life, and what is told.
pub struct Working {
    /// Planning.
    pub world: WorldHandle,
    /// What is kept.
    pub state: StateHandle,
    /// What is waited for.
    pub readiness: Readiness,
    /// Streams of proxies.
    pub xds: DiscoveryMetrics,
}

impl Service {
    /// The start begins, and says so again and again until [`Service::ready`]: a large store, or a database that is
    /// waited for, is no failure.
    pub fn starting() -> Self {
        let notifier = Notifier::new(|name| std::env::var_os(name)).unwrap_or_else(|error| {
            tracing::warn!(target: "kuma-cp.service", "{error}");
            Notifier::none()
        });
        let this = Self { notifier: Arc::new(notifier), started: CancellationToken::new() };
        if this.notifier.is_heard() {
            let notifier = this.notifier.clone();
            let reports = async move {
                let mut tick = tokio::time::interval(notifier.interval());
                loop {
                    tick.tick().await;
                    notifier.starting(START_PATIENCE);
                    // A manager may watch from the start on.
                    notifier.alive();
                }
            };
            tokio::spawn(this.started.clone().run_until_cancelled_owned(reports));
        }
        this
    }

    /// What the start does now.
    pub fn status(&self, text: &str) {
        self.notifier.status(text);
    }

    /// The control plane serves. Signs of life follow until `stop`.
    pub fn ready(&self, working: Working, stop: CancellationToken) {
        self.started.cancel();
        if !self.notifier.is_heard() {
            return;
        }
        self.notifier.ready(&working.status());
        let notifier = self.notifier.clone();
        let reports = async move {
            let answers = || async { working.world.counters().await.is_ok() };
            report(&notifier, answers, || working.status()).await;
            tracing::error!(target: "kuma-cp.service", "planning has ended: the service manager hears no more signs of life");
        };
        tokio::spawn(stop.run_until_cancelled_owned(reports));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.notifier.stopping(END_PATIENCE, "ending: requests that are under way are finished");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.started.cancel();
    }
}

impl Working {
    fn status(&self) -> String {
        describe(self.xds.active(), &self.state.current(), &self.readiness.left())
    }
}

/// Gives a sign of life, and the newest status, as often as the part that works answers; ends when it is gone.
async fn report<F: Future<Output = bool>>(notifier: &Notifier, answers: impl Fn() -> F, status: impl Fn() -> String) {
    let mut tick = tokio::time::interval(notifier.interval());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if !answers().await {
            return;
        }
        notifier.alive();
        notifier.status(&status());
    }
}

/// One line for people.
fn describe(streams: i64, state: &MeshState, waiting: &[&str]) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let proxies = count(usize::try_from(streams).unwrap_or_default(), "data plane");
    let resources = count(state.all().count(), "resource");
    if waiting.contains(&"store") {
        return format!("the store is away: {proxies} served from memory, writes are refused");
    }
    format!("serving {proxies} from {resources}")
}

#[cfg(test)]
mod tests {
    use std::{
        os::{linux::net::SocketAddrExt, unix::net::SocketAddr},
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn who_hangs_gives_no_sign_of_life() {
        let name = format!("kuma-cp-hangs-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let manager = tokio::net::UnixDatagram::from_std(manager).unwrap();
        let notifier = Notifier::new(|variable| match variable {
            service_notify::SOCKET => Some(format!("@{name}").into()),
            service_notify::WATCHDOG => Some("30000".into()),
            _ => None,
        })
        .unwrap();
        let hangs = Arc::new(AtomicBool::new(false));
        let asked = hangs.clone();
        let answers = move || {
            let hangs = asked.load(Ordering::Relaxed);
            async move { if hangs { std::future::pending().await } else { true } }
        };
        tokio::spawn(async move { report(&notifier, answers, || "works".into()).await });
        let hear = async || {
            let mut buffer = [0; 256];
            let heard = tokio::time::timeout(Duration::from_secs(1), manager.recv(&mut buffer)).await;
            heard.ok().map(|length| String::from_utf8_lossy(&buffer[..length.unwrap()]).into_owned())
        };
        for expected in ["WATCHDOG=1", "STATUS=works", "WATCHDOG=1", "WATCHDOG=1"] {
            assert_eq!(hear().await.as_deref(), Some(expected));
        }
        hangs.store(true, Ordering::Relaxed);
        // What was said before may still come.
        let mut late = 0;
        while hear().await.is_some() {
            late += 1;
            assert!(late < 5, "it goes on");
        }
    }

    #[test]
    fn the_line_is_for_people() {
        let state = MeshState::new();
        assert_eq!(describe(1, &state, &[]), "serving 1 data plane from 0 resources");
        assert_eq!(
            describe(12, &state, &["store"]),
            "the store is away: 12 data planes served from memory, writes are refused"
        );
    }
}
