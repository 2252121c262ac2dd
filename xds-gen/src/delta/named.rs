//! Drafts of responses of the types that are subscribed to by name: endpoints, secrets.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    Draft, LIMIT, Session,
    kind::{Held, Origin},
};
use crate::set::{Own, Rendered, Source, TypeUrl, Version};

impl Session {
    pub(super) fn draft_named(&mut self, type_url: TypeUrl, now: Duration, source: &dyn Source) -> Draft {
        if let Some(draft) = self.draft_suspects(type_url, now, source) {
            return draft;
        }
        let own = source.own();
        let mut draft = Draft::default();
        let mut left = BTreeSet::new();
        let warming = self.warming();
        for name in self.names_to_compare(type_url, &warming) {
            let kind = self.kind(type_url);
            let owed = kind.owed.contains(&name);
            let desired = source.named(type_url, &name);
            let Some(target) = desired.as_ref().and_then(|d| kind.acceptable(d, own)) else {
                if !kind.subscribed.contains(&name) {
                    // Expected, and there is nothing to be told: a cluster that needs no assignment.
                    continue;
                }
                // A missing resource is said to be missing once, to whoever asks: that ends Envoy's wait. The removal
                // of what it uses it would ignore. The same for a cluster that may be warming while its endpoints went:
                // under way on this stream (and sent again, it waits again, whatever it was told before), or brought from
                // another.
                let brought = |h: &Held| h.rendered.is_none() && !self.grace;
                let waits = || warming.contains(&name) || kind.held.get(&name).is_some_and(brought);
                let endpoints_went = type_url == TypeUrl::Endpoint && desired.is_none();
                if owed || (endpoints_went && waits()) {
                    draft.remove(&name);
                }
                continue;
            };
            let version = self.stream_version(type_url, &target, own);
            if !owed && self.client_has(type_url, &target, version, source) {
                continue;
            }
            let withheld = !owed && type_url == TypeUrl::Endpoint && self.is_withheld(&name, source);
            if withheld || !draft.add(&target, version, LIMIT) {
                left.insert(name);
            }
        }
        let kind = self.kind_mut(type_url);
        kind.all_stale = false;
        kind.expected.retain(|name| left.contains(name));
        kind.stale = left;
        draft
    }

    /// Clusters under way: they need their assignments to be acknowledged.
    fn warming(&self) -> BTreeSet<Arc<str>> {
        let under_way = self.kind(TypeUrl::Cluster).flights.iter().flat_map(|f| &f.items);
        under_way.filter(|i| i.sent.is_some()).map(|i| i.name.clone()).collect()
    }

    /// Names whose state may differ from the source, most urgent first: assignments of clusters that warm.
    fn names_to_compare(&self, type_url: TypeUrl, warming: &BTreeSet<Arc<str>>) -> Vec<Arc<str>> {
        let kind = self.kind(type_url);
        let names: Vec<Arc<str>> = if kind.all_stale {
            kind.subscribed.union(&kind.expected).cloned().collect()
        } else {
            let wanted = |name: &&Arc<str>| kind.subscribed.contains(*name) || kind.expected.contains(*name);
            kind.stale.union(&kind.owed).filter(wanted).cloned().collect()
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|n| warming.contains(n));
        first.extend(rest);
        first
    }

    /// The version of a resource on this stream. That of an assignment holds the version of the stream's cluster of
    /// the same name: Envoy forgets the endpoints of a cluster that changes.
    pub(super) fn stream_version(&self, type_url: TypeUrl, target: &Rendered, own: &Own) -> Version {
        let version = target.version_for(own);
        match self.kind(TypeUrl::Cluster).held.get(&target.name) {
            Some(cluster) if type_url == TypeUrl::Endpoint => Version::mix(&[version, cluster.version]),
            _ => version,
        }
    }

    /// Whether the client has this content, and needs no repetition of it. Recognizes what it brought.
    fn client_has(&mut self, type_url: TypeUrl, target: &Arc<Rendered>, version: Version, source: &dyn Source) -> bool {
        let own = source.own();
        let cluster = self.kind(TypeUrl::Cluster).held.contains_key(&target.name);
        let without_cluster = type_url == TypeUrl::Endpoint && !cluster;
        let Some(held) = self.kind_mut(type_url).held.get_mut(&target.name) else { return false };
        if without_cluster {
            // No cluster on this stream, so nothing warms: what counts is the content. Envoy may also ask for
            // endpoints before it asks for clusters; then what it brings fits the cluster that it is to have.
            if let Some(rendered) = held.rendered.as_ref().filter(|_| held.version != Version::UNKNOWN) {
                return rendered.version_for(own) == target.version_for(own);
            }
            let cluster = source.named(TypeUrl::Cluster, &target.name);
            let guess = cluster.map(|c| Version::mix(&[target.version_for(own), c.version_for(own)]));
            if guess != Some(held.version) && version != held.version {
                return false;
            }
        } else if held.version != version {
            return false;
        }
        held.rendered.get_or_insert_with(|| target.clone());
        true
    }

    /// In grace: the client brought an assignment of this name whose content is not known here.
    pub(super) fn is_unknown_assignment(&self, name: &str, source: &dyn Source) -> bool {
        let brought = |h: &Held| h.origin == Origin::Brought && h.rendered.is_none();
        let Some(held) = self.kind(TypeUrl::Endpoint).held.get(name).filter(|h| brought(h)) else { return false };
        let own = source.own();
        source
            .named(TypeUrl::Endpoint, name)
            .is_none_or(|target| self.stream_version(TypeUrl::Endpoint, &target, own) != held.version)
    }

    /// In grace: what the client brought stays, unless its cluster has been changed and waits for endpoints.
    fn is_withheld(&self, name: &str, source: &dyn Source) -> bool {
        let cluster_changed = self.kind(TypeUrl::Cluster).held.get(name).is_some_and(|h| h.origin == Origin::Changed);
        self.grace && !cluster_changed && self.is_unknown_assignment(name, source)
    }
}
