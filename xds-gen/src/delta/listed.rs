//! Drafts of cluster and listener responses: the whole list of the source is compared with what the client has.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    ACK_WAIT, Draft, FIRST_LIMIT, LIMIT, Session, WARM_WAIT,
    kind::{Held, Kind, Origin},
};
use crate::set::{Own, Rendered, Source, TypeUrl, Version};

/// What a client lacks, and what it has too much of.
#[derive(Default)]
struct Difference {
    /// New, changed, or to be repeated.
    changed: Vec<Arc<Rendered>>,
    /// No longer in the list.
    gone: Vec<Arc<str>>,
    /// Asked for by name, and not there.
    missing: Vec<Arc<str>>,
}

/// A set of cluster names, or all of them where it is not known which.
enum Names {
    All,
    Some(BTreeSet<Arc<str>>),
}

impl Names {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(name),
        }
    }

    /// The clusters that a listener uses, in any of the versions that the client may have.
    fn add_uses(&mut self, kind: &Kind, name: &str, held: &Held) {
        let doubt = kind.doubtful.get(name).filter(|_| held.version == Version::UNKNOWN);
        let unknown = match doubt {
            Some(doubt) => doubt.unknown,
            None => held.rendered.is_none(),
        };
        let possible = held.rendered.iter().chain(doubt.into_iter().flat_map(|d| &d.possible));
        for rendered in possible {
            match (&rendered.uses, &mut *self) {
                (None, _) => *self = Self::All,
                (Some(uses), Self::Some(names)) => names.extend(uses.iter().cloned()),
                (Some(_), Self::All) => {}
            }
        }
        if unknown {
            *self = Self::All;
        }
    }
}

impl Session {
    pub(super) fn draft_listed(&mut self, type_url: TypeUrl, now: Duration, source: &dyn Source) -> Draft {
        if let Some(draft) = self.draft_suspects(type_url, now, source) {
            return draft;
        }
        let Difference { changed, gone, missing } = self.difference(type_url, source);

        // Who has to wait, and for what.
        let unacked =
            if changed.is_empty() { BTreeSet::new() } else { self.clusters_to_wait_for(type_url, now, source) };
        let unknown_endpoints = if type_url == TypeUrl::Cluster && !changed.is_empty() && self.grace {
            self.changed_with_unknown_endpoints(now, source)
        } else {
            BTreeSet::new()
        };
        let in_use = if type_url == TypeUrl::Cluster && !gone.is_empty() {
            self.clusters_in_use(now, source)
        } else {
            Names::Some(BTreeSet::new())
        };
        let grace = self.grace;

        let kind = self.kind_mut(type_url);
        let limit = if kind.opened { LIMIT } else { FIRST_LIMIT };
        let mut draft = Draft::default();
        let mut left = BTreeSet::new();
        let mut waits = false;
        let mut full = false;
        // A name that is known before its address is listened at leads nowhere.
        let (others, telling): (Vec<_>, Vec<_>) = changed.into_iter().partition(|target| !target.tells_of_others);
        for target in others.into_iter().chain(telling) {
            if uses_any(&target, &unacked) || (waits && target.tells_of_others) {
                waits = true;
                left.insert(target.name.clone());
            } else if unknown_endpoints.contains(&target.name) {
                left.insert(target.name.clone());
            } else if full || !draft.add(&target, target.version_for(source.own()), limit) {
                full = true;
                left.insert(target.name.clone());
            }
        }
        for name in gone {
            let brought = kind.held.get(&name).is_some_and(|h| matches!(h.origin, Origin::Brought | Origin::Changed));
            if (grace && brought) || in_use.has(&name) {
                left.insert(name);
            } else {
                draft.remove(&name);
            }
        }
        for name in &missing {
            draft.remove(name);
        }

        if waits && !kind.responded && kind.owes_first {
            // The first response is whole: Envoy calls itself ready after it.
            left.extend(draft.items.drain(..).map(|(name, _)| name));
        }
        draft.empty_answer = kind.owes_first && !waits;
        kind.opened |= !full && !waits;
        kind.all_stale = false;
        kind.stale = left;
        if type_url == TypeUrl::Listener {
            self.listeners_wait = if waits { self.listeners_wait.or(Some(now)) } else { None };
        }
        draft
    }

