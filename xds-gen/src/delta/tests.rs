//! One test per rule, and a property over a client that behaves like Envoy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::*;
use crate::set::{Own, ResourceSet, Template, TypeUrl::*};

mod grace;
mod model;
mod property;
mod rejection;
mod rules;

const MS: Duration = Duration::from_millis(1);

fn resource(type_url: TypeUrl, name: &str, content: &str) -> Rendered {
    Rendered::new(type_url, name, Bytes::copy_from_slice(content.as_bytes()))
}

fn listener(name: &str, content: &str, uses: &[&str]) -> Rendered {
    resource(Listener, name, content).using(uses.iter().map(|u| Arc::from(*u)))
}

/// A session with its source and a clock that the test moves.
struct Rig {
    session: Session,
    set: ResourceSet,
    now: Duration,
}

impl Rig {
    fn new(resources: impl IntoIterator<Item = Rendered>) -> Self {
        Self::with(Session::new(Memory::default(), false), resources)
    }

    fn with(session: Session, resources: impl IntoIterator<Item = Rendered>) -> Self {
        let mut set = ResourceSet::default();
        resources.into_iter().for_each(|r| set.insert(r));
        Self { session, set, now: Duration::ZERO }
    }

    fn step(&mut self, event: Event<'_>) -> Vec<Sent> {
        self.now += MS;
        self.session.step(self.now, event, &self.set).iter().map(Sent::of).collect()
    }

    /// The first request of a type.
    fn open(&mut self, type_url: TypeUrl, subscribe: &[&str], initial: &[(&str, Version)]) -> Vec<Sent> {
        let initial_versions = initial.iter().map(|(n, v)| (Arc::from(*n), Some(*v))).collect();
        self.step(Event::Request(Request { initial_versions, ..request(type_url, subscribe, &[]) }))
    }

    fn subscribe(&mut self, type_url: TypeUrl, names: &[&str]) -> Vec<Sent> {
        self.step(Event::Request(request(type_url, names, &[])))
    }

    fn unsubscribe(&mut self, type_url: TypeUrl, names: &[&str]) -> Vec<Sent> {
        self.step(Event::Request(request(type_url, &[], names)))
    }

    fn ack(&mut self, sent: &Sent) -> Vec<Sent> {
        self.step(Event::Request(Request { nonce: Some(sent.nonce), ..request(sent.type_url, &[], &[]) }))
    }

    fn nack(&mut self, sent: &Sent, text: &str) -> Vec<Sent> {
        let error = Some(text.to_owned());
        self.step(Event::Request(Request { nonce: Some(sent.nonce), error, ..request(sent.type_url, &[], &[]) }))
    }

    /// Puts resources into the set and says so.
    fn put(&mut self, resources: impl IntoIterator<Item = Rendered>) -> Vec<Sent> {
        let mut changes = Vec::new();
        for r in resources {
            changes.push(Change::Named(r.type_url, r.name.clone()));
            self.set.insert(r);
        }
        self.step(Event::Changed(&changes))
    }

    fn remove(&mut self, names: &[(TypeUrl, &str)]) -> Vec<Sent> {
        let changes: Vec<_> = names
            .iter()
            .map(|(t, name)| {
                self.set.remove(*t, name);
                Change::Named(*t, Arc::from(*name))
            })
            .collect();
        self.step(Event::Changed(&changes))
    }

    /// Lets time pass.
    fn wait(&mut self, time: Duration) -> Vec<Sent> {
        self.now += time;
        self.step(Event::Tick)
    }

    /// Acknowledges everything until nothing more comes; returns all that came.
    fn ack_all(&mut self, sent: Vec<Sent>) -> Vec<Sent> {
        let mut all = Vec::new();
        let mut queue = std::collections::VecDeque::from(sent);
        while let Some(next) = queue.pop_front() {
            queue.extend(self.ack(&next));
            all.push(next);
            assert!(all.len() < 1000, "the session never rests");
        }
        all
    }
}

fn request(type_url: TypeUrl, subscribe: &[&str], unsubscribe: &[&str]) -> Request {
    let names = |names: &[&str]| names.iter().map(|n| Arc::from(*n)).collect();
    Request {
        type_url,
        subscribe: names(subscribe),
        unsubscribe: names(unsubscribe),
        initial_versions: BTreeMap::new(),
        nonce: None,
        error: None,
    }
}

/// A response in a form that is short to write down.
#[derive(Clone, Debug)]
struct Sent {
    type_url: TypeUrl,
    nonce: u64,
    /// Names and contents.
    resources: Vec<(String, String)>,
    versions: BTreeMap<String, Version>,
    removed: Vec<String>,
}

impl Sent {
    fn of(response: &Response) -> Self {
        let content = |r: &Resource| String::from_utf8(r.rendered.value(&Own::default()).to_vec()).unwrap();
        Self {
            type_url: response.type_url,
            nonce: response.nonce,
            resources: response.resources.iter().map(|r| (r.rendered.name.to_string(), content(r))).collect(),
            versions: response.resources.iter().map(|r| (r.rendered.name.to_string(), r.version)).collect(),
            removed: response.removed.iter().map(ToString::to_string).collect(),
        }
    }

    /// `name=content` and `-name`, in order.
    fn text(&self) -> String {
        let there = self.resources.iter().map(|(n, c)| format!("{n}={c}"));
        let gone = self.removed.iter().map(|n| format!("-{n}"));
        there.chain(gone).collect::<Vec<_>>().join(" ")
    }
}

/// Types and contents of responses.
fn brief(sent: &[Sent]) -> Vec<(TypeUrl, String)> {
    sent.iter().map(|s| (s.type_url, s.text())).collect()
}

fn want(sent: &[(TypeUrl, &str)]) -> Vec<(TypeUrl, String)> {
    sent.iter().map(|(t, text)| (*t, (*text).to_owned())).collect()
}
