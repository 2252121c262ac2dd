//! The suites that can be run, by name. What is not here shows as `ran 0` in the table.

use crate::{case::Case, report::Outcome};

mod api_localhost_auth;
mod api_server;
mod bootstrap;
mod config_defaults;
mod config_dump_sanitize;
mod health_discovery;
mod hostname_template;
mod kumactl_resources;
mod label_validation;
mod policy_matching;
mod policy_rules;
mod sni;
mod validation;
mod xds_generators;

/// Runs one case; one outcome per check.
pub(crate) type Run = fn(&Case) -> Vec<Outcome>;

/// How to run each suite.
const SUITES: &[(&str, Run)] = &[
    ("api-localhost-auth", api_localhost_auth::run),
    ("api-server", api_server::run),
    ("bootstrap", bootstrap::run),
    ("config-defaults", config_defaults::run),
    ("config-dump-sanitize", config_dump_sanitize::run),
    ("health-discovery", health_discovery::run),
    ("hostname-template", hostname_template::run),
    ("kumactl-resources", kumactl_resources::run),
    ("label-validation", label_validation::run),
    ("policy-matching", policy_matching::run),
    ("policy-rules", policy_rules::run),
    ("sni", sni::run),
    ("validation", validation::run),
    ("xds-generators", xds_generators::run),
];

/// How to run a suite.
pub(crate) fn find(suite: &str) -> Option<Run> {
    SUITES.iter().find(|(name, _)| *name == suite).map(|(_, run)| *run)
}
