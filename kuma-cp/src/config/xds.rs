//! `xdsServer`, `bootstrapServer`, `monitoringAssignmentServer`: what proxies and metric collectors are told.

use std::net::IpAddr;

use kuma_core::duration::GoDuration;

use super::{
    check::{self, Violations},
    setting::section,
};

section! {
    /// Configuration of proxies.
    XdsServer {
        /// Upper bound between two looks at the configuration of a proxy.
        dataplane_configuration_refresh_interval "dataplaneConfigurationRefreshInterval": GoDuration = GoDuration::from_secs(1), "KUMA_XDS_SERVER_DATAPLANE_CONFIGURATION_REFRESH_INTERVAL";
        /// How often the status of a proxy is written.
        dataplane_status_flush_interval "dataplaneStatusFlushInterval": GoDuration = GoDuration::from_secs(10), "KUMA_XDS_SERVER_DATAPLANE_STATUS_FLUSH_INTERVAL";
        /// Entries of the cache of matched policies; 0: none.
        policy_matching_cache_size "policyMatchingCacheSize": i64 = 10000, "KUMA_XDS_SERVER_POLICY_MATCHING_CACHE_SIZE";
        /// Wait before a proxy that refused a configuration gets the next one.
        nack_backoff "nackBackoff": GoDuration = GoDuration::from_secs(5), "KUMA_XDS_SERVER_NACK_BACKOFF";
        /// Wait before a Dataplane that registered itself is deleted.
        dataplane_deregistration_delay "dataplaneDeregistrationDelay": GoDuration = GoDuration::from_secs(10), "KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY";
    }
}

section! {
    /// The bootstrap of proxies.
    BootstrapServer {
        /// What goes into it.
        params "params": BootstrapParams;
    }
}

section! {
    /// What goes into the bootstrap of a proxy.
    BootstrapParams {
        /// Address of Envoy's admin.
        admin_address "adminAddress": String = "127.0.0.1".into(), "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_ADDRESS";
        /// Port of Envoy's admin.
        admin_port "adminPort": u32 = 9901, "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_PORT";
        /// Serve Envoy's admin on a Unix socket where the proxy names one.
        envoy_admin_unix_socket "envoyAdminUnixSocket": bool = true, "KUMA_BOOTSTRAP_SERVER_PARAMS_ENVOY_ADMIN_UNIX_SOCKET";
        /// Port of the readiness reporter.
        readiness_port "readinessPort": u32 = 9902, "KUMA_BOOTSTRAP_SERVER_PARAMS_READINESS_PORT";
        /// Access log of Envoy's admin.
        admin_access_log_path "adminAccessLogPath": String = "/dev/null".into(), "KUMA_BOOTSTRAP_SERVER_PARAMS_ADMIN_ACCESS_LOG_PATH";
        /// Host at which proxies reach this control plane; empty: the one that the request was sent to.
        xds_host "xdsHost": String = String::new(), "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_HOST";
        /// Port at which proxies reach this control plane; 0: `dpServer.port`.
        xds_port "xdsPort": u32 = 0, "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_PORT";
        /// Longest time for the connection of a proxy.
        xds_connect_timeout "xdsConnectTimeout": GoDuration = GoDuration::from_secs(1), "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_CONNECT_TIMEOUT";
        /// Largest message that a proxy takes, in bytes.
        xds_grpc_max_receive_message_bytes "xdsGrpcMaxReceiveMessageBytes": u32 = 4_194_304, "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_GRPC_MAX_RECEIVE_MESSAGE_BYTES";
    }
}

