//! Kuma resource identifiers: `kri_<short>_<mesh>_<zone>_<namespace>_<name>_<section>`.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{meta::Meta, registry::Kind};

/// Identifier of a resource or of one section (port, inbound, listener, rule) of it. Empty parts stay empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kri {
    /// Short name of the kind, such as `msvc`.
    pub short: Arc<str>,
    /// Mesh; empty for global kinds.
    pub mesh: Arc<str>,
    /// Zone label; empty if the object has none.
    pub zone: Arc<str>,
    /// Namespace label; empty if the object has none.
    pub namespace: Arc<str>,
    /// Display name.
    pub name: Arc<str>,
    /// Port, inbound, listener or rule; empty for the whole resource.
    pub section: Arc<str>,
}

/// Why a text is not a KRI. The texts are part of the REST interface.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KriError {
    /// Fewer than seven parts.
    #[error("invalid identifier string: {0:?}")]
    Invalid(String),
    /// The first part is not `kri`.
    #[error("identifier must start with 'kri': {0:?}")]
    Prefix(String),
    /// No kind has this short name.
    #[error("unknown short name of resource type: {0:?}")]
    ShortName(String),
}

impl Kri {
    /// Identifier of the resource with this metadata; `None` if the kind has no short name.
    pub fn of(kind: Kind, meta: &Meta) -> Option<Self> {
        Some(Self::with_short(kind.descriptor().short?, meta))
    }

    /// Identifier under a given short name.
    pub fn with_short(short: &str, meta: &Meta) -> Self {
        Self {
            short: short.into(),
            mesh: meta.mesh.clone(),
            zone: meta.zone().into(),
            namespace: meta.namespace().into(),
            name: meta.display_name().into(),
            section: "".into(),
        }
    }

    /// The same resource, one section of it.
    pub fn section(&self, section: impl Into<Arc<str>>) -> Self {
        Self { section: section.into(), ..self.clone() }
    }

    /// The whole resource.
    pub fn whole(&self) -> Self {
        self.section("")
    }
}

impl fmt::Display for Kri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { short, mesh, zone, namespace, name, section } = self;
        write!(f, "kri_{short}_{mesh}_{zone}_{namespace}_{name}_{section}")
    }
}

impl FromStr for Kri {
    type Err = KriError;

    /// Parts after the sixth separator are joined without separators, as readers of published KRIs do.
    fn from_str(text: &str) -> Result<Self, KriError> {
        let parts: Vec<&str> = text.split('_').collect();
        if parts.len() < 7 {
            return Err(KriError::Invalid(text.into()));
        }
        if parts[0] != "kri" {
            return Err(KriError::Prefix(text.into()));
        }
        if Kind::by_short(parts[1]).is_none() && !matches!(parts[1], "extsvc" | "mzsvc") {
            return Err(KriError::ShortName(parts[1].into()));
        }
        Ok(Self {
            short: parts[1].into(),
            mesh: parts[2].into(),
            zone: parts[3].into(),
            namespace: parts[4].into(),
            name: parts[5].into(),
            section: parts[6..].concat().into(),
        })
    }
}

impl serde::Serialize for Kri {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
