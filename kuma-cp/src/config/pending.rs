//! Keys that are accepted for compatibility and do nothing yet. Who sets one is told so at the start, by name.
//!
//! A row leaves this list together with the change that makes its key work.

const TWO_CONNECTIONS: &str = "an instance has two connections to the database, always, so there is no pool to size";

/// (path of a key or a section, why it has no effect).
pub const NO_EFFECT_YET: &[(&str, &str)] = &[
    ("store.cache", "resources are held in memory and are never stale, so there is no read cache"),
    ("store.postgres.minOpenConnections", TWO_CONNECTIONS),
    ("store.postgres.maxOpenConnections", TWO_CONNECTIONS),
    ("store.postgres.maxIdleConnections", TWO_CONNECTIONS),
    ("store.postgres.maxConnectionIdleTime", TWO_CONNECTIONS),
    ("store.postgres.maxConnectionLifetime", TWO_CONNECTIONS),
    ("store.postgres.maxConnectionLifetimeJitter", TWO_CONNECTIONS),
    ("store.postgres.healthCheckInterval", TWO_CONNECTIONS),
    ("store.postgres.maxListQueryElements", "lists are answered from memory"),
    ("store.postgres.readReplica", "reads are answered from memory, so there is nothing to take off the database"),
    ("store.kubernetes.systemNamespace", "there is no Kubernetes store yet"),
    ("runtime.kubernetes", "there is no Kubernetes mode yet"),
    ("multizone.global", "there is no global mode yet"),
    ("multizone.zone.globalAddress", "zones cannot join a global control plane yet"),
    ("multizone.zone.kds", "zones cannot join a global control plane yet"),
    ("interCp", "instances find each other through the store that they share"),
    ("eventBus", "changes are batched, no event is ever dropped"),
    ("xdsServer.policyMatchingCacheSize", "what matching found is shared by all proxies, there is no cache to size"),
    ("monitoringAssignmentServer", "there is no monitoring assignment server yet"),
    ("tracing", "traces of the control plane are not sent yet"),
    ("metrics.openTelemetry", "metrics of the control plane are served, not sent"),
    ("reports", "nothing is ever reported"),
    ("diagnostics.debugEndpoints", "there are no profiles yet"),
    ("dpServer.hds.refreshInterval", "what is to be checked is sent as soon as it changes"),
    ("dpServer.authn.zoneProxy", "zone proxies are ordinary Dataplanes and use dataplane tokens"),
];

/// Why a key has no effect yet; `None` when it has one.
pub fn reason(path: &str) -> Option<&'static str> {
    NO_EFFECT_YET
        .iter()
        .find(|(prefix, _)| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
        .map(|(_, reason)| *reason)
}
