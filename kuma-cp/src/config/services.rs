//! `ipam`, `meshService`, `coreResources`, `policies`: generated resources, their addresses, and which kinds exist.

use ipnet::IpNet;
use kuma_core::duration::GoDuration;

use super::{check::Violations, setting::section};

/// Plural names of the policies that are on by default.
pub const POLICIES: [&str; 16] = [
    "meshaccesslogs",
    "meshcircuitbreakers",
    "meshfaultinjections",
    "meshhealthchecks",
    "meshhttproutes",
    "meshloadbalancingstrategies",
    "meshmetrics",
    "meshpassthroughs",
    "meshproxypatches",
    "meshratelimits",
    "meshretries",
    "meshtcproutes",
    "meshtimeouts",
    "meshtlses",
    "meshtraces",
    "meshtrafficpermissions",
];

/// Plural names of the core resources that are on by default.
pub const CORE_RESOURCES: [&str; 9] = [
    "hostnamegenerators",
    "meshexternalservices",
    "meshidentities",
    "meshmultizoneservices",
    "meshopentelemetrybackends",
    "meshservices",
    "meshtrusts",
    "meshzoneaddresses",
    "workloads",
];

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

section! {
    /// Virtual addresses.
    Ipam {
        /// Addresses of MeshServices.
        mesh_service "meshService": Addresses = Addresses { cidr: "241.0.0.0/8".into() }, "KUMA_IPAM_MESH_SERVICE";
        /// Addresses of MeshExternalServices.
        mesh_external_service "meshExternalService": Addresses = Addresses { cidr: "242.0.0.0/8".into() }, "KUMA_IPAM_MESH_EXTERNAL_SERVICE";
        /// Addresses of MeshMultiZoneServices.
        mesh_multi_zone_service "meshMultiZoneService": Addresses = Addresses { cidr: "243.0.0.0/8".into() }, "KUMA_IPAM_MESH_MULTI_ZONE_SERVICE";
        /// Upper bound between two looks at what needs an address or a hostname.
        allocation_interval "allocationInterval": GoDuration = GoDuration::from_secs(5), "KUMA_IPAM_ALLOCATION_INTERVAL";
        /// Clients that Envoy treats as internal.
        known_internal_cidrs "knownInternalCIDRs": Vec<String> = texts(&["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fc00::/7", "fd00::/8", "127.0.0.1/32", "::1/128"]), "KUMA_IPAM_KNOWN_INTERNAL_CIDRS";
    }
}

section! {
    /// A range of addresses.
    Addresses {
        /// The range.
        cidr "cidr": String = String::new(), "_CIDR";
    }
}

section! {
    /// MeshServices that are generated from Dataplanes.
    MeshService {
        /// Upper bound between two looks; 0: none are generated.
        generation_interval "generationInterval": GoDuration = GoDuration::from_secs(2), "KUMA_MESH_SERVICE_GENERATION_INTERVAL";
        /// Wait before a MeshService without Dataplanes is deleted.
        deletion_grace_period "deletionGracePeriod": GoDuration = GoDuration::from_hours(1), "KUMA_MESH_SERVICE_DELETION_GRACE_PERIOD";
        /// Labels of users on what is generated.
        label_propagation "labelPropagation": LabelPropagation;
    }
}

section! {
    /// Labels of users on what is generated.
    LabelPropagation {
        /// Copy them.
        enabled "enabled": bool = false, "KUMA_MESH_SERVICE_LABEL_PROPAGATION_ENABLED";
        /// Only these keys; empty: all that are not reserved.
        allowed_label_keys "allowedLabelKeys": Vec<String> = Vec::new(), "KUMA_MESH_SERVICE_LABEL_PROPAGATION_ALLOWED_LABEL_KEYS";
    }
}

section! {
    /// Kinds that are no policies.
    CoreResources {
        /// Plural names of those that exist.
        enabled "enabled": Vec<String> = texts(&CORE_RESOURCES), "KUMA_CORE_RESOURCES_ENABLED";
        /// How often their status is written.
        status "status": StatusIntervals;
    }
}

section! {
    /// Upper bounds between two looks at a status.
    StatusIntervals {
        /// MeshMultiZoneService.
        mesh_multi_zone_service_interval "meshMultiZoneServiceInterval": GoDuration = GoDuration::from_secs(5), "KUMA_CORE_RESOURCES_STATUS_MESH_MULTI_ZONE_SERVICE_INTERVAL";
        /// MeshService.
        mesh_service_interval "meshServiceInterval": GoDuration = GoDuration::from_secs(5), "KUMA_CORE_RESOURCES_STATUS_MESH_SERVICE_INTERVAL";
        /// MeshIdentity.
        mesh_identity_interval "meshIdentityInterval": GoDuration = GoDuration::from_secs(5), "KUMA_CORE_RESOURCES_STATUS_MESH_IDENTITY_INTERVAL";
        /// Workload.
        workload_interval "workloadInterval": GoDuration = GoDuration::from_secs(5), "KUMA_CORE_RESOURCES_STATUS_WORKLOAD_INTERVAL";
        /// MeshOpenTelemetryBackend.
        mesh_open_telemetry_backend_interval "meshOpenTelemetryBackendInterval": GoDuration = GoDuration::from_secs(5), "KUMA_CORE_RESOURCES_STATUS_MESH_OPEN_TELEMETRY_BACKEND_INTERVAL";
    }
}

section! {
    /// Kinds that are policies.
    Policies {
        /// Plural names of those that exist.
        plugin_policies_enabled "pluginPoliciesEnabled": Vec<String> = texts(&POLICIES), "KUMA_PLUGIN_POLICIES_ENABLED";
    }
}

fn cidr_error(text: &str) -> Option<String> {
    text.parse::<IpNet>().err().map(|_| format!("invalid CIDR address: {text}"))
}

impl Ipam {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        // "Servie" is how the texts are published.
        for (section, name, range) in [
            ("MeshServie", "MeshServiceCIDR", &self.mesh_service),
            ("MeshExternalServie", "MeshExternalServiceCIDR", &self.mesh_external_service),
            ("MeshMultiZoneService", "MeshMultiZoneServiceCIDR", &self.mesh_multi_zone_service),
        ] {
            if let Some(error) = cidr_error(&range.cidr) {
                out.push(format!("{section} validation failed: .{name} is invalid: {error}"));
            }
        }
        for entry in &self.known_internal_cidrs {
            if let Some(error) = cidr_error(entry) {
                out.push(format!("entry '{entry}' in .KnownInternalCIDRs is invalid: {error}"));
            }
        }
        out.first()
    }
}

impl MeshService {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        for key in &self.label_propagation.allowed_label_keys {
            let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
            let reserved = prefix == "kuma.io" || prefix.ends_with(".kuma.io");
            let text = format!(".MeshService.LabelPropagation.AllowedLabelKeys contains reserved key {key:?}");
            out.unless(!reserved, text);
        }
        out.first()
    }
}
