//! What a session knows of one type: subscriptions, what the client has, what is under way.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    ACK_WAIT, Counts, MAX_IN_FLIGHT,
    rejection::{Doubt, Rejection, Remembered},
};
use crate::set::{Own, Rendered, TypeUrl, Version};

/// Where the client has a resource from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From this stream.
    Sent,
    /// From an earlier one, and still as it was.
    Brought,
    /// From an earlier one, changed on this stream.
    Changed,
    /// Added or removed in a response that was refused as a whole: the client may have it or not.
    Uncertain,
}

impl Origin {
    /// After another version of it has been sent.
    pub(super) fn resent(self) -> Self {
        match self {
            Self::Sent | Self::Uncertain => Self::Sent,
            Self::Brought | Self::Changed => Self::Changed,
        }
    }
}

/// A resource that the client has, or will have when it has taken what is under way.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// Its version on this stream.
    pub(super) version: Version,
    /// The resource; `None` while only a version from an earlier stream is known that is not the current one.
    pub(super) rendered: Option<Arc<Rendered>>,
    pub(super) origin: Origin,
}

impl Held {
    /// Whether the client is known to have some version of it.
    pub(super) fn is_certain(&self) -> bool {
        self.origin != Origin::Uncertain
    }
}

/// One resource of a response that is under way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: Arc<str>,
    /// What the client has if it does not take this.
    pub(super) before: Option<Held>,
    /// `None` removes.
    pub(super) sent: Option<Held>,
}

impl Item {
    /// What the client has when it may have taken this or not.
    pub(super) fn uncertain(&self) -> Option<Held> {
        let some_version = self.before.is_some() && self.sent.is_some();
        let either = self.before.as_ref().or(self.sent.as_ref())?;
        let origin = if some_version { either.origin } else { Origin::Uncertain };
        let rendered = either.rendered.clone().filter(|_| some_version);
        Some(Held { version: Version::UNKNOWN, rendered, origin })
    }
}

/// A response without an answer.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: u64,
    pub(super) at: Duration,
    pub(super) items: Vec<Item>,
}

#[derive(Debug)]
pub(super) struct Kind {
    pub(super) type_url: TypeUrl,
    /// When the client asked for this type first; `None` before it has.
    pub(super) since: Option<Duration>,
    /// Subscribed to all of them.
    pub(super) wildcard: bool,
    /// Subscribed by name.
    pub(super) subscribed: BTreeSet<Arc<str>>,
    pub(super) held: BTreeMap<Arc<str>, Held>,
    /// Names that the client subscribes to when it has taken what is under way: answered before it asks, once.
    pub(super) expected: BTreeSet<Arc<str>>,
    /// Subscribed names that get an answer whatever the client has.
    pub(super) owed: BTreeSet<Arc<str>>,
    /// The first response is due even if it is empty.
    pub(super) owes_first: bool,
    /// Everything is to be compared with the source.
    pub(super) all_stale: bool,
    /// These are.
    pub(super) stale: BTreeSet<Arc<str>>,
    pub(super) flights: VecDeque<Flight>,
    /// After a nack that named nobody: groups to be sent one by one, before anything else. With the versions that were
    /// refused together.
    pub(super) suspects: VecDeque<Vec<(Arc<str>, Version)>>,
    pub(super) rejected: BTreeMap<Arc<str>, Rejection>,
    /// Names of which the client may have another version than it reports on its next stream: it applies the good
    /// part of a response that it refuses, without counting it as received.
    pub(super) doubtful: BTreeMap<Arc<str>, Doubt>,
    /// A response of this type has been sent on this stream.
    pub(super) responded: bool,
    /// The first state is complete: from now on responses are small.
    pub(super) opened: bool,
    pub(super) counts: Counts,
}

impl Kind {
    pub(super) fn new(type_url: TypeUrl) -> Self {
        Self {
            type_url,
            since: None,
            wildcard: false,
            subscribed: BTreeSet::new(),
            held: BTreeMap::new(),
            expected: BTreeSet::new(),
            owed: BTreeSet::new(),
            owes_first: false,
            all_stale: false,
            stale: BTreeSet::new(),
            flights: VecDeque::new(),
            suspects: VecDeque::new(),
            rejected: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            responded: false,
            opened: false,
            counts: Counts::default(),
        }
    }

    /// Whether something is to be compared or sent. What waits for an ack or for other types stays work.
    pub(super) fn has_work(&self) -> bool {
        self.since.is_some()
            && (self.all_stale
                || self.owes_first
                || !self.stale.is_empty()
                || !self.owed.is_empty()
                || !self.suspects.is_empty())
    }

    pub(super) fn may_send(&self, now: Duration) -> bool {
        match self.flights.back() {
            None => true,
            Some(last) => now.saturating_sub(last.at) >= ACK_WAIT && self.flights.len() < MAX_IN_FLIGHT,
        }
    }

    pub(super) fn wants(&self, name: &str) -> bool {
        self.wildcard || self.subscribed.contains(name)
    }

    /// The first request of the type on this stream.
    pub(super) fn open(
        &mut self,
        now: Duration,
        brought: BTreeMap<Arc<str>, Option<Version>>,
        subscribes_to_nothing: bool,
    ) {
        self.since = Some(now);
        self.wildcard = self.type_url.is_wildcard() && subscribes_to_nothing;
        self.all_stale = true;
        // Envoy waits for a first answer, unless it has something to go on with.
        self.owes_first = self.type_url.is_wildcard() && brought.is_empty();
        if brought.is_empty() {
            // A new process: what the old one rejected (a port that was taken) gets one new try.
            self.rejected.values_mut().for_each(Rejection::forgive);
        }
        self.held = brought
            .into_iter()
            .map(|(name, version)| {
                let version = version.unwrap_or(Version::UNKNOWN);
                (name, Held { version, rendered: None, origin: Origin::Brought })
            })
            .collect();
        for name in self.doubtful.keys() {
            if self.type_url.is_wildcard() || self.held.contains_key(name) {
                let held = Held { version: Version::UNKNOWN, rendered: None, origin: Origin::Uncertain };
                self.held.insert(name.clone(), held);
            }
        }
    }

