//! Validation of the whole configuration: the order of the sections and the words of their texts are published.
//!
//! Each section checks itself and returns its violations; here they get the name of their section.

use std::{fmt, net::IpAddr};

use super::{Config, Environment, Mode, store::StoreType};

/// What is wrong with a section, in the order in which it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations(Vec<String>);

impl Violations {
    pub(super) fn push(&mut self, text: impl Into<String>) {
        self.0.push(text.into());
    }

    /// Adds `text` unless the condition holds.
    pub(super) fn unless(&mut self, holds: bool, text: impl Into<String>) {
        if !holds {
            self.push(text);
        }
    }

    /// Adds all of `other` as one violation below `name`.
    pub(super) fn nest(&mut self, name: &str, other: Self) {
        if !other.0.is_empty() {
            self.push(format!("{name}: {other}"));
        }
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Only the first one.
    pub(super) fn first(mut self) -> Self {
        self.0.truncate(1);
        self
    }

    /// The three TLS limits that every server has.
    pub(super) fn tls_limits(&mut self, min: &str, max: &str, ciphers: &[String]) {
        self.tls_limits_spaced("", min, max, ciphers);
    }

    /// As [`Self::tls_limits`], with what the section puts between the key and the text.
    pub(super) fn tls_limits_spaced(&mut self, space: &str, min: &str, max: &str, ciphers: &[String]) {
        for (key, version) in [("TlsMinVersion", min), ("TlsMaxVersion", max)] {
            if !matches!(version, "" | "TLSv1_2" | "TLSv1_3") {
                self.push(format!(
                    ".{key}{space}unsupported tls version: {version} supported versions:[TLSv1_2 TLSv1_3]"
                ));
            }
        }
        if let Some(unknown) = ciphers.iter().find(|c| !crate::tls::is_known_cipher(c)) {
            let (insecure, secure) = (crate::tls::INSECURE_CIPHERS.join(" "), crate::tls::SECURE_CIPHERS.join(" "));
            self.push(format!(
                ".TlsCipherSuites{space}unsupported tls cipher: {unknown} supported ciphers insecure:[{insecure}], secure:[{secure}]"
            ));
        }
    }

    /// A certificate and its key come together.
    pub(super) fn tls_pair(&mut self, cert: &str, key: &str) {
        self.unless(key.is_empty() || !cert.is_empty(), ".TlsCertFile cannot be empty if TlsKeyFile has been set");
        self.unless(cert.is_empty() || !key.is_empty(), ".TlsKeyFile cannot be empty if TlsCertFile has been set");
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

pub(super) fn is_port(value: u32) -> bool {
    value <= 65535
}

/// An absolute or relative URL, or nothing: what cannot be one has control characters, a bad port or a bad escape.
pub(super) fn is_url(text: &str) -> bool {
    match url::Url::parse(text) {
        Err(url::ParseError::RelativeUrlWithoutBase | url::ParseError::EmptyHost) => !text.contains(char::is_control),
        Err(_) => false,
        Ok(_) => !text.contains(char::is_control),
    }
}

/// An IP address, or a name of DNS labels.
pub(super) fn is_host(text: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
    };
    text.parse::<IpAddr>().is_ok()
        || (text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label))
}

/// What keeps `name` from being a DNS-1035 label, in the known words.
pub(super) fn label_violations(name: &str) -> Vec<&'static str> {
    let mut out = Vec::new();
    if name.len() > 63 {
        out.push("must be no more than 63 characters");
    }
    let bytes = name.as_bytes();
    let formed = bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(|b| *b != b'-')
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if !formed {
        out.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        );
    }
    out
}

impl Config {
    /// Checks everything that can be told from the values alone. The error is the first section that is not valid,
    /// with all of its violations.
    pub fn check(&self) -> Result<(), String> {
        let Some(mode) = self.mode() else {
            return Err("Mode validation failed: invalid mode. Available modes: zone, global".to_owned());
        };
        let environment = self.environment().ok_or("Environment should be either kubernetes or universal");
        let mut sections: Vec<(&str, Violations)> = Vec::new();
        match mode {
            Mode::Global => {
                let what = if environment? == Environment::Kubernetes {
                    Some("environment=kubernetes")
                } else if self.store.kind == StoreType::Kubernetes.as_str() {
                    Some("store.type=kubernetes")
                } else {
                    None
                };
                if let Some(what) = what {
                    return Err(format!(
                        "Kubernetes-native Global Control Plane is not supported: mode=global cannot be combined with {what}. \
                         Run mode=global with environment=universal backed by a non-Kubernetes store such as PostgreSQL, \
                         even when Kuma CP itself is deployed on Kubernetes"
                    ));
                }
                sections.push(("Multizone Global", self.multizone.global.check()));
            }
            Mode::Zone => {
                sections.extend([
                    ("Multizone Zone", self.multizone.zone.check()),
                    ("Xds Server", self.xds_server.check()),
                    ("Bootstrap Server", self.bootstrap_server.check()),
                    ("Monitoring Assignment Server", self.monitoring_assignment_server.check()),
                ]);
                // The environment is judged between sections, so what comes before it is reported first.
                report(&sections)?;
                sections = vec![("Runtime", self.runtime.check(environment?)), ("Metrics", self.metrics.check())];
            }
        }
        sections.extend([
            ("Store", self.store.check()),
            ("ApiServer", self.api_server.check()),
            ("DNSServer", self.dns_server.check()),
            ("Diagnostics", self.diagnostics.check()),
            ("InterCp", self.inter_cp.check()),
            ("IPAM", self.ipam.check()),
            ("MeshService", self.mesh_service.check()),
            ("General", self.general.check()),
            ("DpServer", self.dp_server.check()),
            ("Access", self.access.check()),
        ]);
        report(&sections)
    }
}

fn report(sections: &[(&str, Violations)]) -> Result<(), String> {
    match sections.iter().find(|(_, violations)| *violations != Violations::default()) {
        Some((name, violations)) => Err(format!("{name} validation failed: {violations}")),
        None => Ok(()),
    }
}
