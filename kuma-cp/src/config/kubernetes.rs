//! `runtime.kubernetes`: controllers, webhooks, and what is injected into pods.

use std::collections::BTreeMap;

use kuma_core::duration::GoDuration;

use super::{
    check::{self, Violations},
    setting::{is_zero, section},
};

section! {
    /// On Kubernetes.
    Kubernetes {
        /// The port of the webhooks.
        admission_server "admissionServer": AdmissionServer;
        /// What is injected into pods.
        injector "injector": Injector;
        /// How long a decoded object is kept.
        marshaling_cache_expiration_time "marshalingCacheExpirationTime": GoDuration = GoDuration::from_mins(5), "KUMA_RUNTIME_KUBERNETES_MARSHALING_CACHE_EXPIRATION_TIME";
        /// Users that may change what belongs to the control plane.
        allowed_users "allowedUsers" skip "is_zero": Vec<String> = Vec::new(), "KUMA_RUNTIME_KUBERNETES_ALLOWED_USERS";
        /// Service at which proxies reach the control plane.
        control_plane_service_name "controlPlaneServiceName" skip "is_zero": String = "kuma-control-plane".into(), "KUMA_RUNTIME_KUBERNETES_CONTROL_PLANE_SERVICE_NAME";
        /// Nodes whose CNI is not ready.
        node_taint_controller "nodeTaintController": NodeTaintController;
        /// How much is done at once.
        controllers_concurrency "controllersConcurrency": ControllersConcurrency;
        /// Requests to the Kubernetes API.
        client_config "clientConfig": ClientConfig;
        /// Which instance leads.
        leader_election "leaderElection": LeaderElection;
        /// Objects do not name their Mesh as owner.
        skip_mesh_owner_reference "skipMeshOwnerReference": bool = false, "KUMA_RUNTIME_KUBERNETES_SKIP_MESH_OWNER_REFERENCE";
        /// Labels of pods that may name the workload, the first that is there counts.
        workload_labels "workloadLabels": Vec<String> = Vec::new(), "KUMA_RUNTIME_KUBERNETES_WORKLOAD_LABELS";
        /// One namespace belongs to one mesh.
        disallow_multiple_meshes_per_namespace "disallowMultipleMeshesPerNamespace": bool = false, "KUMA_RUNTIME_KUBERNETES_DISALLOW_MULTIPLE_MESHES_PER_NAMESPACE";
    }
}

section! {
    /// How much is done at once.
    ControllersConcurrency {
        /// Pods.
        pod_controller "podController": i64 = 10, "KUMA_RUNTIME_KUBERNETES_CONTROLLERS_CONCURRENCY_POD_CONTROLLER";
    }
}

section! {
    /// Requests to the Kubernetes API.
    ClientConfig {
        /// In a second.
        qps "qps": i64 = 100, "KUMA_RUNTIME_KUBERNETES_CLIENT_CONFIG_QPS";
        /// In a second, for a short time.
        burst_qps "burstQps": i64 = 100, "KUMA_RUNTIME_KUBERNETES_CLIENT_CONFIG_BURST_QPS";
    }
}

section! {
    /// Which instance leads.
    LeaderElection {
        /// How long it leads without a sign.
        lease_duration "leaseDuration": GoDuration = GoDuration::from_secs(15), "KUMA_RUNTIME_KUBERNETES_LEADER_ELECTION_LEASE_DURATION";
        /// How long it tries to give one.
        renew_deadline "renewDeadline": GoDuration = GoDuration::from_secs(10), "KUMA_RUNTIME_KUBERNETES_LEADER_ELECTION_RENEW_DEADLINE";
    }
}

section! {
    /// The port of the webhooks.
    AdmissionServer {
        /// Address to bind; empty: all.
        address "address": String = String::new(), "KUMA_RUNTIME_KUBERNETES_ADMISSION_SERVER_ADDRESS";
        /// Port to bind.
        port "port": u32 = 5443, "KUMA_RUNTIME_KUBERNETES_ADMISSION_SERVER_PORT";
        /// Directory with `tls.crt` and `tls.key`.
        cert_dir "certDir": String = String::new(), "KUMA_RUNTIME_KUBERNETES_ADMISSION_SERVER_CERT_DIR";
    }
}

section! {
    /// Nodes whose CNI is not ready.
    NodeTaintController {
        /// Taint them.
        enabled "enabled": bool = false, "KUMA_RUNTIME_KUBERNETES_NODE_TAINT_CONTROLLER_ENABLED";
        /// Label `app` of the pods of the CNI.
        cni_app "cniApp": String = String::new(), "KUMA_RUNTIME_KUBERNETES_NODE_TAINT_CONTROLLER_CNI_APP";
        /// Namespace of the pods of the CNI.
        cni_namespace "cniNamespace": String = "kube-system".into(), "KUMA_RUNTIME_KUBERNETES_NODE_TAINT_CONTROLLER_CNI_NAMESPACE";
    }
}

