//! What a proxy knows of itself: the facts that fill the placeholders of templates.

use serde::Serialize;

use super::Version;

/// How Envoy's admin interface is reached from inside the proxy's host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Admin {
    /// A Unix socket.
    Socket(String),
    /// A TCP address.
    Tcp {
        /// IP address to connect to (never a wildcard).
        address: String,
        /// Port.
        port: u16,
    },
}

/// The facts behind [`Own`]. All of them are constant for a stream, or nearly so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OwnFacts {
    /// Mesh of the Dataplane.
    pub mesh: String,
    /// Name of the Dataplane.
    pub name: String,
    /// `networking.address` of the Dataplane.
    pub address: String,
    /// Admin interface; `None` when it is switched off.
    pub admin: Option<Admin>,
    /// The port on which the Dataplane's admin listener offers `/ready` and mTLS admin access; 0 when off.
    pub admin_port: u16,
    /// Port of kuma-dp's readiness reporter.
    pub readiness_port: u16,
    /// kuma-dp's work directory, where its sockets lie.
    pub workdir: String,
}

/// [`OwnFacts`] with their version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    facts: OwnFacts,
    version: Version,
}

impl Own {
    /// Seals the facts.
    pub fn new(facts: OwnFacts) -> Self {
        // JSON because it keeps field boundaries; writing plain strings and numbers to memory cannot fail.
        let bytes = serde_json::to_vec(&facts).unwrap_or_default();
        Self { version: Version::of(&bytes), facts }
    }

    /// Hash of the facts.
    pub fn version(&self) -> Version {
        self.version
    }
}

impl Default for Own {
    fn default() -> Self {
        Self::new(OwnFacts::default())
    }
}

impl std::ops::Deref for Own {
    type Target = OwnFacts;
    fn deref(&self) -> &OwnFacts {
        &self.facts
    }
}