    /// Where the client differs from the list, as far as names are stale.
    fn difference(&mut self, type_url: TypeUrl, source: &dyn Source) -> Difference {
        let own = source.own();
        let list = source.listed(type_url);
        let desired = |name: &str| list.binary_search_by(|r| (*r.name).cmp(name)).ok().map(|at| &list[at]);
        let kind = self.kind_mut(type_url);
        let mut out = Difference::default();
        let mut present = |kind: &mut Kind, desired: &Arc<Rendered>| {
            let owed = kind.owed.contains(&desired.name);
            match kind.acceptable(desired, own) {
                Some(target) if owed || !kind.has(&target, own) => out.changed.push(target),
                None if owed => out.missing.push(desired.name.clone()),
                Some(_) | None => {}
            }
        };
        let absent: Vec<Arc<str>> = if kind.all_stale {
            for r in list {
                if kind.wants(&r.name) {
                    present(kind, r);
                }
            }
            let names = kind.held.keys().chain(&kind.owed).chain(kind.rejected.keys());
            let absent: BTreeSet<&Arc<str>> = names.filter(|name| desired(name).is_none()).collect();
            absent.into_iter().cloned().collect()
        } else {
            let names: Vec<Arc<str>> = kind.stale.union(&kind.owed).cloned().collect();
            for r in names.iter().filter_map(|name| desired(name)) {
                if kind.wants(&r.name) {
                    present(kind, r);
                }
            }
            names.into_iter().filter(|name| desired(name).is_none()).collect()
        };
        for name in absent {
            kind.rejected.remove(&name);
            if kind.held.contains_key(&name) {
                out.gone.push(name);
            } else if kind.owed.contains(&name) {
                out.missing.push(name);
            }
        }
        out
    }

    /// The next group of suspects, if there are any, on its own.
    pub(super) fn draft_suspects(&mut self, type_url: TypeUrl, now: Duration, source: &dyn Source) -> Option<Draft> {
        if self.kind(type_url).suspects.is_empty() {
            return None;
        }
        let own = source.own();
        let unacked = self.clusters_to_wait_for(type_url, now, source);
        while let Some(group) = self.kind_mut(type_url).suspects.pop_front() {
            let mut draft = Draft::default();
            for (name, suspected) in group {
                let kind = self.kind(type_url);
                let Some(desired) = source.named(type_url, &name).filter(|_| kind.wants(&name)) else { continue };
                let Some(target) = kind.acceptable(&desired, own) else { continue };
                let version = self.stream_version(type_url, &target, own);
                if version != suspected && uses_any(&target, &unacked) {
                    // It has changed meanwhile, and is stale like any other.
                    continue;
                }
                if self.kind(type_url).held.get(&name).is_none_or(|h| h.version != version) {
                    draft.add(&target, version, usize::MAX);
                }
            }
            if !draft.items.is_empty() {
                return Some(draft);
            }
        }
        None
    }

    /// Clusters that the listeners that use them wait for now.
    fn clusters_to_wait_for(&self, type_url: TypeUrl, now: Duration, source: &dyn Source) -> BTreeSet<Arc<str>> {
        if type_url == TypeUrl::Listener && !self.warm_wait_over(now) {
            self.unacked_clusters(now, source)
        } else {
            BTreeSet::new()
        }
    }

    fn warm_wait_over(&self, now: Duration) -> bool {
        self.listeners_wait.is_some_and(|since| now.saturating_sub(since) >= WARM_WAIT)
    }