    /// What the client has of these is not what it is going to report.
    pub(super) fn doubt(&mut self, items: &[Item]) {
        for item in items {
            let doubt = self.doubtful.entry(item.name.clone()).or_default();
            for held in item.before.iter().chain(&item.sent) {
                match &held.rendered {
                    Some(rendered) => doubt.add(rendered),
                    None => doubt.unknown |= held.is_certain(),
                }
            }
        }
    }

    /// For the next stream.
    pub(super) fn into_memory(mut self) -> Remembered {
        for flight in std::mem::take(&mut self.flights) {
            self.doubt(&flight.items);
        }
        Remembered { rejected: self.rejected, doubtful: self.doubtful }
    }

    pub(super) fn subscribe(&mut self, name: Arc<str>, first: bool) {
        let brought = first && self.held.contains_key(&name);
        let under_way = self.flights.iter().any(|f| f.items.iter().any(|i| i.name == name));
        // What is under way answers it, if it is what is to be told now.
        if brought || under_way {
            self.stale.insert(name.clone());
        } else {
            if !self.wants(&name) {
                // It has dropped what came before it asked.
                self.held.remove(&name);
            }
            self.owed.insert(name.clone());
        }
        self.expected.remove(&name);
        self.subscribed.insert(name);
    }

    /// What would have made the client subscribe to this name is gone, or was refused.
    pub(super) fn expect_no_more(&mut self, name: &str) {
        self.expected.remove(name);
        if !self.subscribed.contains(name) {
            self.held.remove(name);
        }
    }

    pub(super) fn unsubscribe(&mut self, name: &str) {
        if self.type_url.is_wildcard() && name == "*" {
            self.wildcard = false;
            self.held.retain(|n, _| self.subscribed.contains(n));
            return;
        }
        self.subscribed.remove(name);
        self.owed.remove(name);
        self.stale.remove(name);
        if !self.wildcard {
            self.held.remove(name);
            self.rejected.remove(name);
            // A later subscription starts from nothing, whatever is under way.
            for flight in &mut self.flights {
                flight.items.retain(|i| &*i.name != name);
            }
        }
    }

    /// The client took these.
    pub(super) fn accept(&mut self, items: &[Item], nonce: u64, own: &Own) {
        for item in items {
            let Some(rendered) = item.sent.as_ref().and_then(|h| h.rendered.as_ref()) else { continue };
            if self.rejected.get(&item.name).is_some_and(|r| r.ends_with(rendered, nonce, own)) {
                self.rejected.remove(&item.name);
            }
        }
    }

    /// The client refused this one.
    pub(super) fn reject(&mut self, item: &mut Item, nonce: u64, text: Arc<str>, own: &Own) {
        let Some(rendered) = item.sent.as_ref().and_then(|h| h.rendered.clone()) else { return };
        let version = rendered.version_for(own);
        // Refused along with others before, and now alone: it never had it.
        let never_had = self.doubtful.get(&item.name).is_none_or(|d| d.is_only(version, own));
        item.before = item.before.take().filter(|h| h.is_certain() || !never_had);
        let before = item.before.as_ref().filter(|h| h.is_certain()).and_then(|h| h.rendered.clone());
        let last_good = before.or_else(|| self.rejected.get(&item.name)?.last_good.clone());
        self.rejected.insert(item.name.clone(), Rejection::new(version, nonce, text, last_good));
    }

    /// What the client refused is sent once more.
    pub(super) fn retry(&mut self) {
        for (name, rejection) in &mut self.rejected {
            rejection.retry();
            self.stale.insert(name.clone());
        }
    }

    /// The client still has what it had before this item.
    pub(super) fn revert(&mut self, item: Item) {
        self.stale.insert(item.name.clone());
        let later = self.flights.iter_mut().flat_map(|f| f.items.iter_mut()).find(|i| i.name == item.name);
        if let Some(later) = later {
            later.before = item.before;
        } else if self.wants(&item.name) {
            match item.before {
                Some(held) => self.held.insert(item.name, held),
                None => self.held.remove(&item.name),
            };
        }
    }

    /// Of assignments: the cluster of this name is sent, and Envoy will want its endpoints again. A version alone
    /// would not tell: a cluster may change and change back while its assignment is under way.
    pub(super) fn forget_endpoints(&mut self, cluster: &Arc<str>) {
        let under_way = self.flights.iter_mut().flat_map(|f| f.items.iter_mut()).filter(|i| i.name == *cluster);
        let held = under_way.filter_map(|i| i.before.as_mut()).chain(self.held.get_mut(cluster));
        held.for_each(|h| h.version = Version::UNKNOWN);
        self.stale.insert(cluster.clone());
    }

    /// What this client is to have instead of `desired`: the last good one where it rejected this version. `None`
    /// where there is none: leave the client alone.
    pub(super) fn acceptable(&self, desired: &Arc<Rendered>, own: &Own) -> Option<Arc<Rendered>> {
        match self.rejected.get(&desired.name) {
            Some(rejection) if rejection.covers(desired, own) => rejection.last_good.clone(),
            _ => Some(desired.clone()),
        }
    }
}
