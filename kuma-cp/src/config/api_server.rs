//! `apiServer`: the REST API, its two listeners, who may call it, and the GUI.

use kuma_core::duration::GoDuration;

use super::{
    check::{self, Violations},
    key::{self, PublicKey},
    setting::section,
};

section! {
    /// The REST API.
    ApiServer {
        /// The plain listener.
        http "http": Http;
        /// The TLS listener.
        https "https": Https;
        /// Who the callers are.
        authn "authn": Authn;
        /// Every resource is read-only: PUT and DELETE answer 405.
        read_only "readOnly": bool = false, "KUMA_API_SERVER_READ_ONLY";
        /// Origins that may call the API from a browser, `https://host:port`, or `.*` for any; empty: no CORS.
        cors_allowed_domains "corsAllowedDomains": Vec<String> = Vec::new(), "KUMA_API_SERVER_CORS_ALLOWED_DOMAINS";
        /// The URL at which the GUI reaches the API from outside.
        root_url "rootUrl": String = String::new(), "KUMA_API_SERVER_ROOT_URL";
        /// Prefix of all paths of the API.
        base_path "basePath": String = "/".into(), "KUMA_API_SERVER_BASE_PATH";
        /// The GUI.
        gui "gui": Gui;
        /// Longest time for the head of a request.
        read_header_timeout "readHeaderTimeout": GoDuration = GoDuration::from_secs(1), "KUMA_API_SERVER_READ_HEADER_TIMEOUT";
        /// Longest time for a whole request.
        read_timeout "readTimeout": GoDuration = GoDuration::from_secs(10), "KUMA_API_SERVER_READ_TIMEOUT";
        /// Longest time for an answer.
        write_timeout "writeTimeout": GoDuration = GoDuration::from_secs(30), "KUMA_API_SERVER_WRITE_TIMEOUT";
        /// How long an idle connection is kept.
        idle_timeout "idleTimeout": GoDuration = GoDuration::from_mins(2), "KUMA_API_SERVER_IDLE_TIMEOUT";
    }
}

section! {
    /// The plain listener of the API.
    Http {
        /// Serve it.
        enabled "enabled": bool = true, "KUMA_API_SERVER_HTTP_ENABLED";
        /// Address to bind.
        interface "interface": String = "0.0.0.0".into(), "KUMA_API_SERVER_HTTP_INTERFACE";
        /// Port to bind.
        port "port": u32 = 5681, "KUMA_API_SERVER_HTTP_PORT";
    }
}

section! {
    /// The TLS listener of the API.
    Https {
        /// Serve it.
        enabled "enabled": bool = true, "KUMA_API_SERVER_HTTPS_ENABLED";
        /// Address to bind.
        interface "interface": String = "0.0.0.0".into(), "KUMA_API_SERVER_HTTPS_INTERFACE";
        /// Port to bind.
        port "port": u32 = 5682, "KUMA_API_SERVER_HTTPS_PORT";
        /// Certificate; empty: `general.tlsCertFile`.
        tls_cert_file "tlsCertFile": String = String::new(), "KUMA_API_SERVER_HTTPS_TLS_CERT_FILE";
        /// Key of the certificate; empty: `general.tlsKeyFile`.
        tls_key_file "tlsKeyFile": String = String::new(), "KUMA_API_SERVER_HTTPS_TLS_KEY_FILE";
        /// Lowest TLS version; `general.tlsMinVersion` wins when it is set.
        tls_min_version "tlsMinVersion": String = "TLSv1_2".into(), "KUMA_API_SERVER_HTTPS_TLS_MIN_VERSION";
        /// Highest TLS version; `general.tlsMaxVersion` wins when it is set.
        tls_max_version "tlsMaxVersion": String = String::new(), "KUMA_API_SERVER_HTTPS_TLS_MAX_VERSION";
        /// Cipher suites; `general.tlsCipherSuites` wins when it is set.
        tls_cipher_suites "tlsCipherSuites": Vec<String> = Vec::new(), "KUMA_API_SERVER_HTTPS_TLS_CIPHER_SUITES";
        /// Demand a client certificate and verify it against `tlsCaFile`.
        require_client_cert "requireClientCert": bool = false, "KUMA_API_SERVER_HTTPS_REQUIRE_CLIENT_CERT";
        /// CA that client certificates are verified with.
        tls_ca_file "tlsCaFile": String = String::new(), "KUMA_API_SERVER_HTTPS_TLS_CA_FILE";
    }
}

