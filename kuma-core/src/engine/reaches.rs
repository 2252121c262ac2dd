//! Lists of outbounds, each kept once, whoever has it; kept apart from classes, since thousands of proxies may each
//! reach something else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::Counters;
use crate::{
    ir::{DnsConfig, Name},
    plan::{Destination, Destinations, OutboundRef, ReachInputs, dns_config, hostnames, reach},
};

/// Identity of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ReachId(u64);

impl std::fmt::Display for ReachId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A list of outbounds with what follows from it.
#[derive(Debug)]
pub(super) struct Reach {
    inputs: ReachInputs,
    /// The outbounds.
    pub(super) outbounds: Arc<[OutboundRef]>,
    hostnames: Arc<[(Name, Name)]>,
    /// DNS records by what else they depend on: labels of the metrics, and mapped addresses beside the real ones.
    dns: BTreeMap<(BTreeMap<String, String>, bool), Arc<DnsConfig>>,
}

/// Lists that came out different.
#[derive(Debug, Default)]
pub(super) struct ReachDelta {
    /// Other outbounds.
    pub(super) outbounds: BTreeSet<ReachId>,
    /// Other hostnames.
    pub(super) hostnames: BTreeSet<ReachId>,
}

/// All lists of a mesh.
#[derive(Debug, Default)]
pub(super) struct Reaches {
    ids: HashMap<ReachInputs, ReachId>,
    lists: BTreeMap<ReachId, Reach>,
    next: u64,
}

impl Reach {
    fn new(inputs: ReachInputs, destinations: &Destinations) -> Self {
        let outbounds: Arc<[OutboundRef]> = reach(&inputs, destinations).into();
        let hostnames = hostnames(&outbounds, destinations).into();
        Self { inputs, outbounds, hostnames, dns: BTreeMap::new() }
    }

    /// DNS records of a proxy with this list.
    pub(super) fn dns(&mut self, labels: BTreeMap<String, String>, mapped: bool) -> Arc<DnsConfig> {
        let names = &self.hostnames;
        self.dns
            .entry((labels, mapped))
            .or_insert_with_key(|(labels, mapped)| Arc::new(dns_config(labels.clone(), names.iter().cloned(), *mapped)))
            .clone()
    }
}

impl Reaches {
    /// The list that these inputs lead to.
    pub(super) fn id(&mut self, inputs: ReachInputs, destinations: &Destinations, counters: &mut Counters) -> ReachId {
        if let Some(id) = self.ids.get(&inputs) {
            return *id;
        }
        counters.reaches += 1;
        self.next += 1;
        let id = ReachId(self.next);
        self.ids.insert(inputs.clone(), id);
        self.lists.insert(id, Reach::new(inputs, destinations));
        id
    }

    /// A list.
    pub(super) fn get(&self, id: ReachId) -> Option<&Reach> {
        self.lists.get(&id)
    }

    /// A list, to ask for its DNS records.
    pub(super) fn get_mut(&mut self, id: ReachId) -> Option<&mut Reach> {
        self.lists.get_mut(&id)
    }

    /// Takes in destinations that differ, given as they were and as they are.
    pub(super) fn update(
        &mut self,
        changed: &[Arc<Destination>],
        destinations: &Destinations,
        counters: &mut Counters,
    ) -> ReachDelta {
        let mut delta = ReachDelta::default();
        if changed.is_empty() {
            return delta;
        }
        for (id, list) in &mut self.lists {
            if !changed.iter().any(|d| list.inputs.about(d)) {
                continue;
            }
            counters.reaches += 1;
            let new = Reach::new(list.inputs.clone(), destinations);
            if new.outbounds != list.outbounds {
                delta.outbounds.insert(*id);
                list.outbounds = new.outbounds;
            }
            if new.hostnames != list.hostnames {
                delta.hostnames.insert(*id);
                list.hostnames = new.hostnames;
                list.dns.clear();
            }
        }
        delta
    }

    /// Forgets lists that nobody has.
    pub(super) fn retain(&mut self, used: &BTreeSet<ReachId>) {
        self.lists.retain(|id, _| used.contains(id));
        self.ids.retain(|_, id| used.contains(id));
    }
}
