//! `dpServer`: the port of the proxies, and how they prove who they are.

use kuma_core::duration::GoDuration;

use super::{
    check::Violations,
    key::{self, MeshedPublicKey, PublicKey},
    setting::section,
};

section! {
    /// The port of the proxies.
    DpServer {
        /// Port to bind.
        port "port": i64 = 5678, "KUMA_DP_SERVER_PORT";
        /// Certificate; empty: `general.tlsCertFile`.
        tls_cert_file "tlsCertFile": String = String::new(), "KUMA_DP_SERVER_TLS_CERT_FILE";
        /// Key of the certificate; empty: `general.tlsKeyFile`.
        tls_key_file "tlsKeyFile": String = String::new(), "KUMA_DP_SERVER_TLS_KEY_FILE";
        /// Lowest TLS version; `general.tlsMinVersion` wins when it is set.
        tls_min_version "tlsMinVersion": String = "TLSv1_2".into(), "KUMA_DP_SERVER_TLS_MIN_VERSION";
        /// Highest TLS version; `general.tlsMaxVersion` wins when it is set.
        tls_max_version "tlsMaxVersion": String = String::new(), "KUMA_DP_SERVER_TLS_MAX_VERSION";
        /// Cipher suites; `general.tlsCipherSuites` wins when it is set.
        tls_cipher_suites "tlsCipherSuites": Vec<String> = Vec::new(), "KUMA_DP_SERVER_TLS_CIPHER_SUITES";
        /// Longest time for the head of a request.
        read_header_timeout "readHeaderTimeout": GoDuration = GoDuration::from_secs(5), "KUMA_DP_SERVER_READ_HEADER_TIMEOUT";
        /// Longest time for requests and streams to end when the control plane stops.
        graceful_shutdown_timeout "gracefulShutdownTimeout": GoDuration = GoDuration::from_secs(10), "KUMA_DP_SERVER_GRACEFUL_SHUTDOWN_TIMEOUT";
        /// How proxies prove who they are.
        authn "authn": DpAuthn;
        /// Health checks through Envoy.
        hds "hds": Hds;
    }
}

section! {
    /// How proxies prove who they are.
    DpAuthn {
        /// Dataplane proxies.
        dp_proxy "dpProxy": DpProxyAuthn;
        /// Zone proxies.
        zone_proxy "zoneProxy": ZoneProxyAuthn;
        /// Proxies read their token from a file again and again.
        enable_reloadable_tokens "enableReloadableTokens": bool = false, "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS";
    }
}

section! {
    /// How dataplane proxies prove who they are.
    DpProxyAuthn {
        /// `dpToken`, `serviceAccountToken` or `none`; empty: what fits the environment.
        kind "type": String = String::new(), "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE";
        /// Dataplane tokens.
        dp_token "dpToken": DpToken;
    }
}

section! {
    /// Dataplane tokens.
    DpToken {
        /// Issue them on request; switch it off when all tokens are signed elsewhere.
        enable_issuer "enableIssuer": bool = true, "KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER";
        /// How they are verified.
        validator "validator": DpTokenValidator;
    }
}

section! {
    /// Verification of dataplane tokens.
    DpTokenValidator {
        /// Verify with the secrets `dataplane-token-signing-key-<mesh>-<serial>`.
        use_secrets "useSecrets": bool = true, "KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_VALIDATOR_USE_SECRETS";
        /// Keys of tokens that were signed elsewhere.
        public_keys "publicKeys": Vec<MeshedPublicKey>;
    }
}

section! {
    /// How zone proxies prove who they are.
    ZoneProxyAuthn {
        /// `zoneToken`, `serviceAccountToken` or `none`; empty: what fits the environment.
        kind "type": String = String::new(), "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE";
        /// Zone tokens.
        zone_token "zoneToken": ZoneToken;
    }
}

section! {
    /// Zone tokens.
    ZoneToken {
        /// Issue them on request; switch it off when all tokens are signed elsewhere.
        enable_issuer "enableIssuer": bool = true, "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER";
        /// How they are verified.
        validator "validator": ZoneTokenValidator;
    }
}

