//! `multizone` and `interCp`: the other control planes, over zones and within one.

use kuma_core::duration::GoDuration;

use super::{
    check::{self, Violations},
    setting::{is_zero, section},
};

section! {
    /// Several zones.
    Multizone {
        /// On the global control plane.
        global "global": Global;
        /// On the control plane of a zone.
        zone "zone": Zone;
    }
}

section! {
    /// On the global control plane.
    Global {
        /// The port of the zones.
        kds "kds": KdsServer;
    }
}

section! {
    /// The port of the zones on the global control plane.
    KdsServer {
        /// Port to bind.
        grpc_port "grpcPort": u32 = 5685, "KUMA_MULTIZONE_GLOBAL_KDS_GRPC_PORT";
        /// How often the status of a zone is written.
        zone_insight_flush_interval "zoneInsightFlushInterval": GoDuration = GoDuration::from_secs(10), "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_INSIGHT_FLUSH_INTERVAL";
        /// Serve it with TLS.
        tls_enabled "tlsEnabled": bool = true, "KUMA_MULTIZONE_GLOBAL_KDS_TLS_ENABLED";
        /// Certificate; empty: `general.tlsCertFile`.
        tls_cert_file "tlsCertFile": String = String::new(), "KUMA_MULTIZONE_GLOBAL_KDS_TLS_CERT_FILE";
        /// Key of the certificate; empty: `general.tlsKeyFile`.
        tls_key_file "tlsKeyFile": String = String::new(), "KUMA_MULTIZONE_GLOBAL_KDS_TLS_KEY_FILE";
        /// Lowest TLS version; `general.tlsMinVersion` wins when it is set.
        tls_min_version "tlsMinVersion": String = "TLSv1_2".into(), "KUMA_MULTIZONE_GLOBAL_KDS_TLS_MIN_VERSION";
        /// Highest TLS version; `general.tlsMaxVersion` wins when it is set.
        tls_max_version "tlsMaxVersion": String = String::new(), "KUMA_MULTIZONE_GLOBAL_KDS_TLS_MAX_VERSION";
        /// Cipher suites; `general.tlsCipherSuites` wins when it is set.
        tls_cipher_suites "tlsCipherSuites": Vec<String> = Vec::new(), "KUMA_MULTIZONE_GLOBAL_KDS_TLS_CIPHER_SUITES";
        /// Largest message in bytes, also between instances.
        max_msg_size "maxMsgSize": u32 = 10_485_760, "KUMA_MULTIZONE_GLOBAL_KDS_MAX_MSG_SIZE";
        /// A stream ends when one message takes longer.
        msg_send_timeout "msgSendTimeout": GoDuration = GoDuration::from_secs(60), "KUMA_MULTIZONE_GLOBAL_KDS_MSG_SEND_TIMEOUT";
        /// Wait after a zone refused something.
        nack_backoff "nackBackoff": GoDuration = GoDuration::from_secs(5), "KUMA_MULTIZONE_GLOBAL_KDS_NACK_BACKOFF";
        /// Wait before an answer.
        response_backoff "responseBackoff": GoDuration = GoDuration::ZERO, "KUMA_MULTIZONE_GLOBAL_KDS_RESPONSE_BACKOFF";
        /// Log whole messages at debug.
        log_payloads "logPayloads": bool = false, "KUMA_MULTIZONE_GLOBAL_KDS_LOG_PAYLOADS";
        /// Pace of the stream.
        event_based_watchdog "eventBasedWatchdog": Watchdog = Watchdog::default(), "KUMA_MULTIZONE_GLOBAL_KDS_EVENT_BASED_WATCHDOG";
        /// Whether zones are alive.
        zone_health_check "zoneHealthCheck": ZoneHealthCheck;
        /// Tracing of the streams.
        tracing "tracing": KdsTracing;
        /// Labels on the way to zones.
        labels "labels": KdsLabels = KdsLabels::default(), "KUMA_MULTIZONE_GLOBAL_KDS_LABELS";
    }
}

section! {
    /// Pace of a stream between control planes.
    Watchdog {
        /// How often changes are sent.
        flush_interval "flushInterval": GoDuration = GoDuration::from_secs(1), "_FLUSH_INTERVAL";
        /// How often everything is compared.
        full_resync_interval "fullResyncInterval": GoDuration = GoDuration::from_secs(1), "_FULL_RESYNC_INTERVAL";
        /// Wait for a random time before everything is compared first.
        delay_full_resync "delayFullResync": bool = false, "_DELAY_FULL_RESYNC";
    }
}

