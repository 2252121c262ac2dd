//! Renders units as text, so that two of them can be compared and shown.

use std::sync::Arc;

use kuma_core::{
    engine::{Render, WideUnits},
    ir::{AdminListener, Cluster, Endpoints, Inbound, Name, Outbound, Own, ProxyWide},
};

/// A unit in print.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Printed {
    pub(crate) name: Name,
    pub(crate) text: String,
}

/// What is printed, shared.
pub(crate) type Unit = Arc<Printed>;

/// Prints.
pub(crate) struct Printer;

fn print(name: &str, value: &impl serde::Serialize) -> Unit {
    Arc::new(Printed { name: name.into(), text: serde_json::to_string(value).unwrap() })
}

impl Render for Printer {
    type Unit = Unit;

    fn name(unit: &Unit) -> &Name {
        &unit.name
    }

    fn same(one: &Unit, other: &Unit) -> bool {
        one == other
    }

    fn outbound(&self, outbound: &Arc<Outbound>) -> Unit {
        print(&outbound.name, outbound)
    }

    fn cluster(&self, cluster: &Cluster) -> Unit {
        print(&cluster.name, cluster)
    }

    fn endpoints(&self, cluster: &Name, endpoints: &Endpoints) -> Unit {
        print(cluster, endpoints)
    }

    fn inbound(&self, inbound: &Arc<Inbound>) -> (Unit, Unit) {
        (print(&inbound.name, inbound), print(&inbound.name, &inbound.tuning))
    }

    fn wide(&self, wide: &Arc<ProxyWide>) -> WideUnits<Unit> {
        WideUnits { clusters: Vec::new(), listeners: vec![print("system_wide", wide)] }
    }

    fn admin(&self, admin: &AdminListener, own: &Own) -> Option<Unit> {
        (own.admin.port != 0).then(|| print("system_admin", &(admin, &own.admin)))
    }
}
