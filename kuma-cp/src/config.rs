//! The configuration of the control plane: every key with its default, how the layers are put together, and what
//! makes a configuration valid.
//!
//! The layers are defaults, then a file, then environment variables ([`mod@load`]); what is left empty is filled in from
//! the machine when the process starts ([`auto`]). A section is declared row by row (`setting`), so that the list of
//! keys and variables ([`keys`]) cannot drift from the structs.

mod access;
mod api_server;
pub mod auto;
mod check;
mod dp_server;
mod general;
mod key;
mod kubernetes;
pub mod load;
mod multizone;
mod number;
mod observe;
mod password;
pub mod password_file;
pub mod pending;
mod runtime;
mod services;
mod setting;
mod store;
#[cfg(test)]
mod tests;
mod xds;

pub use self::{
    access::*,
    api_server::*,
    dp_server::*,
    general::*,
    key::{MeshedPublicKey, PublicKey},
    kubernetes::*,
    load::{ConfigError, Loaded, Warning, layer, load},
    multizone::*,
    observe::*,
    password::{MASK, Password},
    runtime::*,
    services::*,
    setting::{Key, Kind},
    store::*,
    xds::*,
};
use setting::{At, Setting, section};

section! {
    /// The whole configuration.
    Config {
        /// What all servers share.
        general "general": General;
        /// `universal` or `kubernetes`.
        environment "environment": String = Environment::Universal.as_str().into(), "KUMA_ENVIRONMENT";
        /// `zone` or `global`.
        mode "mode": String = Mode::Zone.as_str().into(), "KUMA_MODE";
        /// The store of resources.
        store "store": Store;
        /// The bootstrap of proxies.
        bootstrap_server "bootstrapServer": BootstrapServer;
        /// Configuration of proxies.
        xds_server "xdsServer": XdsServer;
        /// The list of proxies for metric collectors.
        monitoring_assignment_server "monitoringAssignmentServer": MonitoringAssignmentServer;
        /// The REST API.
        api_server "apiServer": ApiServer;
        /// What only one environment knows.
        runtime "runtime": Runtime;
        /// What is created at the first start.
        defaults "defaults": Defaults;
        /// Statuses of proxies, zones and meshes.
        metrics "metrics": Metrics;
        /// Usage reports.
        reports "reports": Reports;
        /// Several zones.
        multizone "multizone": Multizone;
        /// The legacy names of services.
        dns_server "dnsServer": DnsServer;
        /// The port of health, metrics and log levels.
        diagnostics "diagnostics": Diagnostics;
        /// The port of the proxies.
        dp_server "dpServer": DpServer;
        /// Access control.
        access "access": Access;
        /// Nothing today.
        experimental "experimental": Experimental;
        /// Instances of one control plane.
        inter_cp "interCp": InterCp;
        /// Traces of the control plane.
        tracing "tracing": Tracing;
        /// Events within the control plane.
        event_bus "eventBus": EventBus;
        /// Kinds that are policies.
        policies "policies": Policies;
        /// Kinds that are no policies.
        core_resources "coreResources": CoreResources;
        /// Virtual addresses.
        ipam "ipam": Ipam;
        /// MeshServices that are generated from Dataplanes.
        mesh_service "meshService": MeshService;
    }
}

/// Where the control plane runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Machines and containers of any kind.
    Universal,
    /// A Kubernetes cluster.
    Kubernetes,
}

impl Environment {
    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Universal => "universal",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// What the control plane is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It serves proxies.
    Zone,
    /// It serves the control planes of zones.
    Global,
}

impl Mode {
    /// Its name in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zone => "zone",
            Self::Global => "global",
        }
    }
}

impl Config {
    /// The mode; `None` for a name that is none, which a checked configuration does not have.
    pub fn mode(&self) -> Option<Mode> {
        [Mode::Zone, Mode::Global].into_iter().find(|m| m.as_str() == self.mode)
    }

    /// The environment; `None` for a name that is none, which a checked configuration does not have.
    pub fn environment(&self) -> Option<Environment> {
        [Environment::Universal, Environment::Kubernetes].into_iter().find(|e| e.as_str() == self.environment)
    }

    /// As it is shown to users by `/config` and at the start: durations as text, passwords masked, optional keys that
    /// are empty left out.
    pub fn display(&self) -> serde_json::Value {
        // Maps have text keys and no type has a serialiser that fails, so there is always a value.
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// Every key that can be set, in the order in which the sections declare them.
pub fn keys() -> Vec<Key> {
    let mut out = Vec::new();
    Config::describe(At::default(), &mut out);
    out
}

/// Reads a whole number of a flag, in the spellings that variables take.
pub fn parse_integer(text: &str) -> Result<i64, String> {
    number::signed(text, 64)
}
