//! A client that does what Envoy does on delta ADS, over text instead of configuration.
//!
//! Contents: a cluster is `eds:N`, `static:N` or `bad:N`; a listener `N:USES` with names separated by commas, or
//! `bad:N:USES`; endpoints and secrets are `N` or `bad:N`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;

/// A resource that the client runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) content: String,
    /// A cluster that waits for its endpoints: a new one does not serve, a changed one serves as before.
    pub(super) warming: bool,
    pub(super) new: bool,
}

/// A cluster that a listener uses is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    what: &'static str,
    pub(super) listener: String,
    pub(super) cluster: String,
}

impl Complaint {
    fn new(what: &'static str, listener: &str, cluster: &str) -> Self {
        Self { what, listener: listener.to_owned(), cluster: cluster.to_owned() }
    }
}

/// One process with its stream to the server.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) running: BTreeMap<TypeUrl, BTreeMap<String, Running>>,
    /// Versions of responses that were acknowledged.
    recorded: BTreeMap<TypeUrl, BTreeMap<String, Version>>,
    subscribed: BTreeMap<TypeUrl, BTreeSet<String>>,
    /// Answers to cluster responses are withheld while clusters warm.
    withheld: VecDeque<Request>,
    pub(super) to_server: VecDeque<Request>,
    /// Whether the text of a rejection names the bad ones.
    names_the_bad: bool,
    /// Rejected resources that a text named, or that were alone in their response.
    pub(super) blamed: Vec<(u64, TypeUrl, String, String)>,
}

impl Client {
    pub(super) fn new(names_the_bad: bool) -> Self {
        Self {
            running: BTreeMap::new(),
            recorded: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            withheld: VecDeque::new(),
            to_server: VecDeque::new(),
            names_the_bad,
            blamed: Vec::new(),
        }
    }

    pub(super) fn names_the_bad(&self) -> bool {
        self.names_the_bad
    }

    pub(super) fn running(&self, type_url: TypeUrl) -> BTreeMap<String, Running> {
        self.running.get(&type_url).cloned().unwrap_or_default()
    }

    pub(super) fn is_subscribed(&self, type_url: TypeUrl, name: &str) -> bool {
        self.subscribed.get(&type_url).is_some_and(|s| s.contains(name))
    }

    /// Whether the client reports nothing of a type when it comes back: like a new process.
    pub(super) fn has_nothing(&self, type_url: TypeUrl) -> bool {
        self.recorded.get(&type_url).is_none_or(BTreeMap::is_empty)
    }

    /// Opens a stream: the first request of each type, in this order.
    pub(super) fn connect(&mut self, order: &[TypeUrl]) {
        self.to_server.clear();
        self.withheld.clear();
        for t in order {
            let subscribe: Vec<String> = self.subscribed.get(t).into_iter().flatten().cloned().collect();
            if !t.is_wildcard() && subscribe.is_empty() {
                continue;
            }
            let recorded = self.recorded.get(t).into_iter().flatten();
            let initial_versions = recorded.map(|(n, v)| (Arc::from(n.as_str()), Some(*v))).collect();
            let subscribe = subscribe.iter().map(|n| Arc::from(n.as_str())).collect();
            self.to_server.push_back(Request { subscribe, initial_versions, ..request(*t, &[], &[]) });
        }
    }

    pub(super) fn subscribe(&mut self, type_url: TypeUrl, name: &str) {
        if self.subscribed.entry(type_url).or_default().insert(name.to_owned()) {
            self.to_server.push_back(request(type_url, &[name], &[]));
        }
    }

    pub(super) fn unsubscribe(&mut self, type_url: TypeUrl, name: &str) {
        if self.subscribed.entry(type_url).or_default().remove(name) {
            self.running.entry(type_url).or_default().remove(name);
            self.recorded.entry(type_url).or_default().remove(name);
            self.to_server.push_back(request(type_url, &[], &[name]));
        }
    }

