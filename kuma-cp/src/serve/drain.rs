//! The end of a server's connections: those that are in use are told to go one after the other, so that whoever takes
//! their peers over is not overrun.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::idle::Requests;

/// The part of the drain time in which all connections are told; the rest is for the last of them to end.
const SPREAD: f64 = 0.8;

/// In the extensions of every request: cancelled when its connection is to end. Whoever answers for as long as the peer
/// likes, ends then.
#[derive(Clone, Debug)]
pub struct Drain(CancellationToken);

impl Drain {
    /// Of a request. One that came by no server is never told.
    pub fn of(extensions: &http::Extensions) -> Self {
        extensions.get().cloned().unwrap_or_else(|| Self(CancellationToken::new()))
    }

    /// Waits until the connection is to end.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

impl From<CancellationToken> for Drain {
    fn from(told: CancellationToken) -> Self {
        Self(told)
    }
}

/// The open connections of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// By the order in which they were opened.
    open: Mutex<(u64, BTreeMap<u64, (CancellationToken, Requests)>)>,
    ends: TaskTracker,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, (CancellationToken, Requests)>)> {
        // Entries come and go whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them; it has ended when this is dropped.
#[derive(Debug)]
pub(super) struct Open {
    id: u64,
    shared: Arc<Shared>,
    /// Tells it to end.
    pub(super) drain: Drain,
    _end: TaskTrackerToken,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.lock().1.remove(&self.id);
    }
}

impl Connections {
    /// Takes a connection in, with the requests that it will have.
    pub(super) fn open(&self, requests: Requests) -> Open {
        let told = CancellationToken::new();
        let mut open = self.0.lock();
        open.0 += 1;
        let id = open.0;
        open.1.insert(id, (told.clone(), requests));
        Open { id, shared: self.0.clone(), drain: Drain(told), _end: self.0.ends.token() }
    }

    /// Tells all to end and waits until they have, at most `within`; false if some have not. Of those that are answering
    /// something, `rate` are told in a second, or more if the time would not do otherwise.
    pub(super) async fn drain(&self, within: Duration, rate: Option<u32>) -> bool {
        let begin = Instant::now();
        let all: Vec<_> = self.0.lock().1.values().cloned().collect();
        let (used, idle): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, requests)| requests.has_unanswered());
        for (told, _) in idle {
            told.cancel();
        }
        let pause = rate.map_or(Duration::ZERO, |rate| pause(used.len(), rate, within));
        for (nth, (told, _)) in (0..).zip(used) {
            sleep_until(begin + pause * nth).await;
            told.cancel();
        }
        self.0.ends.close();
        tokio::time::timeout_at(begin + within, self.0.ends.wait()).await.is_ok()
    }
}

/// Between two connections of so many.
fn pause(count: usize, rate: u32, within: Duration) -> Duration {
    let most = within.mul_f64(SPREAD) / u32::try_from(count).unwrap_or(u32::MAX).max(1);
    most.min(Duration::from_secs(1) / rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    /// When each of so many connections is told, and how long all took; each ends at once.
    async fn told(count: usize, rate: Option<u32>, idle: usize) -> (Vec<Duration>, Duration) {
        let (connections, begin) = (Connections::default(), Instant::now());
        let tasks: Vec<_> = (0..count)
            .map(|nth| {
                let requests = Requests::default();
                let unanswered = (nth >= idle).then(|| requests.arrived());
                let open = connections.open(requests);
                tokio::spawn(async move {
                    open.drain.begun().await;
                    drop((open, unanswered));
                    begin.elapsed()
                })
            })
            .collect();
        assert!(connections.drain(WITHIN, rate).await);
        let took = begin.elapsed();
        let mut times = Vec::new();
        for task in tasks {
            times.push(task.await.unwrap());
        }
        (times, took)
    }

    #[tokio::test(start_paused = true)]
    async fn connections_in_use_are_told_at_a_pace() {
        let (times, took) = told(1_000, Some(200), 0).await;
        let seconds = |s: f64| Duration::from_secs_f64(s);
        assert!(times.is_sorted() && times[0] < seconds(0.01), "{:?}", times[0]);
        assert!(times[500] > seconds(2.4) && times[500] < seconds(2.6), "{:?}", times[500]);
        assert!(took > seconds(4.9) && took < seconds(5.1), "{took:?}");
        let (times, took) = told(10, Some(200), 0).await;
        assert!(times[9] > Duration::ZERO && took < seconds(0.1), "a handful does not wait: {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_that_the_time_would_not_do_are_told_faster() {
        let (_, took) = told(20_000, Some(200), 0).await;
        assert!(took > WITHIN.mul_f64(0.75) && took < WITHIN.mul_f64(0.85), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_answers_nothing_is_told_at_once_and_without_a_rate_all_are() {
        let (times, took) = told(1_000, Some(200), 900).await;
        assert!(times[..900].iter().all(Duration::is_zero) && took < Duration::from_millis(600), "{took:?}");
        assert!(told(1_000, None, 0).await.1.is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_is_waited_for_until_the_time_is_over() {
        let (connections, begin) = (Connections::default(), Instant::now());
        let _stays = connections.open(Requests::default());
        assert!(!connections.drain(WITHIN, Some(200)).await);
        assert_eq!(begin.elapsed(), WITHIN);
    }
}
