//! Plans and renders units, each distinct one once, whoever asks for it.

use std::sync::Arc;

use super::{
    Counters, Render,
    render::WideUnits,
    units::{Planned, Units},
};
use crate::{
    ir::{self, Name},
    kri::Kri,
    plan::{ClusterInputs, InboundInputs, OutboundInputs, WideInputs, cluster, inbound, outbound, wide},
};

/// An outbound, rendered.
#[derive(Clone, Debug)]
pub(super) struct OutboundUnit<U> {
    /// Its listener.
    pub(super) listener: U,
    /// The clusters that it sends to.
    pub(super) clusters: Arc<[Kri]>,
}

/// A planned outbound; `None` inside if nothing that it could send to exists.
pub(super) type PlannedOutbound<U> = Arc<Planned<OutboundInputs, Option<OutboundUnit<U>>>>;
/// A planned cluster.
pub(super) type PlannedCluster<U> = Arc<Planned<ClusterInputs, U>>;
/// Listener and cluster of an inbound; `None` inside for one that stands for "no service port".
pub(super) type PlannedInbound<U> = Arc<Planned<InboundInputs, Option<(U, U)>>>;
/// What concerns a whole proxy, and its admin listener, which each proxy renders for itself.
pub(super) type PlannedWide<U> = Arc<Planned<WideInputs, (WideUnits<U>, Option<ir::AdminListener>)>>;

/// Who plans and renders, what is there already, and how much was done.
pub(super) struct Planner<R: Render> {
    render: R,
    outbounds: Units<OutboundInputs, Option<OutboundUnit<R::Unit>>>,
    clusters: Units<ClusterInputs, R::Unit>,
    inbounds: Units<InboundInputs, Option<(R::Unit, R::Unit)>>,
    wides: Units<WideInputs, (WideUnits<R::Unit>, Option<ir::AdminListener>)>,
    /// Work so far.
    pub(super) counters: Counters,
}

impl<R: Render> Planner<R> {
    pub(super) fn new(render: R) -> Self {
        Self {
            render,
            outbounds: Units::default(),
            clusters: Units::default(),
            inbounds: Units::default(),
            wides: Units::default(),
            counters: Counters::default(),
        }
    }

    /// The outbound with these inputs.
    pub(super) fn outbound(&mut self, inputs: OutboundInputs) -> PlannedOutbound<R::Unit> {
        let (render, counters) = (&self.render, &mut self.counters);
        let name: Name = inputs.destination.to_string().into();
        self.outbounds.intern(&name, inputs, |inputs| {
            counters.outbounds += 1;
            let unit = outbound(inputs)?;
            counters.rendered += 1;
            let used = unit.clusters();
            let mut clusters: Vec<Kri> =
                inputs.clusters().filter(|kri| used.iter().any(|name| **name == *kri.to_string())).cloned().collect();
            clusters.sort();
            clusters.dedup();
            Some(OutboundUnit { listener: render.outbound(&Arc::new(unit)), clusters: clusters.into() })
        })
    }

    /// The cluster with these inputs.
    pub(super) fn cluster(&mut self, inputs: ClusterInputs) -> PlannedCluster<R::Unit> {
        let (render, counters) = (&self.render, &mut self.counters);
        let name: Name = inputs.name.to_string().into();
        self.clusters.intern(&name, inputs, |inputs| {
            counters.clusters += 1;
            counters.rendered += 1;
            render.cluster(&cluster(inputs))
        })
    }

    /// The inbound with these inputs.
    pub(super) fn inbound(&mut self, inputs: InboundInputs) -> PlannedInbound<R::Unit> {
        let (render, counters) = (&self.render, &mut self.counters);
        let section = inputs.facts.section.clone();
        self.inbounds.intern(&section, inputs, |inputs| {
            counters.inbounds += 1;
            let unit = inbound(inputs)?;
            counters.rendered += 2;
            Some(render.inbound(&Arc::new(unit)))
        })
    }

    /// The proxy-wide unit with these inputs. Those with one `hint` are compared with each other.
    pub(super) fn wide(&mut self, hint: &Name, inputs: WideInputs) -> PlannedWide<R::Unit> {
        let (render, counters) = (&self.render, &mut self.counters);
        self.wides.intern(hint, inputs, |inputs| {
            counters.wides += 1;
            let unit = Arc::new(wide(inputs));
            let units = render.wide(&unit);
            counters.rendered += (units.clusters.len() + units.listeners.len()) as u64;
            (units, unit.admin.clone())
        })
    }

    /// The admin listener of one proxy.
    pub(super) fn admin(&mut self, admin: &ir::AdminListener, own: &ir::Own) -> Option<R::Unit> {
        let unit = self.render.admin(admin, own);
        self.counters.rendered += u64::from(unit.is_some());
        unit
    }

    /// Endpoints of a cluster, rendered.
    pub(super) fn endpoints(&mut self, cluster: &Name, endpoints: &ir::Endpoints) -> R::Unit {
        self.counters.rendered += 1;
        self.render.endpoints(cluster, endpoints)
    }

    /// Forgets what nobody holds.
    pub(super) fn sweep(&mut self) {
        self.outbounds.sweep();
        self.clusters.sweep();
        self.inbounds.sweep();
        self.wides.sweep();
    }
}
