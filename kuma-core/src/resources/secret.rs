//! Secret and GlobalSecret: bytes that only admins and the control plane may read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::{NoStatus, Spec},
    schema::{Schema, object, opt},
};

/// Secret bytes: shown as `***`, wiped when dropped, base64 in JSON.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
    /// The bytes; do not log them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
    /// True if there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&*self.0))
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        STANDARD.decode(text.as_bytes()).map(Self::new).map_err(|e| D::Error::custom(format!("not base64: {e}")))
    }
}

/// Spec of a Secret of one mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// The value.
    #[serde(skip_serializing_if = "SecretBytes::is_empty")]
    pub data: SecretBytes,
}

/// Spec of a Secret that belongs to no mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GlobalSecret {
    /// The value.
    #[serde(skip_serializing_if = "SecretBytes::is_empty")]
    pub data: SecretBytes,
}

impl Spec for Secret {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::Secret,
        name: "Secret",
        path: "secrets",
        alias: None,
        cli: Some("secret"),
        display: "Secret",
        display_plural: "Secrets",
        short: None,
        scope: Scope::Mesh,
        shape: Shape::Flat,
        sync: Sync::Both,
        role: Role::Secret,
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        Some(object([opt("data", Schema::Bytes)]))
    }
}

impl Spec for GlobalSecret {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::GlobalSecret,
        name: "GlobalSecret",
        path: "globalsecrets",
        alias: Some("global-secrets"),
        cli: Some("globalsecret"),
        display: "Global Secret",
        display_plural: "Global Secrets",
        short: None,
        scope: Scope::Global,
        shape: Shape::Flat,
        sync: Sync::Both,
        role: Role::Secret,
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        Some(object([opt("data", Schema::Bytes)]))
    }
}
