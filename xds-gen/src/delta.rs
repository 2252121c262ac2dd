//! Delta xDS for one stream, as a state machine over values: requests, changes and ticks in, responses out. No clock
//! and no I/O; time is a [`Duration`] since any fixed moment that the caller chooses.
//!
//! A caller keeps one [`Session`] per stream and calls [`step`](Session::step) with every request, every change that
//! concerns the proxy, and a tick at [`deadline`](Session::deadline). What the proxy is to have is read from a
//! [`Source`] at that moment, so a slow stream costs a flag and never a backlog. Each response is written by
//! [`frame`](crate::frame).
//!
//! The rules, all of them what Envoy needs (`engine.md` §3 and §4 in the project's reference):
//! - One response in flight per type; after its ack, or two seconds without one, the difference to the newest state.
//! - Every subscribed name is answered, a missing one in `removed_resources`; not in the first request of a type for
//!   names that come with the current version, and not while a response holding the name is under way.
//! - A changed cluster, which Envoy warms, is followed at once by its assignment. The version of an assignment on a
//!   stream is a hash of its bytes and of the version of that stream's cluster of the same name, so that the rule
//!   holds over reconnects; and whatever the version, it is sent again after each sending of the cluster.
//! - The assignment of a new cluster follows it too, before the client asks: it subscribes when it takes the cluster,
//!   which is before it takes the assignment. Not with the first clusters of a process, which Envoy starts in phases.
//! - Make before break: listeners wait for the ack of new clusters that they use (five seconds at most), and one that
//!   tells of others comes with the last of them; a cluster is removed when no listener that the proxy may still have
//!   uses it.
//! - By-name resources are never removed by the server; they end by unsubscription.
//! - A rejected resource (see [`blame`]) is not sent again until its content changes, or the caller asks for another
//!   try; the last good one stays.
//! - In grace after a forgetful start, nothing that the client brought is removed, and an assignment that it brought
//!   is not replaced by another one: it may have more endpoints than have come back. Endpoint lists that this stream
//!   itself has sent may shrink; whether they should is the caller's decision.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use envoy_api::envoy::service::discovery::v3::DeltaDiscoveryRequest;

use crate::set::{Rendered, Source, TypeUrl, Version};

pub mod blame;
mod kind;
mod listed;
mod named;
mod rejection;
#[cfg(test)]
mod tests;

use kind::{Flight, Held, Item, Kind, Origin};
pub use rejection::{Memory, Rejected};

/// Without an ack for this long the newest state may be sent.
pub const ACK_WAIT: Duration = Duration::from_secs(2);
/// Listeners wait at most this long for the ack of clusters that they use.
pub const WARM_WAIT: Duration = Duration::from_secs(5);
/// Size of the first responses of clusters and listeners, which are whole below it: one bootstrap mode limits
/// messages to 4 MB.
pub const FIRST_LIMIT: usize = 3 << 20;
/// Size of every other response, unless one resource alone is larger.
pub const LIMIT: usize = 48 << 10;
/// Responses of one type that may be without an ack at a time, however long the client takes.
const MAX_IN_FLIGHT: usize = 8;

/// What a client asks, of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The type that it is about.
    pub type_url: TypeUrl,
    /// Names to subscribe to.
    pub subscribe: Vec<Arc<str>>,
    /// Names to unsubscribe from.
    pub unsubscribe: Vec<Arc<str>>,
    /// What the client has from an earlier stream; `None` for a version that is not one of ours.
    pub initial_versions: BTreeMap<Arc<str>, Option<Version>>,
    /// Nonce of the response that this acknowledges or rejects. One that was never sent is ignored.
    pub nonce: Option<u64>,
    /// Why that response is rejected.
    pub error: Option<String>,
}

impl Request {
    /// The facts of a request; `None` for a type that is never served.
    pub fn from_proto(request: DeltaDiscoveryRequest) -> Option<Self> {
        let type_url = TypeUrl::parse(&request.type_url)?;
        let names = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
        Some(Self {
            type_url,
            subscribe: names(request.resource_names_subscribe),
            unsubscribe: names(request.resource_names_unsubscribe),
            initial_versions: request
                .initial_resource_versions
                .into_iter()
                .map(|(name, version)| (Arc::from(name), Version::parse(&version)))
                .collect(),
            // Zero is never sent, so a foreign nonce acknowledges nothing.
            nonce: (!request.response_nonce.is_empty()).then(|| request.response_nonce.parse().unwrap_or(0)),
            error: request.error_detail.map(|e| e.message),
        })
    }
}

