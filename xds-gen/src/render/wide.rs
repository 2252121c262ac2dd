//! What concerns the whole proxy: the parts of [`ProxyWide`] as messages.

use kuma_core::ir::{Own, ProxyWide};

use super::{
    AdminTls, admin, cluster, direct_access, dynconf, has_admin_listener, passthrough,
    proto::{cluster::Cluster, listener::Listener},
};

/// Clusters and listeners that belong to no service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WideMessages {
    /// Clusters.
    pub clusters: Vec<Cluster>,
    /// Listeners.
    pub listeners: Vec<Listener>,
}

/// Everything proxy-wide. Without `tls` the admin listener offers readiness only.
pub fn render_wide(unit: &ProxyWide, own: &Own, tls: Option<&AdminTls>) -> WideMessages {
    let mut out = WideMessages::default();
    if let Some(listener) = &unit.admin {
        out.clusters.extend(admin::clusters(own));
        if has_admin_listener(own) {
            out.listeners.push(admin::listener_of(listener, own, tls));
        }
    }
    if let Some(unit) = &unit.passthrough {
        out.clusters.extend(passthrough::clusters(unit));
        out.listeners.extend(passthrough::listeners(unit, own));
    }
    if let Some(unit) = &unit.direct_access {
        out.clusters.extend(direct_access::cluster(unit));
        out.listeners.extend(direct_access::listeners(unit, own));
    }
    if let Some(unit) = &unit.dynamic {
        out.listeners.extend(dynconf::render(unit, own));
    }
    for message in &mut out.clusters {
        cluster::tune(message, &unit.system_tuning);
    }
    out
}
