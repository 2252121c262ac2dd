//! Keys that are accepted for compatibility and do nothing yet. Who sets one is told so at the start, by name.
//!
//! A row leaves this list together with the change that makes its key work.

/// (path of a key or a section, why it has no effect).
pub const NO_EFFECT_YET: &[(&str, &str)] = &[
    ("store.cache", "resources are held in memory and are never stale, so there is no read cache"),
    ("store.postgres", "there is no PostgreSQL store yet"),
    ("store.kubernetes.systemNamespace", "there is no Kubernetes store yet"),
    ("runtime.kubernetes", "there is no Kubernetes mode yet"),
    ("multizone.global", "there is no global mode yet"),
    ("multizone.zone.globalAddress", "zones cannot join a global control plane yet"),
    ("multizone.zone.kds", "zones cannot join a global control plane yet"),
    ("interCp", "there is one instance only"),
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
