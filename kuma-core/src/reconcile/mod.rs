//! The way back: what the control plane derives from resources and stores itself. Generated MeshServices and
//! Workloads, virtual addresses, hostnames and statuses, as one batch of writes that leads to a fixed point.
//!
//! [`Reconciler`] does it incrementally: a change costs what it concerns, by indices. [`reconcile`] does the same from
//! scratch and is the reference that a property test compares with. Both ask the same functions about one service, one
//! Workload, one generator; they differ in how they find out whom to ask about.
//!
//! All that is derived comes about in memory, each step on what the ones before it made: nobody waits for a write of
//! another. What comes out as it is stored is not written.

mod access_logs;
mod hostnames;
mod incremental;
mod replicas;
mod scratch;
mod services;
mod status;
mod tally;
mod vips;
mod workloads;

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use ipnet::Ipv4Net;
use jiff::Timestamp;

use crate::{
    labels::Environment,
    meta::Meta,
    registry::Kind,
    resource::{AnyResource, Key, Resource},
    resources::{MeshService, MeshServiceStatus},
    store::Write,
};

pub use incremental::{Counters, Reconciler};
pub use scratch::reconcile;
pub use vips::Vips;

/// Settings of all steps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the own zone.
    pub zone: Arc<str>,
    /// Value of the label `kuma.io/env` of what is made.
    pub environment: &'static str,
    /// MeshServices are made from `kuma.io/workload`.
    pub generate_services: bool,
    /// Workloads are made from `kuma.io/workload`.
    pub generate_workloads: bool,
    /// How old a Dataplane is before a MeshService is made for it: whoever applies a MeshService of his own right after
    /// a Dataplane creates it, and does not find one that he takes over.
    pub settle: Duration,
    /// How long a generated MeshService stays when nobody serves it any more.
    pub grace_period: Duration,
    /// Where virtual addresses of MeshServices come from.
    pub service_range: Ipv4Net,
}

impl Settings {
    /// Of a zone outside of Kubernetes in which everything is made, and at once. The other values are those that a control
    /// plane has by default.
    pub fn in_zone(zone: impl Into<Arc<str>>) -> Self {
        Self {
            zone: zone.into(),
            environment: Environment::UNIVERSAL.name,
            generate_services: true,
            generate_workloads: true,
            settle: Duration::ZERO,
            grace_period: Duration::from_hours(1),
            service_range: Ipv4Net::new_assert(Ipv4Addr::new(241, 0, 0, 0), 8),
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Writes that lead to the fixed point, sorted by key; nothing if it is reached.
    pub writes: Vec<Write>,
    /// When time alone will ask for more.
    pub due: Option<Timestamp>,
}

/// A MeshService while it is worked on.
#[derive(Clone, Debug)]
struct Service {
    meta: Meta,
    spec: MeshService,
    status: MeshServiceStatus,
}

impl Service {
    fn of(stored: &Resource<MeshService>) -> Self {
        Self { meta: stored.meta.clone(), spec: stored.spec().clone(), status: stored.status().clone() }
    }

    fn erase(self) -> AnyResource {
        AnyResource::new(self.meta, self.spec, self.status)
    }
}

/// The write that leads from what is stored to what was derived, if one is needed.
fn write(key: &Key, stored: Option<AnyResource>, derived: Option<AnyResource>) -> Option<Write> {
    match (stored, derived) {
        (None, None) => None,
        (None, Some(resource)) => {
            Some(Write::Create { resource, owner: Some(Key::new(Kind::Mesh, "", key.mesh.clone())) })
        }
        (Some(stored), None) => Some(Write::Delete { key: key.clone(), expected: Some(stored.meta.version) }),
        (Some(stored), Some(resource)) => {
            let expected = stored.meta.version;
            (!stored.same_content(&resource)).then_some(Write::Update { resource, expected })
        }
    }
}

/// It was not copied here from elsewhere.
fn is_local(meta: &Meta) -> bool {
    meta.label(crate::meta::label::ORIGIN).is_none_or(|origin| origin == "zone")
}

#[cfg(test)]
mod cost;
#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
