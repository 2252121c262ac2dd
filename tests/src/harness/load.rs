//! Steady load: so many requests per second, whatever becomes of them, each counted.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::http::Client;

/// Threads per target. One of them uses a new connection for each request, the others keep theirs.
const THREADS: u32 = 5;

/// Running load.
pub struct Load {
    begin: Instant,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Outcome>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests sent.
    pub requests: usize,
    /// Answers by their body.
    pub answers: BTreeMap<String, usize>,
    /// When, counted from the begin, and how requests failed.
    pub failures: Vec<(Duration, String)>,
    /// The slowest request.
    pub slowest: Duration,
}

impl Load {
    /// `rate` requests per second over all targets.
    pub fn start(targets: &[SocketAddr], rate: u32) -> Self {
        let (begin, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let interval = Duration::from_secs(1) * THREADS * targets.len() as u32 / rate;
        let all = targets.iter().flat_map(|target| (0..THREADS).map(move |nth| (*target, nth)));
        let threads = all
            .enumerate()
            .map(|(index, (target, nth))| {
                let stop = stop.clone();
                // Spread over the interval.
                let first = begin + interval * index as u32 / (THREADS * targets.len() as u32);
                thread::spawn(move || send(target, nth > 0, first, interval, begin, &stop))
            })
            .collect();
        Self { begin, stop, threads }
    }

    /// Since the begin.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Ends it.
    pub fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for thread in self.threads {
            let one = thread.join().unwrap();
            all.requests += one.requests;
            all.failures.extend(one.failures);
            all.slowest = all.slowest.max(one.slowest);
            for (body, count) in one.answers {
                *all.answers.entry(body).or_default() += count;
            }
        }
        all.failures.sort();
        all
    }
}

impl Outcome {
    /// Every request was answered with 200.
    pub fn assert_no_failure(&self) {
        let shown: Vec<_> = self.failures.iter().take(10).collect();
        assert!(shown.is_empty(), "{} of {} requests failed: {shown:#?}", self.failures.len(), self.requests);
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let span = match (self.failures.first(), self.failures.last()) {
            (Some((first, _)), Some((last, _))) => {
                format!(" (from {:.2} s to {:.2} s)", first.as_secs_f32(), last.as_secs_f32())
            }
            _ => String::new(),
        };
        let (requests, failures, slowest) = (self.requests, self.failures.len(), self.slowest);
        format!("{requests} requests, {failures} failed{span}, slowest {slowest:.0?}, answers {:?}", self.answers)
    }
}

fn send(
    target: SocketAddr,
    keep: bool,
    first: Instant,
    interval: Duration,
    begin: Instant,
    stop: &AtomicBool,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut client = Client::new(target);
    let mut next = first;
    while !stop.load(Ordering::Relaxed) {
        // Who is late does not wait, so that the rate holds.
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += interval;
        if !keep {
            client = Client::new(target);
        }
        let since = Instant::now();
        outcome.requests += 1;
        match client.send("GET", "/", &[], b"") {
            Ok(answer) if answer.status == 200 => *outcome.answers.entry(answer.body).or_default() += 1,
            Ok(answer) => outcome.failures.push((begin.elapsed(), format!("{} {}", answer.status, answer.body))),
            Err(error) => outcome.failures.push((begin.elapsed(), error)),
        }
        outcome.slowest = outcome.slowest.max(since.elapsed());
    }
    outcome
}
