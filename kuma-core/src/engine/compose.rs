//! From units to the sorted lists of one proxy, each distinct unit rendered once.

use std::{any::Any, sync::Arc};

use super::{
    Counters, ProxySet, Render,
    render::WideUnits,
    units::{Units, sorted},
};
use crate::ir::{self, Name, ProxyIr};

/// Units that somebody refers to, whatever they are.
pub(super) type Held = Vec<Arc<dyn Any + Send + Sync>>;

/// Who renders, and what was rendered.
pub(super) struct Composer<R: Render> {
    render: R,
    outbounds: Units<Arc<ir::Outbound>, R::Unit>,
    clusters: Units<ir::Cluster, R::Unit>,
    inbounds: Units<Arc<ir::Inbound>, (R::Unit, R::Unit)>,
    wides: Units<Arc<ir::ProxyWide>, WideUnits<R::Unit>>,
}

impl<R: Render> Composer<R> {
    pub(super) fn new(render: R) -> Self {
        Self {
            render,
            outbounds: Units::default(),
            clusters: Units::default(),
            inbounds: Units::default(),
            wides: Units::default(),
        }
    }

    /// Endpoints of a cluster, rendered.
    pub(super) fn endpoints(&self, cluster: &Name, endpoints: &ir::Endpoints, counters: &mut Counters) -> R::Unit {
        counters.endpoints += 1;
        counters.rendered += 1;
        self.render.endpoints(cluster, endpoints)
    }

    /// The set of one proxy, and the units to be held as long as it has this set.
    pub(super) fn compose(
        &mut self,
        plan: &ProxyIr,
        own: &Arc<ir::Own>,
        counters: &mut Counters,
    ) -> (ProxySet<R::Unit>, Held) {
        counters.sets += 1;
        let render = &self.render;
        let mut held: Held = Vec::new();
        let mut clusters = Vec::new();
        let mut listeners = Vec::new();
        for (name, cluster) in &plan.clusters {
            let unit = self.clusters.intern(name, (**cluster).clone(), |c| {
                counters.clusters += 1;
                counters.rendered += 1;
                render.cluster(c)
            });
            clusters.push(unit.rendered.clone());
            held.push(unit);
        }
        for (name, outbound) in &plan.outbounds {
            let unit = self.outbounds.intern(name, outbound.clone(), |o| {
                counters.outbounds += 1;
                counters.rendered += 1;
                render.outbound(o)
            });
            listeners.push(unit.rendered.clone());
            held.push(unit);
        }
        for (name, inbound) in &plan.inbounds {
            let unit = self.inbounds.intern(name, inbound.clone(), |i| {
                counters.inbounds += 1;
                counters.rendered += 2;
                render.inbound(i)
            });
            let (listener, cluster) = &unit.rendered;
            listeners.push(listener.clone());
            clusters.push(cluster.clone());
            held.push(unit);
        }
        let unit = self.wides.intern(&wide_name(), plan.wide.clone(), |w| {
            counters.wides += 1;
            let units = render.wide(w);
            counters.rendered += (units.clusters.len() + units.listeners.len()) as u64;
            units
        });
        clusters.extend(unit.rendered.clusters.iter().cloned());
        listeners.extend(unit.rendered.listeners.iter().cloned());
        held.push(unit);
        if let Some(admin) = &plan.wide.admin {
            listeners.extend(render.admin(admin, own));
        }
        let set = ProxySet {
            clusters: sorted(clusters.into_iter(), |u| R::name(u).clone()),
            listeners: sorted(listeners.into_iter(), |u| R::name(u).clone()),
            own: own.clone(),
        };
        (set, held)
    }

    /// Forgets what no proxy holds.
    pub(super) fn sweep(&mut self) {
        self.outbounds.sweep();
        self.clusters.sweep();
        self.inbounds.sweep();
        self.wides.sweep();
    }
}

/// Proxy-wide units have no name of their own.
fn wide_name() -> Name {
    "wide".into()
}
