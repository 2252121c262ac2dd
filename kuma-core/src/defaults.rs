//! What the control plane makes by itself: with every Mesh, and when it starts.

use crate::{
    duration::GoDuration,
    labels::{self, Site},
    meta::{Labels, Meta, label},
    policies::{
        BackOff, CircuitBreakerTo, CircuitBreakers, ConnectionLimits, GrpcRetry, HttpRetry, HttpTimeouts,
        MeshCircuitBreaker, MeshRetry, MeshTimeout, Retries, RetryTo, TcpRetry, TimeoutRule, TimeoutTo, Timeouts,
        target::TargetRef,
    },
    registry::Kind,
    resource::{AnyResource, Key, NoStatus, Spec},
    resources::{HostnameGenerator, HostnameSelector, LabelSelector, Mesh, Zone},
    store::Write,
};

/// Name of the secret that signs the first tokens of data planes of a mesh.
pub fn dataplane_key_name(mesh: &str) -> String {
    format!("dataplane-token-signing-key-{mesh}-1")
}

/// Policies that a new Mesh gets, with computed labels, in the order in which they are created.
pub fn policies(site: &Site, mesh: &str, spec: &Mesh) -> Vec<AnyResource> {
    let skipped = |kind: Kind| spec.skip_creating_initial_policies.iter().any(|s| s == "*" || s == kind.name());
    let all = [
        policy(site, mesh, format!("mesh-timeout-all-{mesh}"), inbound_timeouts()),
        policy(site, mesh, format!("mesh-timeout-to-all-{mesh}"), outbound_timeouts()),
        policy(site, mesh, format!("mesh-circuit-breaker-all-{mesh}"), breakers()),
        policy(site, mesh, format!("mesh-retry-all-{mesh}"), retries()),
    ];
    all.into_iter().filter(|p| !skipped(p.kind())).collect()
}

fn policy<S: Spec<Status = NoStatus>>(site: &Site, mesh: &str, name: String, spec: S) -> AnyResource {
    let mut resource = AnyResource::new(Meta::new(mesh, name, Labels::new()), spec, NoStatus {});
    resource.meta.labels = labels::compute(site, &resource).into();
    resource
}

#[expect(clippy::unnecessary_wraps, reason = "fields of policies are optional")]
fn secs(seconds: i64) -> Option<GoDuration> {
    Some(GoDuration::from_secs(seconds))
}

fn inbound_timeouts() -> MeshTimeout {
    let conf = Timeouts {
        connection_timeout: secs(10),
        idle_timeout: secs(7200),
        http: Some(HttpTimeouts {
            request_timeout: secs(0),
            stream_idle_timeout: secs(3600),
            max_stream_duration: secs(0),
            ..HttpTimeouts::default()
        }),
    };
    MeshTimeout {
        target_ref: Some(TargetRef::default()),
        rules: Some(vec![TimeoutRule { matches: None, conf }]),
        to: None,
    }
}

fn outbound_timeouts() -> MeshTimeout {
    let conf = Timeouts {
        connection_timeout: secs(5),
        idle_timeout: secs(3600),
        http: Some(HttpTimeouts {
            request_timeout: secs(15),
            stream_idle_timeout: secs(1800),
            ..HttpTimeouts::default()
        }),
    };
    let to = TimeoutTo { target_ref: TargetRef::default(), conf };
    MeshTimeout { target_ref: Some(TargetRef::default()), rules: None, to: Some(vec![to]) }
}

fn breakers() -> MeshCircuitBreaker {
    let limits = ConnectionLimits {
        max_connections: Some(1024),
        max_pending_requests: Some(1024),
        max_requests: Some(1024),
        max_retries: Some(3),
        max_connection_pools: None,
    };
    let conf = CircuitBreakers { connection_limits: Some(limits), outlier_detection: None };
    let to = CircuitBreakerTo { target_ref: TargetRef::default(), conf };
    MeshCircuitBreaker { target_ref: Some(TargetRef::default()), to: Some(vec![to]), rules: None }
}

