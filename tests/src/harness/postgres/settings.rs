//! How a server is to be: its parameters, and whether clients have to use TLS.

use std::collections::BTreeMap;

/// Settings of one server.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) parameters: BTreeMap<String, String>,
    pub(super) tls: Option<Tls>,
}

/// What clients meet on the server's port.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Names and addresses in the server's certificate.
    pub names: Vec<String>,
    /// Whether a client without a certificate is turned away.
    pub client_certificate: bool,
}

impl Default for Tls {
    /// A certificate for `localhost` and 127.0.0.1, and clients need one too.
    fn default() -> Self {
        Self { names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()], client_certificate: true }
    }
}

impl Default for Settings {
    /// Quick: nothing waits for a disk. What was committed survives `kill -9`, but not a machine that loses power.
    fn default() -> Self {
        let mut settings = Self { parameters: BTreeMap::new(), tls: None };
        for (name, value) in [
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("shared_buffers", "32MB"),
            // In files of the data folder, so that a server that was killed leaves nothing elsewhere.
            ("dynamic_shared_memory_type", "mmap"),
            ("log_line_prefix", "%m [%p] %q%d "),
            ("timezone", "UTC"),
        ] {
            settings = settings.set(name, value);
        }
        settings
    }
}

impl Settings {
    /// Gives a parameter of `postgresql.conf` a value: `max_connections`, `synchronous_commit` …
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.parameters.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Waits for the disk at each commit, as servers do outside of tests.
    pub fn durable(self) -> Self {
        self.set("fsync", "on").set("full_page_writes", "on")
    }

    /// Clients have to use TLS.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The lines of `postgresql.conf`.
    pub(super) fn file(&self, own: &[(&str, &str)]) -> String {
        let theirs = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let line = |(name, value): (&str, &str)| format!("{name} = '{}'\n", value.replace('\'', "''"));
        theirs.chain(own.iter().copied()).map(line).collect()
    }
}
