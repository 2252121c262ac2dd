//! The end of a data plane proxy, step by step: readiness first, then health, then time for connections, then Envoy.
//!
//! Signals come in as [`Event`]s, so the order can be tested without any.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use service_notify::Notifier;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{envoy::admin::Admin, readiness::Conditions};

/// What the end takes at most after connections had their time: Envoy is killed long before.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// What the outside wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGUSR2: drain inbound listeners now; a later stop does not wait.
    DrainInbound,
}

/// Turns signals into events, from now on.
pub fn signals() -> std::io::Result<mpsc::Receiver<Event>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let mut usr2 = signal(SignalKind::user_defined2())?;
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                _ = term.recv() => Event::Stop,
                _ = int.recv() => Event::Stop,
                _ = usr2.recv() => Event::DrainInbound,
            };
            if sender.send(event).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// What the end has to reach.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Envoy's admin API.
    pub admin: Admin,
    /// Readiness.
    pub conditions: Arc<Conditions>,
    /// Set from the first stop on.
    pub draining: Arc<AtomicBool>,
    /// Between the first stop and the end of Envoy.
    pub drain_time: Duration,
    /// Hears of the end.
    pub manager: Arc<Notifier>,
    /// Cancelled when everything shall stop.
    pub stop: CancellationToken,
    /// Cancelled when nothing shall be waited for any more.
    pub abort: CancellationToken,
}

/// Conducts the end: waits for the first stop, drains, cancels `stop`. The second stop skips the rest of the wait, the third
/// cancels `abort`. Returns when events end.
pub async fn conduct(mut events: mpsc::Receiver<Event>, proxy: Proxy) {
    let mut drained = false;
    loop {
        match events.recv().await {
            None => return,
            Some(Event::Stop) => break,
            Some(Event::DrainInbound) if drained => {}
            Some(Event::DrainInbound) => match proxy.admin.drain_inbound_listeners().await {
                Ok(()) => {
                    tracing::info!("inbound listeners are draining; a stop will not wait any more");
                    drained = true;
                }
                Err(error) => tracing::error!(%error, "cannot drain inbound listeners"),
            },
        }
    }
    proxy.conditions.terminating.store(true, Ordering::Relaxed);
    proxy.draining.store(true, Ordering::Relaxed);
    let (wait, doing) = if drained {
        (Duration::ZERO, "ending: connections were drained before".to_owned())
    } else {
        (proxy.drain_time, format!("draining: connections have {:?} to finish", proxy.drain_time))
    };
    proxy.manager.stopping(wait + END_PATIENCE, &doing);
    let stops_so_far = if drained {
        tracing::info!("stopping, connections were drained before");
        1
    } else {
        tokio::select! {
            () = drain(&proxy) => 1,
            () = next_stop(&mut events) => {
                tracing::info!("stopping at once, without waiting for connections any longer");
                2
            }
        }
    };
    proxy.stop.cancel();
    for _ in stops_so_far..3 {
        next_stop(&mut events).await;
    }
    proxy.abort.cancel();
}

/// Tells everybody that this proxy is going away and gives connections their time.
async fn drain(proxy: &Proxy) {
    match proxy.admin.fail_health_checks().await {
        Ok(()) => {
            tracing::info!("stopping: waiting {:?} for connections to finish", proxy.drain_time);
            tokio::time::sleep(proxy.drain_time).await;
        }
        Err(error) => tracing::warn!(%error, "stopping without a wait: Envoy cannot be told to drain"),
    }
}

/// Returns with the next stop; never, if events have ended.
async fn next_stop(events: &mut mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        if event == Event::Stop {
            return;
        }
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::{Request, Response, body::Incoming};
    use tokio::{net::TcpListener, time::Instant};

    use super::*;
    use crate::http::{self, Peer};

    struct Scene {
        events: mpsc::Sender<Event>,
        proxy: Proxy,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Scene {
        async fn new(drain_time: Duration, with_admin: bool) -> Self {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let peer = if with_admin { Some(admin(asked.clone()).await) } else { None };
            let proxy = Proxy {
                admin: Admin::new(peer),
                conditions: Conditions::new(false),
                draining: Arc::default(),
                drain_time,
                manager: Arc::default(),
                stop: CancellationToken::new(),
                abort: CancellationToken::new(),
            };
            let (events, receiver) = mpsc::channel(8);
            tokio::spawn(conduct(receiver, proxy.clone()));
            Self { events, proxy, asked }
        }

        async fn send(&self, event: Event) {
            self.events.send(event).await.unwrap();
        }

        fn terminating(&self) -> bool {
            self.proxy.conditions.terminating.load(Ordering::Relaxed)
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    async fn admin(asked: Arc<Mutex<Vec<String>>>) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Peer::Tcp(listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let answer = |request: Request<Incoming>| {
                    asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
                    async { Response::new(Full::<Bytes>::default()) }
                };
                http::serve(listener.accept().await.unwrap().0, answer).await;
            }
        });
        peer
    }

    #[tokio::test]
    async fn the_first_stop_turns_readiness_fails_health_waits_and_stops() {
        let drain_time = Duration::from_millis(300);
        let scene = Scene::new(drain_time, true).await;
        let begin = Instant::now();
        scene.send(Event::Stop).await;
        tokio::time::sleep(drain_time / 3).await;
        assert!(scene.terminating() && !scene.proxy.stop.is_cancelled());
        assert_eq!(scene.asked(), ["POST /healthcheck/fail"]);
        scene.proxy.stop.cancelled().await;
        assert!(begin.elapsed() >= drain_time);
        assert!(!scene.proxy.abort.is_cancelled());
    }

    #[tokio::test]
    async fn the_second_stop_skips_the_wait_and_the_third_aborts() {
        let scene = Scene::new(Duration::from_mins(10), true).await;
        scene.send(Event::Stop).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!scene.proxy.stop.is_cancelled());
        scene.send(Event::Stop).await;
        scene.proxy.stop.cancelled().await;
        assert!(!scene.proxy.abort.is_cancelled());
        scene.send(Event::Stop).await;
        scene.proxy.abort.cancelled().await;
    }

    #[tokio::test]
    async fn listeners_drained_before_need_no_wait() {
        let scene = Scene::new(Duration::from_mins(10), true).await;
        scene.send(Event::DrainInbound).await;
        scene.send(Event::DrainInbound).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!scene.terminating(), "readiness stays as it is");
        scene.send(Event::Stop).await;
        scene.proxy.stop.cancelled().await;
        assert_eq!(scene.asked(), ["POST /drain_listeners?inboundonly&graceful&skip_exit"]);
    }

    #[tokio::test]
    async fn an_envoy_that_cannot_be_told_is_not_waited_for() {
        let scene = Scene::new(Duration::from_mins(10), false).await;
        scene.send(Event::Stop).await;
        scene.proxy.stop.cancelled().await;
        assert!(scene.terminating());
    }
}