fn retries() -> MeshRetry {
    let back_off =
        BackOff { base_interval: Some(GoDuration::from_millis(25)), max_interval: Some(GoDuration::from_millis(250)) };
    let conf = Retries {
        tcp: Some(TcpRetry { max_connect_attempt: Some(5) }),
        http: Some(HttpRetry {
            num_retries: Some(5),
            per_try_timeout: secs(16),
            back_off: Some(back_off.clone()),
            ..HttpRetry::default()
        }),
        grpc: Some(GrpcRetry {
            num_retries: Some(5),
            per_try_timeout: secs(16),
            back_off: Some(back_off),
            ..GrpcRetry::default()
        }),
    };
    let to = RetryTo { target_ref: TargetRef::default(), conf };
    MeshRetry { target_ref: Some(TargetRef::default()), to: Some(vec![to]) }
}

/// The Mesh and everything that comes with it, as one batch. Its signing key follows: making one takes time.
pub fn mesh(site: &Site, mesh: AnyResource) -> Vec<Write> {
    let name = mesh.meta.name.clone();
    let owner = Key::new(Kind::Mesh, "", name.clone());
    let spec = mesh.spec::<Mesh>().cloned().unwrap_or_default();
    let mut batch = vec![Write::Create { resource: mesh, owner: None }];
    let policies = policies(site, &name, &spec).into_iter();
    batch.extend(policies.map(|resource| Write::Create { resource, owner: Some(owner.clone()) }));
    batch
}

/// The Mesh `default`, as it is made at the first start: no labels.
pub fn default_mesh() -> AnyResource {
    AnyResource::new(Meta::new("", "default", Labels::new()), Mesh::default(), NoStatus {})
}

/// The Zone that a zone control plane keeps about itself.
pub fn zone(name: &str) -> AnyResource {
    AnyResource::new(Meta::new("", name, Labels::new()), Zone::default(), NoStatus {})
}

/// HostnameGenerators that a zone outside of Kubernetes makes when it starts.
pub fn zone_hostname_generators() -> Vec<AnyResource> {
    let origin = || LabelSelector::of([(label::ORIGIN.to_owned(), "zone".to_owned())].into());
    let external = HostnameSelector { mesh_external_service: Some(origin()), ..HostnameSelector::default() };
    let local = HostnameSelector { mesh_service: Some(origin()), ..HostnameSelector::default() };
    [
        ("local-mesh-external-service", external, "{{ .DisplayName }}.extsvc.mesh.local"),
        ("local-universal-mesh-service", local, "{{ .DisplayName }}.svc.mesh.local"),
    ]
    .into_iter()
    .map(|(name, selector, template)| {
        let labels = Labels::from([(label::ORIGIN.to_owned(), "zone".to_owned())]);
        let spec = HostnameGenerator { selector, template: template.into(), extension: None };
        AnyResource::new(Meta::new("", name, labels), spec, NoStatus {})
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(skip: &[&str]) -> Vec<String> {
        let spec = Mesh { skip_creating_initial_policies: skip.iter().map(|s| (*s).to_owned()).collect() };
        policies(&Site::zone("east"), "m", &spec).iter().map(|p| p.meta.name.to_string()).collect()
    }

    #[test]
    fn a_mesh_chooses_which_policies_it_gets() {
        let all = ["mesh-timeout-all-m", "mesh-timeout-to-all-m", "mesh-circuit-breaker-all-m", "mesh-retry-all-m"];
        assert_eq!(names(&[]), all);
        assert_eq!(names(&["MeshTimeout"]), all[2..]);
        assert!(names(&["*"]).is_empty());
    }

    #[test]
    fn default_policies_pass_their_own_validation() {
        for policy in policies(&Site::zone("east"), "m", &Mesh::default()) {
            policy.validate().into_result().unwrap_or_else(|v| panic!("{}: {v}", policy.meta.name));
        }
    }
}