section! {
    /// The list of proxies for metric collectors.
    MonitoringAssignmentServer {
        /// Serve it.
        enabled "enabled": bool = true, "KUMA_MONITORING_ASSIGNMENT_SERVER_ENABLED";
        /// Port to bind.
        port "port": u32 = 5676, "KUMA_MONITORING_ASSIGNMENT_SERVER_PORT";
        /// How long a request waits for news when it does not say.
        default_fetch_timeout "defaultFetchTimeout": GoDuration = GoDuration::from_secs(30), "KUMA_MONITORING_ASSIGNMENT_SERVER_DEFAULT_FETCH_TIMEOUT";
        /// Versions of the API; only `v1`.
        api_versions "apiVersions": Vec<String> = vec!["v1".into()], "KUMA_MONITORING_ASSIGNMENT_SERVER_API_VERSIONS";
        /// How often the list is made.
        assignment_refresh_interval "assignmentRefreshInterval": GoDuration = GoDuration::from_secs(1), "KUMA_MONITORING_ASSIGNMENT_SERVER_ASSIGNMENT_REFRESH_INTERVAL";
        /// Serve it with TLS.
        tls_enabled "tlsEnabled": bool = false, "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_ENABLED";
        /// Certificate; empty: `general.tlsCertFile`.
        tls_cert_file "tlsCertFile": String = String::new(), "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_CERT_FILE";
        /// Key of the certificate; empty: `general.tlsKeyFile`.
        tls_key_file "tlsKeyFile": String = String::new(), "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_KEY_FILE";
        /// Lowest TLS version; `general.tlsMinVersion` wins when it is set.
        tls_min_version "tlsMinVersion": String = "TLSv1_2".into(), "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_MIN_VERSION";
        /// Highest TLS version; `general.tlsMaxVersion` wins when it is set.
        tls_max_version "tlsMaxVersion": String = String::new(), "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_MAX_VERSION";
        /// Cipher suites; `general.tlsCipherSuites` wins when it is set.
        tls_cipher_suites "tlsCipherSuites": Vec<String> = Vec::new(), "KUMA_MONITORING_ASSIGNMENT_SERVER_TLS_CIPHER_SUITES";
    }
}

impl XdsServer {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        let refresh = self.dataplane_configuration_refresh_interval.is_positive();
        out.unless(refresh, "DataplaneConfigurationRefreshInterval must be positive");
        out.unless(self.dataplane_status_flush_interval.is_positive(), "DataplaneStatusFlushInterval must be positive");
        out.unless(self.policy_matching_cache_size >= 0, "PolicyMatchingCacheSize must be non-negative");
        out.first()
    }
}

impl BootstrapServer {
    pub(super) fn check(&self) -> Violations {
        let params = &self.params;
        let mut inner = Violations::default();
        inner.unless(!params.admin_address.is_empty(), "AdminAddress cannot be empty");
        inner.unless(params.admin_address.parse::<IpAddr>().is_ok(), "AdminAddress should be a valid IP address");
        inner.unless(check::is_port(params.admin_port), "AdminPort must be in the range [0, 65535]");
        inner.unless(!params.admin_access_log_path.is_empty(), "AdminAccessLogPath cannot be empty");
        inner.unless(check::is_port(params.readiness_port), "ReadinessPort must be in the range [0, 65535]");
        inner.unless(check::is_port(params.xds_port), "XdsPort must be in the range [0, 65535]");
        inner.unless(!params.xds_connect_timeout.is_negative(), "XdsConnectTimeout cannot be negative");
        inner.unless(params.xds_grpc_max_receive_message_bytes != 0, "XdsGrpcMaxReceiveMessageBytes cannot be zero");
        let mut out = Violations::default();
        out.nest("Params validation failed", inner.first());
        out
    }
}

impl MonitoringAssignmentServer {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        if !self.enabled {
            return out;
        }
        out.unless(check::is_port(self.port), ".Port must be in the range [0, 65535]");
        out.unless(!self.api_versions.is_empty(), ".ApiVersions must contain at least one version");
        for version in self.api_versions.iter().filter(|v| *v != "v1") {
            out.push(format!(".ApiVersions contains invalid version {version}"));
        }
        out.unless(self.assignment_refresh_interval.is_positive(), ".AssignmentRefreshInterval must be positive");
        out.tls_pair(&self.tls_cert_file, &self.tls_key_file);
        out.tls_limits(&self.tls_min_version, &self.tls_max_version, &self.tls_cipher_suites);
        out
    }
}