section! {
    /// What is injected into pods.
    Injector {
        /// The sidecar.
        sidecar_container "sidecarContainer": SidecarContainer;
        /// The container that redirects traffic.
        init_container "initContainer": InitContainer;
        /// The container that checks the CNI.
        validation_container "validationContainer": ValidationContainer;
        /// ContainerPatches of pods that name none.
        container_patches "containerPatches": Vec<String> = Vec::new(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_CONTAINER_PATCHES";
        /// The CNI redirects traffic.
        cni_enabled "cniEnabled": bool = false, "KUMA_RUNTIME_KUBERNETES_INJECTOR_CNI_ENABLED";
        /// Port of the proxy for probes; 0: none.
        application_probe_proxy_port "applicationProbeProxyPort": u32 = 9001, "KUMA_RUNTIME_KUBERNETES_APPLICATION_PROBE_PROXY_PORT";
        /// Traffic that is not redirected.
        sidecar_traffic "sidecarTraffic": SidecarTraffic;
        /// Pods that are left alone.
        exceptions "exceptions": Exceptions;
        /// CA that sidecars verify the control plane with.
        ca_cert_file "caCertFile": String = String::new(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_CA_CERT_FILE";
        /// DNS in the sidecar.
        builtin_dns "builtinDNS": BuiltinDns;
        /// Labels of selectors that do not count.
        ignored_service_selector_labels "ignoredServiceSelectorLabels": Vec<String> = Vec::new(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_IGNORED_SERVICE_SELECTOR_LABELS";
        /// Labels of nodes that pods get.
        node_labels_to_copy "nodeLabelsToCopy": Vec<String> = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region", "kubernetes.io/hostname"].map(str::to_owned).into(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_NODE_LABELS_TO_COPY";
        /// ConfigMap of the redirection of traffic.
        transparent_proxy_config_map "transparentProxyConfigMap": String = "kuma-transparent-proxy-config".into(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_TRANSPARENT_PROXY_CONFIGMAP_NAME";
        /// OpenTelemetry goes through a socket of the sidecar.
        otel_pipe_enabled "otelPipeEnabled": bool = true, "KUMA_RUNTIME_KUBERNETES_INJECTOR_OTEL_PIPE_ENABLED";
        /// SPIRE.
        spire "spire": Spire;
    }
}

section! {
    /// Pods that are left alone.
    Exceptions {
        /// Those with such a label; `*` is any value.
        labels "labels": BTreeMap<String, String> = ["openshift.io/build.name", "openshift.io/deployer-pod-for.name"].map(|k| (k.to_owned(), "*".to_owned())).into(), "KUMA_RUNTIME_KUBERNETES_EXCEPTIONS_LABELS";
    }
}

section! {
    /// Traffic that is not redirected.
    SidecarTraffic {
        /// Inbound ports.
        exclude_inbound_ports "excludeInboundPorts": Vec<u32> = Vec::new(), "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_INBOUND_PORTS";
        /// Outbound ports.
        exclude_outbound_ports "excludeOutboundPorts": Vec<u32> = Vec::new(), "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_OUTBOUND_PORTS";
        /// Inbound addresses.
        exclude_inbound_ips "excludeInboundIPs": Vec<String> = Vec::new(), "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_INBOUND_IPS";
        /// Outbound addresses.
        exclude_outbound_ips "excludeOutboundIPs": Vec<String> = Vec::new(), "KUMA_RUNTIME_KUBERNETES_SIDECAR_TRAFFIC_EXCLUDE_OUTBOUND_IPS";
    }
}

section! {
    /// The sidecar.
    SidecarContainer {
        /// Its image.
        image "image" skip "is_zero": String = "kuma/kuma-dp:latest".into(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_IMAGE";
        /// User id that it runs as.
        uid "uid" skip "is_zero": i64 = 5678, "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_UID";
        /// Group id that it runs as. The variable really ends in `GUI`.
        gid "gid" skip "is_zero": i64 = 5678, "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_GUI";
        /// How long connections may end.
        drain_time "drainTime": GoDuration = GoDuration::from_secs(30), "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_DRAIN_TIME";
        /// Is it ready?
        readiness_probe "readinessProbe": ReadinessProbe = ReadinessProbe::default(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_READINESS_PROBE";
        /// Is it alive?
        liveness_probe "livenessProbe": Probe = Probe { initial_delay_seconds: 60, ..Probe::default() }, "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_LIVENESS_PROBE";
        /// Has it started?
        startup_probe "startupProbe": Probe = Probe::default(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_STARTUP_PROBE";
        /// What it may use.
        resources "resources": Resources = Resources::of(["50m", "64Mi", "0", "512Mi"]), "KUMA_INJECTOR_SIDECAR_CONTAINER_RESOURCES";
        /// More environment variables.
        env_vars "envVars": BTreeMap<String, String> = BTreeMap::new(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_ENV_VARS";
        /// Port of redirected inbound traffic.
        redirect_port_inbound "redirectPortInbound" skip "is_zero": u32 = 15006, "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_REDIRECT_PORT_INBOUND";
        /// `dualstack` or `ipv4`.
        ip_family_mode "ipFamilyMode" skip "is_zero": String = "dualstack".into(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_IP_FAMILY_MODE";
        /// Port of redirected outbound traffic.
        redirect_port_outbound "redirectPortOutbound" skip "is_zero": u32 = 15001, "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_REDIRECT_PORT_OUTBOUND";
        /// The other containers wait until it is ready.
        wait_for_dataplane_ready "waitForDataplaneReady": bool = false, "KUMA_RUNTIME_KUBERNETES_INJECTOR_SIDECAR_CONTAINER_WAIT_FOR_DATAPLANE_READY";
    }
}

section! {
    /// The readiness probe of the sidecar.
    ReadinessProbe {
        /// Seconds before the first.
        initial_delay_seconds "initialDelaySeconds" skip "is_zero": i32 = 1, "_INITIAL_DELAY_SECONDS";
        /// Seconds for an answer.
        timeout_seconds "timeoutSeconds" skip "is_zero": i32 = 3, "_TIMEOUT_SECONDS";
        /// Seconds between two.
        period_seconds "periodSeconds" skip "is_zero": i32 = 5, "_PERIOD_SECONDS";
        /// Good answers in a row until it counts.
        success_threshold "successThreshold" skip "is_zero": i32 = 1, "_SUCCESS_THRESHOLD";
        /// Bad answers in a row until it counts.
        failure_threshold "failureThreshold" skip "is_zero": i32 = 12, "_FAILURE_THRESHOLD";
    }
}

section! {
    /// Another probe of the sidecar.
    Probe {
        /// Seconds before the first.
        initial_delay_seconds "initialDelaySeconds" skip "is_zero": i32 = 1, "_INITIAL_DELAY_SECONDS";
        /// Seconds for an answer.
        timeout_seconds "timeoutSeconds" skip "is_zero": i32 = 3, "_TIMEOUT_SECONDS";
        /// Seconds between two.
        period_seconds "periodSeconds" skip "is_zero": i32 = 5, "_PERIOD_SECONDS";
        /// Bad answers in a row until it counts.
        failure_threshold "failureThreshold" skip "is_zero": i32 = 12, "_FAILURE_THRESHOLD";
    }
}

section! {
    /// The container that redirects traffic.
    InitContainer {
        /// Its image.
        image "image" skip "is_zero": String = "kuma/kuma-init:latest".into(), "KUMA_INJECTOR_INIT_CONTAINER_IMAGE";
        /// What it may use.
        resources "resources": Resources = Resources::of(["20m", "20M", "0", "50M"]), "KUMA_INJECTOR_INIT_CONTAINER_RESOURCES";
    }
}

section! {
    /// The container that checks the CNI.
    ValidationContainer {
        /// What it may use.
        resources "resources": Resources = Resources::of(["20m", "20M", "0", "50M"]), "KUMA_INJECTOR_VALIDATION_CONTAINER_RESOURCES";
    }
}

section! {
    /// What a container may use.
    Resources {
        /// What it surely gets.
        requests "requests": Amounts = Amounts::default(), "_REQUESTS";
        /// What it gets at most.
        limits "limits": Amounts = Amounts::default(), "_LIMITS";
    }
}

section! {
    /// Amounts in the notation of Kubernetes.
    Amounts {
        /// CPU; 0 as a limit: none.
        cpu "cpu" skip "is_zero": String = String::new(), "_CPU";
        /// Memory.
        memory "memory" skip "is_zero": String = String::new(), "_MEMORY";
    }
}

section! {
    /// DNS in the sidecar.
    BuiltinDns {
        /// Use it.
        enabled "enabled" skip "is_zero": bool = true, "KUMA_RUNTIME_KUBERNETES_INJECTOR_BUILTIN_DNS_ENABLED";
        /// Its port.
        port "port" skip "is_zero": u32 = 15053, "KUMA_RUNTIME_KUBERNETES_INJECTOR_BUILTIN_DNS_PORT";
    }
}

section! {
    /// SPIRE on Kubernetes.
    Spire {
        /// Mount the socket of its agent.
        enabled "enabled": bool = false, "KUMA_RUNTIME_KUBERNETES_INJECTOR_SPIRE_ENABLED";
        /// Where it is mounted.
        mount_path "mountPath": String = "/run/spire/sockets".into(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_SPIRE_MOUNT_PATH";
        /// Name of the socket.
        socket_file_name "socketFileName": String = "socket".into(), "KUMA_RUNTIME_KUBERNETES_INJECTOR_SPIRE_SOCKET_FILE_NAME";
    }
}

impl Resources {
    /// Requested CPU and memory, then the limits of both.
    fn of([cpu, memory, cpu_limit, memory_limit]: [&str; 4]) -> Self {
        Self {
            requests: Amounts { cpu: cpu.into(), memory: memory.into() },
            limits: Amounts { cpu: cpu_limit.into(), memory: memory_limit.into() },
        }
    }

    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.nest(".Requests is not valid", self.requests.check());
        out.nest(".Limits is not valid", self.limits.check());
        out
    }
}

impl Amounts {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        for (name, amount) in [("CPU", &self.cpu), ("Memory", &self.memory)] {
            out.unless(
                is_quantity(amount),
                format!(
                    ".{name} is not valid: quantities must match the regular expression \
                     '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                ),
            );
        }
        out
    }
}

/// An amount such as `50m`, `64Mi`, `1.5` or `1e3`.
fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let well_formed = number.chars().any(|c| c.is_ascii_digit()) && number.matches('.').count() <= 1;
    let known = matches!(
        suffix,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    );
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|e| e.parse::<i32>().is_ok());
    well_formed && (known || exponent)
}

impl Kubernetes {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        let mut server = Violations::default();
        server.unless(check::is_port(self.admission_server.port), ".Port must be in the range [0, 65535]");
        server.unless(!self.admission_server.cert_dir.is_empty(), ".CertDir should not be empty");
        out.nest(".AdmissionServer is not valid", server);
        out.nest(".Injector is not valid", self.injector.check());
        out.unless(
            !self.marshaling_cache_expiration_time.is_negative(),
            ".MarshalingCacheExpirationTime must be positive or equal to 0",
        );
        let taint = &self.node_taint_controller;
        out.unless(
            !taint.enabled || !taint.cni_app.is_empty(),
            ".NodeTaintController is not valid: .CniApp has to be set when .Enabled is true",
        );
        out
    }
}

impl Injector {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.nest(".SidecarContainer is not valid", self.sidecar_container.check());
        let mut init = Violations::default();
        init.unless(!self.init_container.image.is_empty(), ".Image must be non-empty");
        init.nest(".Resources is not valid", self.init_container.resources.check());
        out.nest(".InitContainer is not valid", init);
        let mut validation = Violations::default();
        validation.nest(".Resources is not valid", self.validation_container.resources.check());
        out.nest(".ValidationContainer is not valid", validation);
        out.unless(
            check::is_port(self.builtin_dns.port),
            ".BuiltinDNS is not valid: .port must be in the range [0, 65535]",
        );
        out
    }
}

impl SidecarContainer {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(!self.image.is_empty(), ".Image must be non-empty");
        let family = matches!(self.ip_family_mode.as_str(), "" | "ipv4" | "dualstack");
        out.unless(family, ".IpFamilyMode must be either 'ipv4' or 'dualstack'");
        for (name, port) in
            [("RedirectPortInbound", self.redirect_port_inbound), ("RedirectPortOutbound", self.redirect_port_outbound)]
        {
            out.unless(check::is_port(port), format!(".{name} must be in the range [0, 65535]"));
        }
        out.unless(self.drain_time.is_positive(), ".DrainTime must be positive");
        let ready = &self.readiness_probe;
        out.nest(
            ".ReadinessProbe is not valid",
            at_least_one(&[
                ("InitialDelaySeconds", ready.initial_delay_seconds),
                ("TimeoutSeconds", ready.timeout_seconds),
                ("PeriodSeconds", ready.period_seconds),
                ("SuccessThreshold", ready.success_threshold),
                ("FailureThreshold", ready.failure_threshold),
            ]),
        );
        let live = &self.liveness_probe;
        out.nest(
            ".LivenessProbe is not valid",
            at_least_one(&[
                ("InitialDelaySeconds", live.initial_delay_seconds),
                ("TimeoutSeconds", live.timeout_seconds),
                ("PeriodSeconds", live.period_seconds),
                ("FailureThreshold", live.failure_threshold),
            ]),
        );
        out.nest(".Resources is not valid", self.resources.check());
        out
    }
}

fn at_least_one(values: &[(&str, i32)]) -> Violations {
    let mut out = Violations::default();
    for (name, value) in values {
        out.unless(*value >= 1, format!(".{name} must be >= 1"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for good in ["50m", "64Mi", "0", "1.5", "1e3", "2E", "-1", "+.5k", "512Mi", "20M"] {
            assert!(is_quantity(good), "{good}");
        }
        for bad in ["", "m", "1 Mi", "1mi", "1.2.3", "ten", "1e", "1KB", "."] {
            assert!(!is_quantity(bad), "{bad}");
        }
    }
}