section! {
    /// Whether zones are alive.
    ZoneHealthCheck {
        /// How often it is looked at.
        poll_interval "pollInterval": GoDuration = GoDuration::ZERO, "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_POLL_INTERVAL";
        /// After so long without a sign a zone is offline.
        timeout "timeout": GoDuration = GoDuration::ZERO, "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_TIMEOUT";
        /// Close the connections of a zone that were not closed properly.
        close_stale_conn "closeStaleConn": bool = false, "KUMA_MULTIZONE_GLOBAL_KDS_ZONE_HEALTH_CHECK_CLOSE_STALE_CONN";
    }
}

section! {
    /// Tracing of the streams of zones.
    KdsTracing {
        /// Trace them.
        enabled "enabled" skip "is_zero": bool = true, "KUMA_MULTIZONE_GLOBAL_KDS_TRACING_ENABLED";
    }
}

section! {
    /// Labels on the way between control planes.
    KdsLabels {
        /// Labels with these prefixes stay behind.
        skip_prefixes "skipPrefixes" skip "is_zero": Vec<String> = Vec::new(), "_SKIP_PREFIXES";
    }
}

section! {
    /// On the control plane of a zone.
    Zone {
        /// Name of the zone.
        name "name" skip "is_zero": String = "default".into(), "KUMA_MULTIZONE_ZONE_NAME";
        /// The global control plane, `grpcs://host:port`; empty: none.
        global_address "globalAddress" skip "is_zero": String = String::new(), "KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS";
        /// The stream to the global control plane.
        kds "kds": KdsClient;
        /// Do not check the label `kuma.io/origin` of what is written.
        disable_origin_label_validation "disableOriginLabelValidation" skip "is_zero": bool = false, "KUMA_MULTIZONE_ZONE_DISABLE_ORIGIN_LABEL_VALIDATION";
    }
}

section! {
    /// The stream to the global control plane.
    KdsClient {
        /// Do not verify the global control plane.
        tls_skip_verify "tlsSkipVerify": bool = false, "KUMA_MULTIZONE_ZONE_KDS_TLS_SKIP_VERIFY";
        /// CA that the global control plane is verified with.
        root_ca_file "rootCaFile": String = String::new(), "KUMA_MULTIZONE_ZONE_KDS_ROOT_CA_FILE";
        /// Largest message in bytes.
        max_msg_size "maxMsgSize": u32 = 10_485_760, "KUMA_MULTIZONE_ZONE_KDS_MAX_MSG_SIZE";
        /// The stream ends when one message takes longer.
        msg_send_timeout "msgSendTimeout": GoDuration = GoDuration::from_secs(60), "KUMA_MULTIZONE_ZONE_KDS_MSG_SEND_TIMEOUT";
        /// Wait after the global control plane refused something.
        nack_backoff "nackBackoff": GoDuration = GoDuration::from_secs(5), "KUMA_MULTIZONE_ZONE_KDS_NACK_BACKOFF";
        /// Wait before an answer.
        response_backoff "responseBackoff": GoDuration = GoDuration::ZERO, "KUMA_MULTIZONE_ZONE_KDS_RESPONSE_BACKOFF";
        /// Log whole messages at debug.
        log_payloads "logPayloads": bool = false, "KUMA_MULTIZONE_ZONE_KDS_LOG_PAYLOADS";
        /// Pace of the stream.
        event_based_watchdog "eventBasedWatchdog": Watchdog = Watchdog::default(), "KUMA_MULTIZONE_ZONE_KDS_EVENT_BASED_WATCHDOG";
        /// Labels on the way to the global control plane.
        labels "labels": KdsLabels = KdsLabels::default(), "KUMA_MULTIZONE_ZONE_KDS_LABELS";
    }
}

section! {
    /// Instances of one control plane.
    InterCp {
        /// The list of instances.
        catalog "catalog": Catalog;
        /// The port of the other instances.
        server "server": InterCpServer;
    }
}

