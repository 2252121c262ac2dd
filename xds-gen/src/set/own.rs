//! What a proxy knows of itself, with its version: the facts that fill the placeholders of templates.

use std::ops::Deref;

use kuma_core::ir::Own as Facts;

use super::Version;

/// The facts of one replica with their version. All of them are constant for a stream, or nearly so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    facts: Facts,
    version: Version,
}

impl Own {
    /// Seals the facts.
    pub fn new(facts: Facts) -> Self {
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
        Self::new(Facts::default())
    }
}

impl Deref for Own {
    type Target = Facts;
    fn deref(&self) -> &Facts {
        &self.facts
    }
}