    /// Takes a response; the answer is queued, maybe later. Returns complaints about its order.
    pub(super) fn take(&mut self, sent: &Sent) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let t = sent.type_url;
        let mut bad = Vec::new();
        for (name, content) in &sent.resources {
            if !t.is_wildcard() && !self.is_subscribed(t, name) {
                continue;
            }
            if content.starts_with("bad") {
                bad.push(name.clone());
                continue;
            }
            if t == Listener {
                complaints.extend(self.missing_clusters(name, content));
            }
            self.run(t, name, content);
        }
        for name in &sent.removed {
            if t == Cluster {
                complaints.extend(self.users(name));
                self.running.entry(t).or_default().remove(name);
                self.unsubscribe(Endpoint, name);
            } else if t == Listener {
                self.running.entry(t).or_default().remove(name);
            } else if t == Endpoint {
                self.warmed(name);
            }
        }
        self.answer(sent, &bad);
        complaints
    }

    fn run(&mut self, t: TypeUrl, name: &str, content: &str) {
        let eds = t == Cluster && content.starts_with("eds");
        let all = self.running.entry(t).or_default();
        let before = all.get(name).cloned();
        let changed = before.as_ref().is_none_or(|b| b.content != content);
        if changed {
            let new = before.as_ref().is_none_or(|b| b.new && b.warming);
            all.insert(name.to_owned(), Running { content: content.to_owned(), warming: eds, new });
        }
        match t {
            Cluster if eds => self.subscribe(Endpoint, name),
            Cluster => self.unsubscribe(Endpoint, name),
            Endpoint => self.warmed(name),
            _ => {}
        }
    }

    fn warmed(&mut self, cluster: &str) {
        if let Some(running) = self.running.entry(Cluster).or_default().get_mut(cluster) {
            running.warming = false;
        }
    }

    /// Clusters that a listener uses and that do not serve.
    fn missing_clusters(&self, listener: &str, content: &str) -> Vec<Complaint> {
        let clusters = self.running(Cluster);
        let serves = |name: &str| clusters.get(name).is_some_and(|c| !(c.new && c.warming));
        uses(content)
            .filter(|name| !serves(name))
            .map(|name| Complaint::new("used and not there", listener, name))
            .collect()
    }

    /// Listeners that use this cluster.
    fn users(&self, cluster: &str) -> Vec<Complaint> {
        let listeners = self.running(Listener);
        let using = listeners.iter().filter(|(_, l)| uses(&l.content).any(|u| u == cluster));
        using.map(|(name, _)| Complaint::new("removed and in use", name, cluster)).collect()
    }

    fn answer(&mut self, sent: &Sent, bad: &[String]) {
        let t = sent.type_url;
        let mut answer = Request { nonce: Some(sent.nonce), ..request(t, &[], &[]) };
        if bad.is_empty() {
            let recorded = self.recorded.entry(t).or_default();
            let subscribed = self.subscribed.entry(t).or_default();
            let keep = |name: &&String| t.is_wildcard() || subscribed.contains(*name);
            recorded.extend(sent.versions.iter().filter(|(n, _)| keep(n)).map(|(n, v)| (n.clone(), *v)));
            sent.removed.iter().for_each(|name| {
                recorded.remove(name);
            });
        } else {
            let alone = sent.resources.len() == 1;
            for name in bad.iter().filter(|_| self.names_the_bad || alone) {
                let content = sent.resources.iter().find(|(n, _)| n == name).map(|(_, c)| c.clone()).unwrap();
                self.blamed.push((sent.nonce, t, name.clone(), content));
            }
            let list = bad.iter().map(|n| format!("{n}: bad")).collect::<Vec<_>>().join(", ");
            answer.error =
                Some(if self.names_the_bad { format!("Error adding/updating x(s) {list}") } else { "no".into() });
        }
        if t == Cluster {
            self.withheld.push_back(answer);
        } else {
            self.to_server.push_back(answer);
        }
        self.release();
    }

    /// Answers about clusters go out when none is warming.
    pub(super) fn release(&mut self) {
        if !self.running(Cluster).values().any(|c| c.warming) {
            self.to_server.append(&mut self.withheld);
        }
    }

    pub(super) fn warming(&self) -> Vec<String> {
        self.running(Cluster).into_iter().filter(|(_, c)| c.warming).map(|(name, _)| name).collect()
    }

    /// Envoy's own limit: clusters that got no endpoints go on without.
    pub(super) fn give_up_warming(&mut self) -> Vec<String> {
        let waiting = self.warming();
        for name in &waiting {
            self.warmed(name);
        }
        self.release();
        waiting
    }
}

/// Names of the clusters that a listener uses.
pub(super) fn uses(content: &str) -> impl Iterator<Item = &str> {
    content.rsplit(':').next().unwrap_or_default().split(',').filter(|u| !u.is_empty())
}