/// What may have changed in the [`Source`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Anything of this type.
    All(TypeUrl),
    /// One resource.
    Named(TypeUrl, Arc<str>),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The client sent a request.
    Request(Request),
    /// The source changed. More than necessary does no harm; less leaves the proxy stale.
    Changed(&'a [Change]),
    /// The grace after a start begins or ends.
    Grace(bool),
    /// What the client rejected is to be tried once more: the reason may have been its machine's, a taken port say.
    Retry,
    /// Time passed.
    Tick,
}

/// One resource of a response.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The resource.
    pub rendered: Arc<Rendered>,
    /// Its version on this stream.
    pub version: Version,
}

/// A response to be sent.
#[derive(Clone, Debug)]
pub struct Response {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its nonce: counts the responses of the stream, from 1.
    pub nonce: u64,
    /// Resources that are new or changed.
    pub resources: Vec<Resource>,
    /// Names that no longer exist, or never did.
    pub removed: Vec<Arc<str>>,
}

/// Responses of one type on one stream, for insights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sent.
    pub sent: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Rejected.
    pub rejected: u64,
}

/// The state of one stream.
#[derive(Debug)]
pub struct Session {
    kinds: [Kind; TypeUrl::ALL.len()],
    nonce: u64,
    grace: bool,
    /// Since when listeners wait for clusters.
    listeners_wait: Option<Duration>,
}

impl Session {
    /// A stream that has just been opened. `remembered` is what [`into_memory`](Self::into_memory) of the
    /// proxy's last stream returned; `grace` is set for a while after a start on a store that forgets.
    pub fn new(remembered: Memory, grace: bool) -> Self {
        let mut session = Self { kinds: TypeUrl::ALL.map(Kind::new), nonce: 0, grace, listeners_wait: None };
        session.kinds.sort_by_key(|k| k.type_url);
        for (type_url, remembered) in remembered.0 {
            let kind = session.kind_mut(type_url);
            kind.rejected = remembered.rejected.into_iter().map(|(name, r)| (name, r.of_earlier_stream())).collect();
            kind.doubtful = remembered.doubtful;
        }
        session
    }

    /// Takes one event in; returns what is to be sent now, in this order.
    pub fn step(&mut self, now: Duration, event: Event<'_>, source: &dyn Source) -> Vec<Response> {
        match event {
            Event::Request(request) => self.request(now, request, source),
            Event::Changed(changes) => changes.iter().for_each(|change| match change {
                Change::Named(t, name) => {
                    self.kind_mut(*t).stale.insert(name.clone());
                }
                Change::All(t) => self.kind_mut(*t).all_stale = true,
            }),
            Event::Grace(grace) => {
                self.grace = grace;
                self.kinds.iter_mut().for_each(|k| k.all_stale = true);
            }
            Event::Retry => self.kinds.iter_mut().for_each(Kind::retry),
            Event::Tick => {}
        }
        TypeUrl::ALL.into_iter().filter_map(|t| self.plan(t, now, source)).collect()
    }

    /// When [`Event::Tick`] is due at the latest; `None` while nothing waits for time to pass.
    pub fn deadline(&self, now: Duration) -> Option<Duration> {
        let unacked = self.kinds.iter().filter(|k| k.has_work()).filter_map(|k| Some(k.flights.back()?.at + ACK_WAIT));
        let clusters = self.kind(TypeUrl::Cluster);
        let opening =
            clusters.since.filter(|_| clusters.has_work()).into_iter().flat_map(|at| [at + ACK_WAIT, at + WARM_WAIT]);
        let warming = self.listeners_wait.map(|at| at + WARM_WAIT);
        unacked.chain(opening).chain(warming).filter(|at| *at > now).min()
    }

    /// Whether the client has acknowledged everything that it is to have as far as the session knows.
    pub fn is_settled(&self) -> bool {
        self.kinds.iter().all(|k| k.flights.is_empty() && !k.has_work())
    }

    /// Whether the client has asked for this type.
    pub fn is_subscribed(&self, type_url: TypeUrl) -> bool {
        self.kind(type_url).since.is_some()
    }

    /// Names of a by-name type that the client is subscribed to.
    pub fn subscribed(&self, type_url: TypeUrl) -> impl Iterator<Item = &Arc<str>> {
        self.kind(type_url).subscribed.iter()
    }