section! {
    /// Verification of zone tokens.
    ZoneTokenValidator {
        /// Verify with the global secrets `zone-token-signing-key-<serial>`.
        use_secrets "useSecrets": bool = true, "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS";
        /// Keys of tokens that were signed elsewhere.
        public_keys "publicKeys": Vec<PublicKey>;
    }
}

section! {
    /// Health checks through Envoy.
    Hds {
        /// Use them.
        enabled "enabled": bool = true, "KUMA_DP_SERVER_HDS_ENABLED";
        /// How often Envoy reports.
        interval "interval": GoDuration = GoDuration::from_secs(5), "KUMA_DP_SERVER_HDS_INTERVAL";
        /// Upper bound between two looks at what is to be checked.
        refresh_interval "refreshInterval": GoDuration = GoDuration::from_secs(10), "KUMA_DP_SERVER_HDS_REFRESH_INTERVAL";
        /// What a check does that does not say.
        check_defaults "checkDefaults": HdsCheck;
    }
}

section! {
    /// What a health check does that does not say.
    HdsCheck {
        /// Longest time for an answer.
        timeout "timeout": GoDuration = GoDuration::from_secs(2), "KUMA_DP_SERVER_HDS_CHECK_TIMEOUT";
        /// Time between two checks.
        interval "interval": GoDuration = GoDuration::from_secs(1), "KUMA_DP_SERVER_HDS_CHECK_INTERVAL";
        /// Time between two checks of what sees no traffic.
        no_traffic_interval "noTrafficInterval": GoDuration = GoDuration::from_secs(1), "KUMA_DP_SERVER_HDS_CHECK_NO_TRAFFIC_INTERVAL";
        /// Good answers until it counts as healthy.
        healthy_threshold "healthyThreshold": u32 = 1, "KUMA_DP_SERVER_HDS_CHECK_HEALTHY_THRESHOLD";
        /// Bad answers until it counts as unhealthy.
        unhealthy_threshold "unhealthyThreshold": u32 = 1, "KUMA_DP_SERVER_HDS_CHECK_UNHEALTHY_THRESHOLD";
    }
}

impl DpServer {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(self.port >= 0, ".Port cannot be negative");
        out.unless(self.port <= 65535, ".Port must be in the range [0, 65535]");
        out.nest(".Auth is invalid", self.authn.check());
        out.tls_pair(&self.tls_cert_file, &self.tls_key_file);
        out.tls_limits(&self.tls_min_version, &self.tls_max_version, &self.tls_cipher_suites);
        out.unless(!self.read_header_timeout.is_negative(), "ReadHeaderTimeout must be greater or equal 0s");
        out.unless(self.graceful_shutdown_timeout.is_positive(), ".GracefulShutdownTimeout must be greater than 0s");
        out.nest(".Hds is invalid", self.hds.check());
        out
    }
}

impl DpAuthn {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        let dp = &self.dp_proxy;
        match dp.kind.as_str() {
            // Empty becomes `dpToken` on universal, so its keys are judged as well.
            "" | "dpToken" => {
                let keys = dp.dp_token.validator.public_keys.iter().map(|k| &k.key);
                if let Some(text) = key::check_all(keys) {
                    out.push(format!(".DpProxy is not valid: .DpToken is not valid: {text}"));
                }
            }
            "serviceAccountToken" | "none" => {}
            other => out.push(format!(
                ".DpProxy is not valid: .Type should be dpToken, serviceAccountToken or none, not {other:?}"
            )),
        }
        let zone = &self.zone_proxy;
        match zone.kind.as_str() {
            "" | "zoneToken" => {
                if let Some(text) = key::check_all(&zone.zone_token.validator.public_keys) {
                    out.push(format!(".ZoneProxy is not valid: .ZoneToken is not valid: {text}"));
                }
            }
            "serviceAccountToken" | "none" => {}
            other => out.push(format!(
                ".ZoneProxy is not valid: .Type should be zoneToken, serviceAccountToken or none, not {other:?}"
            )),
        }
        out
    }
}

impl Hds {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(self.interval.is_positive(), "Interval must be greater than 0s");
        let check = &self.check_defaults;
        for (name, value) in
            [("Timeout", check.timeout), ("Interval", check.interval), ("NoTrafficInterval", check.no_traffic_interval)]
        {
            out.unless(value.is_positive(), format!("Check is invalid: {name} must be greater than 0s"));
        }
        out.first()
    }
}
