//! `general`, `defaults`, `reports`, `dnsServer`, `eventBus`, `experimental`: the short sections.

use kuma_core::duration::GoDuration;

use super::{check::Violations, setting::section};

section! {
    /// What all servers share.
    General {
        /// How long a resolved address of a Dataplane counts.
        dns_cache_ttl "dnsCacheTTL": GoDuration = GoDuration::from_secs(10), "KUMA_GENERAL_DNS_CACHE_TTL";
        /// Certificate of every server that has none of its own; empty: one is made in the work directory.
        tls_cert_file "tlsCertFile": String = String::new(), "KUMA_GENERAL_TLS_CERT_FILE";
        /// Key of that certificate.
        tls_key_file "tlsKeyFile": String = String::new(), "KUMA_GENERAL_TLS_KEY_FILE";
        /// Lowest TLS version of every server, `TLSv1_2` or `TLSv1_3`.
        tls_min_version "tlsMinVersion": String = "TLSv1_2".into(), "KUMA_GENERAL_TLS_MIN_VERSION";
        /// Highest TLS version of every server; empty: no limit.
        tls_max_version "tlsMaxVersion": String = String::new(), "KUMA_GENERAL_TLS_MAX_VERSION";
        /// Cipher suites of every server; empty: those that are safe.
        tls_cipher_suites "tlsCipherSuites": Vec<String> = Vec::new(), "KUMA_GENERAL_TLS_CIPHER_SUITES";
        /// Directory for what the control plane keeps; empty: `.kuma` in the home directory.
        work_dir "workDir": String = String::new(), "KUMA_GENERAL_WORK_DIR";
        /// First wait before a component that failed is started again.
        resilient_component_base_backoff "resilientComponentBaseBackoff": GoDuration = GoDuration::from_secs(5), "KUMA_GENERAL_RESILIENT_COMPONENT_BASE_BACKOFF";
        /// Longest wait before a component that failed is started again.
        resilient_component_max_backoff "resilientComponentMaxBackoff": GoDuration = GoDuration::from_mins(1), "KUMA_GENERAL_RESILIENT_COMPONENT_MAX_BACKOFF";
        /// First wait after a certificate could not be issued for a proxy.
        cert_generation_base_backoff "certGenerationBaseBackoff": GoDuration = GoDuration::from_secs(5), "KUMA_GENERAL_CERT_GENERATION_BASE_BACKOFF";
        /// Longest wait after a certificate could not be issued for a proxy.
        cert_generation_max_backoff "certGenerationMaxBackoff": GoDuration = GoDuration::from_mins(5), "KUMA_GENERAL_CERT_GENERATION_MAX_BACKOFF";
        /// After so many proxies without a certificate, issuing pauses; 0: never.
        cert_generation_circuit_breaker_min_proxies "certGenerationCircuitBreakerMinProxies": i64 = 10, "KUMA_GENERAL_CERT_GENERATION_CIRCUIT_BREAKER_MIN_PROXIES";
    }
}

section! {
    /// What is created at the first start.
    Defaults {
        /// No Mesh `default`.
        skip_mesh_creation "skipMeshCreation": bool = false, "KUMA_DEFAULTS_SKIP_MESH_CREATION";
        /// No default resources at all.
        skip_tenant_resources "skipTenantResources": bool = false, "KUMA_DEFAULTS_SKIP_TENANT_RESOURCES";
        /// No default HostnameGenerators.
        skip_hostname_generators "SkipHostnameGenerators": bool = false, "KUMA_DEFAULTS_SKIP_HOSTNAME_GENERATORS";
    }
}

section! {
    /// Usage reports.
    Reports {
        /// Send them.
        enabled "enabled": bool = false, "KUMA_REPORTS_ENABLED";
    }
}

section! {
    /// The legacy names of services.
    DnsServer {
        /// Suffix of the names.
        domain "domain": String = "mesh".into(), "KUMA_DNS_SERVER_DOMAIN";
        /// Port of the addresses.
        service_vip_port "serviceVipPort": u32 = 80, "KUMA_DNS_SERVER_SERVICE_VIP_PORT";
    }
}

section! {
    /// Events within the control plane.
    EventBus {
        /// Length of the queue of a subscriber.
        buffer_size "bufferSize": u64 = 100, "KUMA_EVENT_BUS_BUFFER_SIZE";
    }
}

section! {
    /// Nothing today.
    Experimental {}
}

impl General {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.tls_pair(&self.tls_cert_file, &self.tls_key_file);
        out.tls_limits(&self.tls_min_version, &self.tls_max_version, &self.tls_cipher_suites);
        out
    }
}

impl DnsServer {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(!self.domain.starts_with('.'), "domain must not start with a dot");
        out.unless(self.service_vip_port != 0, "port can't be 0");
        out.first()
    }
}