    /// Whether the client has acknowledged a response of this type.
    pub fn counts(&self, type_url: TypeUrl) -> Counts {
        self.kind(type_url).counts
    }

    /// Resources that the client rejects, for showing to users.
    pub fn rejected(&self) -> impl Iterator<Item = Rejected<'_>> {
        self.kinds.iter().flat_map(|k| rejection::active(k.type_url, &k.rejected))
    }

    /// What is worth remembering for the proxy's next stream: rejected versions with the last good ones, and names of
    /// which the client may have another version than it will say.
    pub fn into_memory(self) -> Memory {
        let kinds = self.kinds.into_iter().map(|k| (k.type_url, k.into_memory()));
        Memory(kinds.filter(|(_, r)| !r.rejected.is_empty() || !r.doubtful.is_empty()).collect())
    }

    fn kind(&self, type_url: TypeUrl) -> &Kind {
        &self.kinds[type_url as usize]
    }

    fn kind_mut(&mut self, type_url: TypeUrl) -> &mut Kind {
        &mut self.kinds[type_url as usize]
    }

    fn request(&mut self, now: Duration, request: Request, source: &dyn Source) {
        let type_url = request.type_url;
        if let Some(nonce) = request.nonce {
            self.verdict(type_url, nonce, request.error.as_deref(), source);
        }
        let kind = self.kind_mut(type_url);
        let first = kind.since.is_none();
        if first {
            kind.open(now, request.initial_versions, request.subscribe.is_empty());
        }
        for name in request.unsubscribe {
            kind.unsubscribe(&name);
        }
        for name in request.subscribe {
            if type_url.is_wildcard() && &*name == "*" {
                kind.wildcard = true;
                kind.all_stale = true;
                continue;
            }
            // The shared name of the resource rather than one more copy per stream.
            let name = source.named(type_url, &name).map_or(name, |r| r.name.clone());
            kind.subscribe(name, first);
        }
        if first && !kind.wildcard {
            kind.held.retain(|name, _| kind.subscribed.contains(name));
        }
        if first && type_url == TypeUrl::Endpoint {
            // What it brings was for its clusters as they were, not for those that this stream has sent meanwhile.
            let sent = self.kind(TypeUrl::Cluster).held.iter().filter(|(_, h)| h.origin != Origin::Brought);
            let names: Vec<Arc<str>> = sent.map(|(name, _)| name.clone()).collect();
            let kind = self.kind_mut(type_url);
            for name in &names {
                kind.forget_endpoints(name);
            }
        }
    }

    /// An ack or a nack.
    fn verdict(&mut self, type_url: TypeUrl, nonce: u64, error: Option<&str>, source: &dyn Source) {
        let kind = self.kind_mut(type_url);
        let Some(at) = kind.flights.iter().position(|f| f.nonce == nonce) else { return };
        // Envoy answers in order: an answer to a later response means that the earlier ones were taken.
        for _ in 0..at {
            if let Some(earlier) = kind.flights.pop_front() {
                kind.doubt(&earlier.items);
                kind.accept(&earlier.items, earlier.nonce, source.own());
            }
        }
        let Some(flight) = kind.flights.pop_front() else { return };
        let Some(text) = error else {
            kind.counts.acked += 1;
            flight.items.iter().for_each(|i| drop(kind.doubtful.remove(&i.name)));
            kind.accept(&flight.items, nonce, source.own());
            return;
        };
        kind.counts.rejected += 1;
        let sent: Vec<Arc<str>> = flight.items.iter().filter(|i| i.sent.is_some()).map(|i| i.name.clone()).collect();
        let mut blamed = blame::blamed(text, &sent);
        if blamed.is_empty() && sent.len() == 1 {
            blamed = vec![(sent[0].clone(), blame::shorten(text))];
        }
        if blamed.is_empty() && !sent.is_empty() {
            kind.doubt(&flight.items);
            // Nobody is named: nothing counts as taken, and halves are sent until one is left.
            let versions = flight.items.iter().filter_map(|i| Some((i.name.clone(), i.sent.as_ref()?.version)));
            let suspects: Vec<(Arc<str>, Version)> = versions.collect();
            let (left, right) = suspects.split_at(suspects.len().div_ceil(2));
            kind.suspects.push_front(right.to_vec());
            kind.suspects.push_front(left.to_vec());
            for mut item in flight.items {
                item.before = item.uncertain();
                self.revert(type_url, item);
            }
            return;
        }
        let (bad, good): (Vec<Item>, Vec<Item>) =
            flight.items.into_iter().partition(|i| i.sent.is_some() && blamed.iter().any(|(n, _)| *n == i.name));
        // What is good of it has been applied, and the client does not count it as received.
        kind.doubt(&good);
        kind.accept(&good, nonce, source.own());
        for mut item in bad {
            let text = blamed.iter().find(|(n, _)| *n == item.name).map_or_else(Default::default, |(_, t)| t.clone());
            self.kind_mut(type_url).reject(&mut item, nonce, text, source.own());
            self.revert(type_url, item);
        }
    }

    /// The client still has what it had before this item.
    fn revert(&mut self, type_url: TypeUrl, item: Item) {
        let name = item.name.clone();
        let was_there = item.before.is_some();
        let kind = self.kind_mut(type_url);
        kind.revert(item);
        if type_url == TypeUrl::Cluster {
            let endpoints = self.kind_mut(TypeUrl::Endpoint);
            if !was_there {
                endpoints.expect_no_more(&name);
            }
            endpoints.stale.insert(name);
        }
    }

    /// What is to be sent of one type now, if anything.
    fn plan(&mut self, type_url: TypeUrl, now: Duration, source: &dyn Source) -> Option<Response> {
        let kind = self.kind(type_url);
        if !kind.has_work() || !kind.may_send(now) {
            return None;
        }
        let is_first = kind.owes_first;
        let draft = if type_url.is_wildcard() {
            self.draft_listed(type_url, now, source)
        } else {
            self.draft_named(type_url, now, source)
        };
        if draft.items.is_empty() && !draft.empty_answer {
            return None;
        }
        self.nonce += 1;
        let nonce = self.nonce;
        let kind = self.kind_mut(type_url);
        kind.responded = true;
        kind.owes_first = false;
        kind.counts.sent += 1;
        let mut response = Response { type_url, nonce, resources: Vec::new(), removed: Vec::new() };
        let mut items = Vec::with_capacity(draft.items.len());
        for (name, target) in draft.items {
            kind.owed.remove(&name);
            let before = kind.held.get(&name).cloned();
            let sent = target.map(|(rendered, version)| {
                let origin = before.as_ref().map_or(Origin::Sent, |b| b.origin.resent());
                response.resources.push(Resource { rendered: rendered.clone(), version });
                Held { version, rendered: Some(rendered), origin }
            });
            if let Some(held) = &sent {
                kind.held.insert(name.clone(), held.clone());
            } else {
                kind.held.remove(&name);
                response.removed.push(name.clone());
            }
            items.push(Item { name, before, sent });
        }
        if type_url == TypeUrl::Cluster {
            let endpoints = self.kind_mut(TypeUrl::Endpoint);
            let expects = !is_first && endpoints.since.is_some();
            for item in &items {
                match (&item.before, &item.sent) {
                    (_, None) => endpoints.expect_no_more(&item.name),
                    (before, Some(_)) => {
                        endpoints.forget_endpoints(&item.name);
                        if before.is_none() && expects && !endpoints.subscribed.contains(&item.name) {
                            endpoints.expected.insert(item.name.clone());
                        }
                    }
                }
            }
        }
        self.kind_mut(type_url).flights.push_back(Flight { nonce, at: now, items });
        Some(response)
    }
}

/// What a response is going to hold.
#[derive(Default)]
struct Draft {
    /// Resource and version on this stream by name; `None` removes.
    items: Vec<(Arc<str>, Option<(Arc<Rendered>, Version)>)>,
    /// Send it even if it holds nothing.
    empty_answer: bool,
    size: usize,
}

impl Draft {
    /// Adds a resource unless the response would get too large.
    fn add(&mut self, rendered: &Arc<Rendered>, version: Version, limit: usize) -> bool {
        // Name, version and type URL, apart from the message itself.
        let size = rendered.size_hint() + 2 * rendered.name.len() + 150;
        if !self.items.is_empty() && self.size + size > limit {
            return false;
        }
        self.size += size;
        self.items.push((rendered.name.clone(), Some((rendered.clone(), version))));
        true
    }

    fn remove(&mut self, name: &Arc<str>) {
        self.items.push((name.clone(), None));
    }
}