section! {
    /// The list of instances.
    Catalog {
        /// Address at which the others reach this one; empty: the first that is not a loopback address.
        instance_address "instanceAddress": String = String::new(), "KUMA_INTER_CP_CATALOG_INSTANCE_ADDRESS";
        /// A label of this instance.
        instance_version "instanceVersion": String = String::new(), "KUMA_INTER_CP_CATALOG_INSTANCE_VERSION";
        /// How often this one tells the leader that it lives.
        heartbeat_interval "heartbeatInterval": GoDuration = GoDuration::from_secs(5), "KUMA_INTER_CP_CATALOG_HEARTBEAT_INTERVAL";
        /// How often the leader writes the list.
        writer_interval "writerInterval": GoDuration = GoDuration::from_secs(15), "KUMA_INTER_CP_CATALOG_WRITER_INTERVAL";
    }
}

section! {
    /// The port of the other instances.
    InterCpServer {
        /// Port to bind.
        port "port": u16 = 5683, "KUMA_INTER_CP_SERVER_PORT";
        /// Lowest TLS version; `general.tlsMinVersion` wins when it is set.
        tls_min_version "tlsMinVersion": String = "TLSv1_2".into(), "KUMA_INTER_CP_SERVER_TLS_MIN_VERSION";
        /// Highest TLS version; `general.tlsMaxVersion` wins when it is set.
        tls_max_version "tlsMaxVersion": String = String::new(), "KUMA_INTER_CP_SERVER_TLS_MAX_VERSION";
        /// Cipher suites; `general.tlsCipherSuites` wins when it is set.
        tls_cipher_suites "tlsCipherSuites": Vec<String> = Vec::new(), "KUMA_INTER_CP_SERVER_TLS_CIPHER_SUITES";
    }
}

impl Global {
    pub(super) fn check(&self) -> Violations {
        let kds = &self.kds;
        let mut out = Violations::default();
        out.unless(check::is_port(kds.grpc_port), ".GrpcPort must be in the range [0, 65535]");
        out.unless(kds.zone_insight_flush_interval.is_positive(), ".ZoneInsightFlushInterval must be positive");
        out.nest("invalid eventBasedWatchdog config", kds.event_based_watchdog.check());
        out.tls_pair(&kds.tls_cert_file, &kds.tls_key_file);
        out.tls_limits(&kds.tls_min_version, &kds.tls_max_version, &kds.tls_cipher_suites);
        let health = &kds.zone_health_check;
        out.unless(
            health.timeout.is_positive() == health.poll_interval.is_positive(),
            "invalid zoneHealthCheck config: timeout and pollInterval must both be either set or unset",
        );
        out
    }
}

impl Zone {
    /// Does this zone belong to a global control plane?
    pub fn is_federated(&self) -> bool {
        !self.global_address.is_empty() && !self.name.is_empty()
    }

    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        if self.name.is_empty() {
            out.push("Name is mandatory");
            return out;
        }
        let violations = check::label_violations(&self.name);
        if !violations.is_empty() {
            let violations = violations.join(", ");
            out.push(format!("Zone name {:?} has to be a valid RFC1035 DNS label: {violations}", self.name));
        }
        if !self.global_address.is_empty() {
            match self.global_address.split_once("://") {
                Some(("grpc" | "grpcs", rest)) if !rest.is_empty() && check::is_url(&self.global_address) => {}
                Some(("grpc" | "grpcs", _)) => out.push(format!(
                    "unable to parse zone GlobalAddress.: {:?} is not of the form grpcs://host:port",
                    self.global_address
                )),
                other => out.push(format!(
                    "unsupported scheme {:?} in zone GlobalAddress. Use one of [grpc grpcs]",
                    other.map(|(scheme, _)| scheme).unwrap_or_default()
                )),
            }
            let mut inner = Violations::default();
            inner.nest("invalid eventBasedWatchdog config", self.kds.event_based_watchdog.check());
            out.nest(".KDS validation error", inner);
        }
        out.first()
    }
}

impl Watchdog {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(self.flush_interval.is_positive(), ".FlushInterval must be positive");
        out.unless(self.full_resync_interval.is_positive(), ".FullResyncInterval must be positive");
        out
    }
}

impl InterCp {
    pub(super) fn check(&self) -> Violations {
        let mut server = Violations::default();
        server.unless(self.server.port != 0, ".Port cannot be zero");
        let limits = &self.server;
        server.tls_limits_spaced(" ", &limits.tls_min_version, &limits.tls_max_version, &limits.tls_cipher_suites);
        let mut out = Violations::default();
        out.nest(".Server validation failed", server);
        let address = &self.catalog.instance_address;
        out.unless(
            address.is_empty() || check::is_host(address),
            ".Catalog validation failed: .InstanceAddress has to be valid IP or DNS address",
        );
        out.first()
    }
}
