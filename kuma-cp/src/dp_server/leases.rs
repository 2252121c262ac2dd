//! Which stream speaks for which proxy. A new stream of an authenticated proxy takes the lease over from the old one,
//! which may be half-open and would otherwise lock the proxy out; two that keep taking it from each other are reported.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Mesh and name of a Dataplane.
pub type Proxy = (Arc<str>, Arc<str>);

/// Take-overs of one proxy within [`FIGHT_WINDOW`] that count as two proxies of one name.
const FIGHT: usize = 3;
const FIGHT_WINDOW: Duration = Duration::from_mins(1);
/// How long the next stream of a proxy waits that is being fought over. Each take-over may move the endpoints of a
/// service from one machine to another.
pub const FIGHT_PAUSE: Duration = Duration::from_secs(10);

/// The leases of this instance.
#[derive(Debug, Default)]
pub struct Leases {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    active: HashMap<Proxy, Active>,
    /// Streams that are being let in, which take the lease if they are.
    arriving: HashMap<Proxy, usize>,
    /// Proxies whose Dataplane is being removed; the channel ends when that is over.
    leaving: HashMap<Proxy, watch::Receiver<()>>,
    taken: HashMap<Proxy, Taken>,
}

/// Take-overs of one proxy.
#[derive(Debug, Default)]
struct Taken {
    times: VecDeque<Instant>,
    reported: Option<Instant>,
}

impl Taken {
    fn is_fight(&mut self, now: Instant) -> bool {
        while self.times.front().is_some_and(|t| now.duration_since(*t) > FIGHT_WINDOW) {
            self.times.pop_front();
        }
        self.times.len() >= FIGHT
    }
}

impl Inner {
    fn presence(&self, proxy: &Proxy) -> Presence {
        if self.active.contains_key(proxy) {
            Presence::Held
        } else if self.arriving.contains_key(proxy) {
            Presence::Arriving
        } else {
            Presence::Absent
        }
    }
}

/// Whether someone speaks for a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// A stream does.
    Held,
    /// A stream is being let in, or refused.
    Arriving,
    /// Nobody does.
    Absent,
}

/// Whether a Dataplane can be removed.
pub enum Leave<'a> {
    /// It can, and is being removed.
    Begun(Departure<'a>),
    /// Someone speaks for its proxy.
    Held,
    /// Someone may be about to, or removes it already: that can fail, so look again.
    Undecided,
}

#[derive(Debug)]
struct Active {
    id: u64,
    cancel: CancellationToken,
}

/// Held by the stream that speaks for a proxy.
#[derive(Debug)]
pub struct Lease {
    /// Whose it is.
    pub proxy: Proxy,
    /// Cancelled when another stream takes over.
    pub lost: CancellationToken,
    /// Two proxies of one name seem to be running, and it is time to say so.
    pub report: bool,
    id: u64,
}

impl Leases {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change is a single map operation, so a panic elsewhere leaves the maps whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lease of a proxy; whoever held it loses it.
    pub fn take(&self, proxy: Proxy) -> Lease {
        let mut inner = self.lock();
        inner.next += 1;
        let id = inner.next;
        let lost = CancellationToken::new();
        let before = inner.active.insert(proxy.clone(), Active { id, cancel: lost.clone() });
        let report = before.is_some_and(|before| {
            before.cancel.cancel();
            let now = Instant::now();
            let taken = inner.taken.entry(proxy.clone()).or_default();
            taken.times.push_back(now);
            let due = taken.reported.is_none_or(|at| now.duration_since(at) > FIGHT_WINDOW);
            let report = taken.is_fight(now) && due;
            if report {
                taken.reported = Some(now);
            }
            report
        });
        Lease { proxy, lost, report, id }
    }

    /// Streams of the proxy keep taking it from each other, and one has it now.
    pub fn fought_over(&self, proxy: &Proxy) -> bool {
        let mut inner = self.lock();
        inner.active.contains_key(proxy)
            && inner.taken.get_mut(proxy).is_some_and(|taken| taken.is_fight(Instant::now()))
    }

    /// Gives a lease back; true if it was still the current one, so nobody speaks for the proxy now.
    pub fn give_back(&self, lease: &Lease) -> bool {
        let mut inner = self.lock();
        if inner.active.get(&lease.proxy).is_some_and(|a| a.id == lease.id) {
            inner.active.remove(&lease.proxy);
            inner.taken.remove(&lease.proxy);
            return true;
        }
        false
    }

