//! The Dataplanes of one workload: what they ask for and how many they are, kept up to date one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;

use super::services::Wanted;
use crate::resources::{MeshServicePort, WorkloadProxies};

/// One Dataplane of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Replica {
    pub(super) created: Timestamp,
    /// The ports that it asks for; without any it asks for no service.
    pub(super) ports: Vec<MeshServicePort>,
    /// What it adds to the counts of the workload.
    pub(super) counts: WorkloadProxies,
}

/// What a change of one Dataplane changed of its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// What is asked for.
    pub(super) wanted: bool,
    /// The counts.
    pub(super) counts: bool,
}

/// All Dataplanes of a workload.
#[derive(Debug, Default)]
pub(super) struct Replicas {
    by_name: BTreeMap<Arc<str>, Replica>,
    /// Those with ports, oldest first.
    by_age: BTreeSet<(Timestamp, Arc<str>)>,
    /// How many have these ports.
    layouts: BTreeMap<Vec<MeshServicePort>, usize>,
    counts: WorkloadProxies,
}

impl Replicas {
    /// Replaces what is known of one Dataplane.
    pub(super) fn set(&mut self, name: &Arc<str>, new: Option<Replica>) -> Changed {
        let old = self.by_name.remove(name);
        let asks = |replica: &Option<Replica>| replica.as_ref().map(|r| (r.created, r.ports.clone()));
        let counts = |replica: &Option<Replica>| replica.as_ref().map(|r| r.counts);
        let changed = Changed { wanted: asks(&old) != asks(&new), counts: counts(&old) != counts(&new) };
        if let Some(old) = old {
            add(&mut self.counts, old.counts, -1);
            if !old.ports.is_empty() {
                self.by_age.remove(&(old.created, name.clone()));
                if let Some(many) = self.layouts.get_mut(&old.ports) {
                    *many -= 1;
                    if *many == 0 {
                        self.layouts.remove(&old.ports);
                    }
                }
            }
        }
        if let Some(new) = new {
            add(&mut self.counts, new.counts, 1);
            if !new.ports.is_empty() {
                self.by_age.insert((new.created, name.clone()));
                *self.layouts.entry(new.ports.clone()).or_default() += 1;
            }
            self.by_name.insert(name.clone(), new);
        }
        changed
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// What they ask for together, beside a service that has the ports `stored`.
    pub(super) fn wanted(&self, stored: Option<&[MeshServicePort]>) -> Option<Wanted<'_>> {
        let (since, oldest) = self.by_age.first()?;
        Some(Wanted {
            since: *since,
            ports: &self.by_name.get(oldest)?.ports,
            confirmed: stored.is_some_and(|ports| self.layouts.contains_key(ports)),
        })
    }

    /// How many they are.
    pub(super) fn counts(&self) -> WorkloadProxies {
        self.counts
    }
}

fn add(sum: &mut WorkloadProxies, of: WorkloadProxies, sign: i32) {
    let WorkloadProxies { connected, healthy, total } = of;
    sum.connected += sign * connected;
    sum.healthy += sign * healthy;
    sum.total += sign * total;
}
