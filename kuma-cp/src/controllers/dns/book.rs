//! Which names are carried by whom, what is known of them, and when to ask again. Knows no DNS and no clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kuma_core::{plan::Names, resource::Key};
use tokio::time::Instant;

/// What came of a question.
pub(super) struct Answer {
    /// The name that was asked for.
    pub(super) host: Arc<str>,
    /// Its address, or what went wrong.
    pub(super) found: Result<Arc<str>, String>,
}

/// A name whose state has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It has an address, for the first time or another one than before.
    Found { host: Arc<str>, address: Arc<str>, before: Option<Arc<str>> },
    /// After a failure it has the address that it had.
    Back { host: Arc<str>, address: Arc<str> },
    /// DNS fails, the last address stays.
    Lost { host: Arc<str>, address: Arc<str>, error: String },
    /// DNS fails, and there is no address.
    Missing { host: Arc<str>, error: String },
}

/// The names and their addresses.
pub(super) struct Book {
    refresh: Duration,
    carried: BTreeMap<Key, BTreeSet<Arc<str>>>,
    hosts: BTreeMap<Arc<str>, Host>,
    /// When to ask for whom. A name that is being asked for is not in it.
    queue: BTreeSet<(Instant, Arc<str>)>,
    names: Arc<Names>,
    taken: Arc<Names>,
}

/// A name that somebody carries.
struct Host {
    carriers: usize,
    /// When to ask for it; `None` while it is being asked for.
    next: Option<Instant>,
    /// The last question failed.
    failed: bool,
}

impl Book {
    /// An empty one; names are asked for again after `refresh`.
    pub(super) fn new(refresh: Duration) -> Self {
        let names: Arc<Names> = Arc::default();
        Self {
            refresh,
            carried: BTreeMap::new(),
            hosts: BTreeMap::new(),
            queue: BTreeSet::new(),
            taken: names.clone(),
            names,
        }
    }

    /// A Dataplane carries these names now, and no others. What nobody carries any more is forgotten.
    pub(super) fn carries(&mut self, dataplane: &Key, hosts: Vec<Arc<str>>, now: Instant) {
        let new: BTreeSet<Arc<str>> = hosts.into_iter().collect();
        let old = if new.is_empty() {
            self.carried.remove(dataplane)
        } else {
            self.carried.insert(dataplane.clone(), new.clone())
        };
        let old = old.unwrap_or_default();
        for host in new.difference(&old) {
            let entry = self.hosts.entry(host.clone()).or_insert_with(|| {
                self.queue.insert((now, host.clone()));
                Host { carriers: 0, next: Some(now), failed: false }
            });
            entry.carriers += 1;
        }
        for host in old.difference(&new) {
            let Some(entry) = self.hosts.get_mut(host) else { continue };
            entry.carriers -= 1;
            if entry.carriers == 0 {
                if let Some(next) = entry.next {
                    self.queue.remove(&(next, host.clone()));
                }
                self.hosts.remove(host);
                if self.names.0.contains_key(host) {
                    Arc::make_mut(&mut self.names).0.remove(host);
                }
            }
        }
    }

    /// Names to ask for now. Each is handed out once, until it was answered.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        while let Some((_, host)) = self.queue.first().filter(|(at, _)| *at <= now).cloned() {
            self.queue.pop_first();
            if let Some(entry) = self.hosts.get_mut(&host) {
                entry.next = None;
            }
            due.push(host);
        }
        due
    }

    /// When a name is to be asked for.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes an answer in; what is worth telling about it. One for a name that nobody carries any more is dropped.
    pub(super) fn answered(&mut self, answer: Answer, now: Instant) -> Option<News> {
        let Answer { host, found } = answer;
        let entry = self.hosts.get_mut(&host)?;
        let next = now + self.refresh;
        // A name that went and came back while it was asked for may be waiting for its turn.
        if let Some(waiting) = entry.next.replace(next) {
            self.queue.remove(&(waiting, host.clone()));
        }
        self.queue.insert((next, host.clone()));
        let known = self.names.0.get(&host).cloned();
        let failed_before = std::mem::replace(&mut entry.failed, found.is_err());
        match (found, known) {
            (Err(_), _) if failed_before => None,
            (Err(error), Some(address)) => Some(News::Lost { host, address, error }),
            (Err(error), None) => Some(News::Missing { host, error }),
            (Ok(address), Some(known)) if known == address => failed_before.then_some(News::Back { host, address }),
            (Ok(address), before) => {
                Arc::make_mut(&mut self.names).0.insert(host.clone(), address.clone());
                Some(News::Found { host, address, before })
            }
        }
    }

    /// The map differs from the one that was taken last.
    pub(super) fn changed(&self) -> bool {
        !Arc::ptr_eq(&self.names, &self.taken) && self.names != self.taken
    }

    /// The whole map.
    pub(super) fn take(&mut self) -> Arc<Names> {
        self.taken = self.names.clone();
        self.names.clone()
    }
}

#[cfg(test)]
mod tests {
    use kuma_core::registry::Kind;

    use super::*;

    const REFRESH: Duration = Duration::from_secs(10);

    fn dataplane(name: &str) -> Key {
        Key::new(Kind::Dataplane, "m", name)
    }

    /// A book and its clock.
    struct Kept {
        book: Book,
        now: Instant,
    }

    impl Kept {
        fn new() -> Self {
            Self { book: Book::new(REFRESH), now: Instant::now() }
        }