    /// Clusters that the client is to have and has not acknowledged in any version.
    fn unacked_clusters(&self, now: Duration, source: &dyn Source) -> BTreeSet<Arc<str>> {
        let kind = self.kind(TypeUrl::Cluster);
        if kind.since.is_none() {
            // The request for clusters may be on its way behind the one for listeners.
            let opened = self.kind(TypeUrl::Listener).since.unwrap_or(now);
            let waited = now.saturating_sub(opened) >= WARM_WAIT;
            let all = source.listed(TypeUrl::Cluster).iter().map(|r| r.name.clone());
            return if waited { BTreeSet::new() } else { all.collect() };
        }
        let under_way = kind.flights.iter().flat_map(|f| &f.items);
        let known = |before: Option<&Held>| before.is_some_and(Held::is_certain);
        let new = under_way.filter(|i| !known(i.before.as_ref()) && i.sent.is_some()).map(|i| i.name.clone());
        let unsent = source
            .listed(TypeUrl::Cluster)
            .iter()
            .filter(|r| kind.wants(&r.name) && !known(kind.held.get(&r.name)))
            .filter(|r| kind.acceptable(r, source.own()).is_some())
            .map(|r| r.name.clone());
        new.chain(unsent).collect()
    }

    /// Clusters that listeners use which the client may still have, apart from current ones: those agree with the
    /// current clusters.
    fn clusters_in_use(&self, now: Duration, source: &dyn Source) -> Names {
        let clusters = self.kind(TypeUrl::Cluster);
        let listeners = self.kind(TypeUrl::Listener);
        let Some(opened) = clusters.since else { return Names::All };
        if listeners.since.is_none() {
            // The request for listeners may be on its way behind the one for clusters.
            let waited = now.saturating_sub(opened) >= WARM_WAIT;
            return if waited { Names::Some(BTreeSet::new()) } else { Names::All };
        }
        if !listeners.suspects.is_empty() {
            return Names::All;
        }
        let mut names = Names::Some(BTreeSet::new());
        let own = source.own();
        for (name, held) in &listeners.held {
            let current = source.named(TypeUrl::Listener, name).is_some_and(|r| held.version == r.version_for(own));
            if !current {
                names.add_uses(listeners, name, held);
            }
        }
        for item in listeners.flights.iter().flat_map(|f| &f.items) {
            if let Some(before) = &item.before {
                names.add_uses(listeners, &item.name, before);
            }
        }
        names
    }

    /// In grace: clusters that the client brought, that are to change, and whose endpoints it may have more of than
    /// have come back. A changed cluster needs its assignment again, and that would take endpoints away.
    fn changed_with_unknown_endpoints(&self, now: Duration, source: &dyn Source) -> BTreeSet<Arc<str>> {
        let clusters = self.kind(TypeUrl::Cluster);
        let endpoints = self.kind(TypeUrl::Endpoint);
        let brought = clusters.held.iter().filter(|(_, h)| h.origin == Origin::Brought && h.rendered.is_none());
        if endpoints.since.is_none() {
            // The request for endpoints may be on its way behind the one for clusters.
            let waited = clusters.since.is_some_and(|at| now.saturating_sub(at) >= ACK_WAIT);
            return if waited { BTreeSet::new() } else { brought.map(|(n, _)| n.clone()).collect() };
        }
        brought.filter(|(name, _)| self.is_unknown_assignment(name, source)).map(|(n, _)| n.clone()).collect()
    }
}

impl Kind {
    /// Whether the client has this content. Recognizes what it brought.
    fn has(&mut self, target: &Arc<Rendered>, own: &Own) -> bool {
        let Some(held) = self.held.get_mut(&target.name) else { return false };
        let pointer = held.rendered.as_ref().is_some_and(|r| Arc::ptr_eq(r, target) && r.is_shared());
        let same = (pointer && held.version != Version::UNKNOWN) || held.version == target.version_for(own);
        if same && held.rendered.is_none() {
            held.rendered = Some(target.clone());
        }
        same
    }
}

fn uses_any(listener: &Rendered, clusters: &BTreeSet<Arc<str>>) -> bool {
    match &listener.uses {
        None => !clusters.is_empty(),
        Some(uses) => uses.iter().any(|name| clusters.contains(name)),
    }
}
