//! Streams as the shell drives them: each knows only what it was woken for.

use std::{collections::BTreeMap, sync::Arc};

use kuma_core::{
    engine::{EndpointTable, ProxySet, Render, StreamId, Wake},
    ir::{Name, Own},
    plan::{MeshFacts, Names, NodeFacts, PlanSettings, ProxyFacts, plan_proxy},
    state::MeshState,
};

use crate::printer::{Printer, Unit};

/// Listeners, clusters, endpoints by name, and what fills placeholders.
pub(crate) type Has = [BTreeMap<Name, String>; 4];

fn own(own: &Own) -> BTreeMap<Name, String> {
    BTreeMap::from([("own".into(), serde_json::to_string(own).unwrap())])
}

/// A stream of a proxy.
pub(crate) struct Client {
    pub(crate) stream: StreamId,
    pub(crate) proxy: Name,
    pub(crate) node: Arc<NodeFacts>,
    pub(crate) has: Option<Has>,
    /// Where endpoints are, since the first set.
    pub(crate) table: Option<Arc<EndpointTable<Unit>>>,
}

fn texts<'a>(units: impl IntoIterator<Item = &'a Unit>) -> BTreeMap<Name, String> {
    units.into_iter().map(|u| (u.name.clone(), u.text.clone())).collect()
}

fn sorted(set: &ProxySet<Unit>) -> bool {
    set.listeners.is_sorted_by(|a, b| a.name < b.name) && set.clusters.is_sorted_by(|a, b| a.name < b.name)
}

impl Client {
    pub(crate) fn new(stream: StreamId, proxy: &str, node: &Arc<NodeFacts>) -> Self {
        Self { stream, proxy: proxy.into(), node: node.clone(), has: None, table: None }
    }

    /// Takes in a wake, and says what is wrong with it.
    pub(crate) fn wake(&mut self, wake: &Wake<Unit>) -> Result<(), String> {
        let before = self.has.clone();
        if let Some((set, table)) = &wake.set {
            if !sorted(set) {
                return Err("the lists are not sorted, or hold a name twice".into());
            }
            let endpoints = set.clusters.iter().filter_map(|c| table.get(&c.name)).collect::<Vec<_>>();
            self.has =
                Some([texts(set.listeners.iter()), texts(set.clusters.iter()), texts(&endpoints), own(&set.own)]);
            self.table = Some(table.clone());
        }
        for name in &wake.endpoints {
            let unit = self.table.as_ref().and_then(|t| t.get(name)).ok_or("woken for endpoints that are not there")?;
            let [_, _, endpoints, _] = self.has.as_mut().ok_or("woken for endpoints without a set")?;
            if !endpoints.contains_key(name) {
                return Err(format!("woken for the endpoints of {name}, a cluster that it does not have"));
            }
            endpoints.insert(name.clone(), unit.text.clone());
        }
        if before.is_some() && before == self.has {
            return Err("woken for nothing".into());
        }
        Ok(())
    }
}

/// What a proxy has by a plan from scratch; `None` without a Dataplane.
pub(crate) fn from_scratch(state: &MeshState, names: &Names, settings: &PlanSettings, client: &Client) -> Option<Has> {
    let facts = MeshFacts::of(state, "default", names);
    let proxy = ProxyFacts::new(facts.dataplanes.get(&client.proxy)?.clone(), &client.node);
    let plan = plan_proxy(&facts, settings, &proxy, false);
    let printer = Printer;
    let mut listeners: Vec<Unit> = plan.outbounds.values().map(|o| printer.outbound(o)).collect();
    let mut clusters: Vec<Unit> = plan.clusters.values().map(|c| printer.cluster(c)).collect();
    for inbound in plan.inbounds.values() {
        let (listener, cluster) = printer.inbound(inbound);
        listeners.push(listener);
        clusters.push(cluster);
    }
    let wide = printer.wide(&plan.wide);
    listeners.extend(wide.listeners);
    listeners.extend(plan.wide.admin.as_ref().and_then(|a| printer.admin(a, &proxy.own)));
    let endpoints: Vec<Unit> = plan.endpoints.iter().map(|(name, e)| printer.endpoints(name, e)).collect();
    Some([texts(&listeners), texts(&clusters), texts(&endpoints), own(&proxy.own)])
}