    /// Notes that a stream of the proxy is being let in, until what is returned is dropped. If its Dataplane is being
    /// removed at this moment, waits until that is over: then the proxy brings it again.
    pub async fn arrive(&self, proxy: Proxy) -> Arrival<'_> {
        loop {
            let leaving = {
                let mut inner = self.lock();
                let leaving = inner.leaving.get(&proxy).cloned();
                if leaving.is_none() {
                    *inner.arriving.entry(proxy.clone()).or_default() += 1;
                }
                leaving
            };
            let Some(mut leaving) = leaving else { return Arrival { leases: self, proxy } };
            // An error means that it is over.
            while leaving.changed().await.is_ok() {}
        }
    }

    /// Notes that the Dataplane of the proxy is being removed, until what is returned is dropped, if nobody stands in the
    /// way of that.
    pub fn leave(&self, proxy: &Proxy) -> Leave<'_> {
        let mut inner = self.lock();
        match inner.presence(proxy) {
            Presence::Held => return Leave::Held,
            Presence::Arriving => return Leave::Undecided,
            Presence::Absent if inner.leaving.contains_key(proxy) => return Leave::Undecided,
            Presence::Absent => {}
        }
        let (over, leaving) = watch::channel(());
        inner.leaving.insert(proxy.clone(), leaving);
        Leave::Begun(Departure { leases: self, proxy: proxy.clone(), _over: over })
    }

    /// Whether someone speaks for the proxy.
    pub fn presence(&self, proxy: &Proxy) -> Presence {
        self.lock().presence(proxy)
    }
}

/// A Dataplane that is being removed.
pub struct Departure<'a> {
    leases: &'a Leases,
    proxy: Proxy,
    /// Ends the wait of whoever arrives, after the drop below.
    _over: watch::Sender<()>,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        self.leases.lock().leaving.remove(&self.proxy);
    }
}

/// A stream that is being let in.
pub struct Arrival<'a> {
    leases: &'a Leases,
    proxy: Proxy,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let mut inner = self.leases.lock();
        if let Some(count) = inner.arriving.get_mut(&self.proxy) {
            *count -= 1;
            if *count == 0 {
                inner.arriving.remove(&self.proxy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> Proxy {
        ("default".into(), "web-1".into())
    }

    #[test]
    fn a_new_stream_takes_over_and_the_old_one_leaves_nothing_behind() {
        let leases = Leases::default();
        let first = leases.take(proxy());
        let second = leases.take(proxy());
        assert!(first.lost.is_cancelled() && !second.lost.is_cancelled());
        assert!(!leases.give_back(&first), "the second holds it");
        assert_eq!(leases.presence(&proxy()), Presence::Held);
        assert!(leases.give_back(&second));
        assert_eq!(leases.presence(&proxy()), Presence::Absent);
    }

    #[tokio::test]
    async fn who_is_about_to_come_counts() {
        let leases = Leases::default();
        let (one, another) = (leases.arrive(proxy()).await, leases.arrive(proxy()).await);
        drop(one);
        assert_eq!(leases.presence(&proxy()), Presence::Arriving);
        assert!(matches!(leases.leave(&proxy()), Leave::Undecided), "it may be refused");
        let lease = leases.take(proxy());
        drop(another);
        assert!(matches!(leases.leave(&proxy()), Leave::Held));
        assert!(leases.give_back(&lease) && matches!(leases.leave(&proxy()), Leave::Begun(_)));
    }

    #[tokio::test]
    async fn who_comes_during_a_removal_waits_for_its_end() {
        let leases = Leases::default();
        let Leave::Begun(leaving) = leases.leave(&proxy()) else { panic!("nobody is there") };
        assert!(matches!(leases.leave(&proxy()), Leave::Undecided), "one removes it");
        let arriving = leases.arrive(proxy());
        tokio::pin!(arriving);
        let waits = tokio::time::timeout(Duration::from_millis(50), &mut arriving).await;
        assert!(waits.is_err() && leases.presence(&proxy()) == Presence::Absent);
        let other: Proxy = ("default".into(), "web-2".into());
        drop(leases.arrive(other).await);
        drop(leaving);
        let _arrival = arriving.await;
        assert_eq!(leases.presence(&proxy()), Presence::Arriving);
    }

    #[test]
    fn two_proxies_of_one_name_are_noticed_and_reported_once() {
        let leases = Leases::default();
        let take = || {
            let fought_over = leases.fought_over(&proxy());
            (fought_over, leases.take(proxy()).report)
        };
        let seen: Vec<(bool, bool)> = (0..6).map(|_| take()).collect();
        let (calm, noticed, known) = ((false, false), (false, true), (true, false));
        assert_eq!(seen, [calm, calm, calm, noticed, known, known]);
        // When the last one has gone, it starts anew.
        let last = leases.take(proxy());
        assert!(leases.give_back(&last) && !leases.fought_over(&proxy()));
        assert_eq!((0..4).map(|_| leases.take(proxy()).report).collect::<Vec<_>>(), [false, false, false, true]);
    }
}