section! {
    /// Authentication of callers of the API.
    Authn {
        /// How users authenticate; `tokens` is built in.
        kind "type": String = "tokens".into(), "KUMA_API_SERVER_AUTHN_TYPE";
        /// A direct request from the same host acts as the admin, without a token.
        localhost_is_admin "localhostIsAdmin": bool = true, "KUMA_API_SERVER_AUTHN_LOCALHOST_IS_ADMIN";
        /// User tokens.
        tokens "tokens": Tokens;
    }
}

section! {
    /// User tokens.
    Tokens {
        /// Create the global secret `admin-user-token` at the first start.
        bootstrap_admin_token "bootstrapAdminToken": bool = true, "KUMA_API_SERVER_AUTHN_TOKENS_BOOTSTRAP_ADMIN_TOKEN";
        /// Issue user tokens on request; switch it off when all tokens are signed elsewhere.
        enable_issuer "enableIssuer": bool = true, "KUMA_API_SERVER_AUTHN_TOKENS_ENABLE_ISSUER";
        /// How tokens are verified.
        validator "validator": TokensValidator;
    }
}

section! {
    /// Verification of user tokens.
    TokensValidator {
        /// Verify with the global secrets `user-token-signing-key-<serial>`.
        use_secrets "useSecrets": bool = true, "KUMA_API_SERVER_AUTHN_TOKENS_VALIDATOR_USE_SECRETS";
        /// Keys of tokens that were signed elsewhere.
        public_keys "publicKeys": Vec<PublicKey>;
    }
}

section! {
    /// The GUI.
    Gui {
        /// Serve it.
        enabled "enabled": bool = true, "KUMA_API_SERVER_GUI_ENABLED";
        /// The URL at which it is reached from outside.
        root_url "rootUrl": String = String::new(), "KUMA_API_SERVER_GUI_ROOT_URL";
        /// Its path.
        base_path "basePath": String = "/gui".into(), "KUMA_API_SERVER_GUI_BASE_PATH";
    }
}

impl ApiServer {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        for (name, inner) in [
            (".HTTP not valid", self.http.check()),
            (".HTTPS not valid", self.https.check()),
            (".GUI not valid", self.gui.check()),
        ] {
            // The published text says such a violation twice: bare, and with the name of its listener.
            out.extend(inner.clone());
            out.nest(name, inner);
        }
        out.unless(check::is_url(&self.root_url), "RootUrl is not a valid URL");
        out.unless(check::is_url(&self.base_path), "BaseGuiPath is not a valid url");
        if self.authn.kind == "tokens"
            && let Some(text) = key::check_all(&self.authn.tokens.validator.public_keys)
        {
            let text = format!(".Tokens is not valid: {text}");
            out.push(text.clone());
            out.push(format!(".Authn is not valid: {text}"));
        }
        for (name, value) in [
            ("ReadHeaderTimeout", self.read_header_timeout),
            ("ReadTimeout", self.read_timeout),
            ("WriteTimeout", self.write_timeout),
            ("IdleTimeout", self.idle_timeout),
        ] {
            out.unless(!value.is_negative(), format!(".{name} must be greater or equal 0s"));
        }
        out
    }
}

impl Http {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(!self.interface.is_empty(), "Interface cannot be empty");
        out.unless(check::is_port(self.port), "Port must be in range [0, 65535]");
        out
    }
}

impl Https {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(!self.interface.is_empty(), ".Interface cannot be empty");
        out.unless(check::is_port(self.port), "Port must be in range [0, 65535]");
        let pair = self.tls_cert_file.is_empty() == self.tls_key_file.is_empty();
        out.unless(pair, "Both TlsCertFile and TlsKeyFile has to be specified");
        out.tls_limits(&self.tls_min_version, &self.tls_max_version, &self.tls_cipher_suites);
        out
    }
}

impl Gui {
    fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(check::is_url(&self.root_url), "RootUrl is not a valid url");
        out.unless(check::is_url(&self.base_path), "BaseGuiPath is not a valid url");
        out
    }
}