        fn carries(&mut self, name: &str, hosts: &[&str]) {
            let hosts = hosts.iter().map(|h| (*h).into()).collect();
            self.book.carries(&dataplane(name), hosts, self.now);
        }

        fn take_due(&mut self) -> Vec<String> {
            self.book.take_due(self.now).iter().map(ToString::to_string).collect()
        }

        fn answered(&mut self, host: &str, found: Result<&str, &str>) -> Option<News> {
            let found = found.map(Into::into).map_err(Into::into);
            self.book.answered(Answer { host: host.into(), found }, self.now)
        }

        /// The map, if it changed.
        fn taken(&mut self) -> Option<Vec<(String, String)>> {
            let changed = self.book.changed();
            changed.then(|| self.book.take().0.iter().map(|(h, a)| (h.to_string(), a.to_string())).collect())
        }
    }

    fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(pairs.iter().map(|(host, address)| ((*host).into(), (*address).into())).collect())
    }

    #[test]
    fn a_name_is_asked_for_at_once_and_again_after_the_interval() {
        let mut kept = Kept::new();
        assert_eq!(kept.book.next(), None, "without names nothing is due");
        kept.carries("d-1", &["a"]);
        kept.carries("d-2", &["a"]);
        assert_eq!(kept.take_due(), ["a"]);
        assert!(kept.take_due().is_empty() && kept.book.next().is_none(), "it is asked for once until it is answered");
        kept.answered("a", Ok("10.0.0.1"));
        assert_eq!(kept.taken(), pairs(&[("a", "10.0.0.1")]));
        assert!(kept.take_due().is_empty());
        assert_eq!(kept.book.next(), Some(kept.now + REFRESH));
        kept.now += REFRESH;
        assert_eq!(kept.take_due(), ["a"]);
        kept.answered("a", Ok("10.0.0.1"));
        assert_eq!(kept.taken(), None, "an equal answer changes nothing");
    }

    #[test]
    fn the_last_answer_stays_while_questions_fail_and_changes_are_told_once() {
        let mut kept = Kept::new();
        kept.carries("d-1", &["a"]);
        kept.take_due();
        let (host, error) = (|| "a".into(), || "no such host".to_owned());
        let address = |text: &str| Arc::<str>::from(text);
        assert_eq!(kept.answered("a", Err("no such host")), Some(News::Missing { host: host(), error: error() }));
        assert_eq!(kept.taken(), None);
        let found = |now: &str, before: Option<&str>| {
            Some(News::Found { host: host(), address: address(now), before: before.map(Into::into) })
        };
        let lost = Some(News::Lost { host: host(), address: address("10.0.0.1"), error: error() });
        let back = Some(News::Back { host: host(), address: address("10.0.0.1") });
        for (answer, news, map) in [
            (Err("no such host"), None, None),
            (Ok("10.0.0.1"), found("10.0.0.1", None), pairs(&[("a", "10.0.0.1")])),
            (Err("no such host"), lost, None),
            (Err("no such host"), None, None),
            (Ok("10.0.0.1"), back, None),
            (Ok("10.0.0.1"), None, None),
            (Ok("10.0.0.2"), found("10.0.0.2", Some("10.0.0.1")), pairs(&[("a", "10.0.0.2")])),
        ] {
            kept.now += REFRESH;
            assert_eq!(kept.take_due(), ["a"]);
            assert_eq!(kept.answered("a", answer), news);
            assert_eq!(kept.taken(), map, "after {answer:?}");
        }
    }

    #[test]
    fn a_name_is_forgotten_with_the_last_dataplane_that_carries_it() {
        let mut kept = Kept::new();
        kept.carries("d-1", &["a", "b"]);
        kept.carries("d-2", &["a"]);
        kept.take_due();
        kept.answered("a", Ok("10.0.0.1"));
        kept.answered("b", Ok("10.0.0.2"));
        kept.taken();
        kept.carries("d-1", &[]);
        assert_eq!(kept.taken(), pairs(&[("a", "10.0.0.1")]));
        kept.carries("d-2", &[]);
        assert_eq!(kept.taken(), pairs(&[]));
        kept.now += REFRESH;
        assert!(kept.take_due().is_empty() && kept.book.next().is_none());
    }

    #[test]
    fn a_late_answer_for_a_forgotten_name_is_dropped() {
        let mut kept = Kept::new();
        kept.carries("d-1", &["a"]);
        kept.take_due();
        kept.carries("d-1", &[]);
        kept.answered("a", Ok("10.0.0.1"));
        assert_eq!((kept.taken(), kept.book.next()), (None, None));
    }

    #[test]
    fn a_name_that_came_back_while_it_was_asked_for_waits_its_turn_once() {
        let mut kept = Kept::new();
        kept.carries("d-1", &["a"]);
        kept.take_due();
        kept.carries("d-1", &[]);
        kept.carries("d-1", &["a"]);
        kept.answered("a", Ok("10.0.0.1"));
        assert!(kept.take_due().is_empty(), "the answer counts for the name as it is now");
        kept.now += REFRESH;
        assert_eq!(kept.take_due(), ["a"]);
    }

    #[test]
    fn a_map_that_changed_back_is_no_change() {
        let mut kept = Kept::new();
        kept.carries("d-1", &["a"]);
        kept.take_due();
        kept.answered("a", Ok("10.0.0.1"));
        kept.carries("d-1", &[]);
        assert_eq!(kept.taken(), None);
    }
}
