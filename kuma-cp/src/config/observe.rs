//! `metrics`, `tracing`, `diagnostics`: what the control plane tells about itself.

use kuma_core::duration::GoDuration;

use super::{
    check::{self, Violations},
    setting::{is_zero, section},
};

section! {
    /// Statuses that are kept about proxies, zones and meshes.
    Metrics {
        /// Proxies.
        dataplane "dataplane": DataplaneMetrics;
        /// Zones.
        zone "zone": ZoneMetrics;
        /// Meshes.
        mesh "mesh": MeshMetrics;
        /// The control plane.
        control_plane "controlPlane": ControlPlaneMetrics;
        /// Metrics by OpenTelemetry.
        open_telemetry "openTelemetry": MetricsOpenTelemetry;
    }
}

section! {
    /// Proxies.
    DataplaneMetrics {
        /// Subscriptions that are kept per proxy.
        subscription_limit "subscriptionLimit": i64 = 2, "KUMA_METRICS_DATAPLANE_SUBSCRIPTION_LIMIT";
        /// After so long without a sign a proxy is offline.
        idle_timeout "idleTimeout": GoDuration = GoDuration::from_mins(5), "KUMA_METRICS_DATAPLANE_IDLE_TIMEOUT";
    }
}

section! {
    /// Zones.
    ZoneMetrics {
        /// Subscriptions that are kept per zone.
        subscription_limit "subscriptionLimit": i64 = 10, "KUMA_METRICS_ZONE_SUBSCRIPTION_LIMIT";
        /// After so long without a sign a zone is offline.
        idle_timeout "idleTimeout": GoDuration = GoDuration::from_mins(5), "KUMA_METRICS_ZONE_IDLE_TIMEOUT";
        /// Drop the details of subscriptions that ended.
        compact_finished_subscriptions "compactFinishedSubscriptions": bool = false, "KUMA_METRICS_ZONE_COMPACT_FINISHED_SUBSCRIPTIONS";
    }
}

section! {
    /// Meshes.
    MeshMetrics {
        /// Lower bound between two counts after a change.
        min_resync_interval "minResyncInterval": GoDuration = GoDuration::from_secs(1), "KUMA_METRICS_MESH_MIN_RESYNC_INTERVAL";
        /// How often everything is counted.
        full_resync_interval "fullResyncInterval": GoDuration = GoDuration::from_secs(20), "KUMA_METRICS_MESH_FULL_RESYNC_INTERVAL";
        /// Length of the queue of changes.
        buffer_size "bufferSize": i64 = 1000, "KUMA_METRICS_MESH_BUFFER_SIZE";
        /// Workers that count.
        event_processors "eventProcessors": i64 = 1, "KUMA_METRICS_MESH_EVENT_PROCESSORS";
    }
}

section! {
    /// The control plane.
    ControlPlaneMetrics {
        /// Show how many resources of each kind there are.
        report_resources_count "reportResourcesCount": bool = true, "KUMA_METRICS_CONTROL_PLANE_REPORT_RESOURCES_COUNT";
    }
}

section! {
    /// Metrics by OpenTelemetry.
    MetricsOpenTelemetry {
        /// Send them where `OTEL_EXPORTER_OTLP_ENDPOINT` is set.
        enabled "enabled": bool = true, "KUMA_METRICS_OPENTELEMETRY_ENABLED";
    }
}

section! {
    /// Traces of the control plane.
    Tracing {
        /// Traces by OpenTelemetry.
        open_telemetry "openTelemetry": TracingOpenTelemetry;
    }
}

section! {
    /// Traces by OpenTelemetry.
    TracingOpenTelemetry {
        /// Send them.
        enabled "enabled" skip "is_zero": bool = false, "KUMA_TRACING_OPENTELEMETRY_ENABLED";
        /// Where they are sent.
        endpoint "endpoint" skip "is_zero": String = String::new(), "KUMA_TRACING_OPENTELEMETRY_ENDPOINT";
    }
}

section! {
    /// The port of health, metrics and log levels.
    Diagnostics {
        /// Port to bind.
        server_port "serverPort": u32 = 5680, "KUMA_DIAGNOSTICS_SERVER_PORT";
        /// Serve profiles as well.
        debug_endpoints "debugEndpoints": bool = false, "KUMA_DIAGNOSTICS_DEBUG_ENDPOINTS";
        /// Serve it with TLS.
        tls_enabled "tlsEnabled": bool = false, "KUMA_DIAGNOSTICS_TLS_ENABLED";
        /// Certificate; empty: `general.tlsCertFile`.
        tls_cert_file "tlsCertFile": String = String::new(), "KUMA_DIAGNOSTICS_TLS_CERT_FILE";
        /// Key of the certificate; empty: `general.tlsKeyFile`.
        tls_key_file "tlsKeyFile": String = String::new(), "KUMA_DIAGNOSTICS_TLS_KEY_FILE";
        /// Lowest TLS version; `general.tlsMinVersion` wins when it is set.
        tls_min_version "tlsMinVersion": String = "TLSv1_2".into(), "KUMA_DIAGNOSTICS_TLS_MIN_VERSION";
        /// Highest TLS version; `general.tlsMaxVersion` wins when it is set.
        tls_max_version "tlsMaxVersion": String = String::new(), "KUMA_DIAGNOSTICS_TLS_MAX_VERSION";
        /// Cipher suites; `general.tlsCipherSuites` wins when it is set.
        tls_cipher_suites "tlsCipherSuites": Vec<String> = Vec::new(), "KUMA_DIAGNOSTICS_TLS_CIPHER_SUITES";
    }
}

impl Metrics {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        for (name, limit) in [("Dataplane", self.dataplane.subscription_limit), ("Zone", self.zone.subscription_limit)]
        {
            let text = format!("{name} validation failed: SubscriptionLimit should be positive or equal 0");
            out.unless(limit >= 0, text);
        }
        out.unless(
            self.mesh.full_resync_interval > self.mesh.min_resync_interval,
            "Mesh validation failed: FullResyncInterval should be greater than MinResyncInterval",
        );
        out.first()
    }
}

impl Diagnostics {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(check::is_port(self.server_port), ".ServerPort must be in the range [0, 65535]");
        out.tls_pair(&self.tls_cert_file, &self.tls_key_file);
        out.tls_limits(&self.tls_min_version, &self.tls_max_version, &self.tls_cipher_suites);
        out
    }
}
