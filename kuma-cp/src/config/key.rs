//! Public keys given in the configuration, for tokens that are signed outside of the control plane.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::setting::is_zero;

/// A public key with its id: either the PEM text itself or a file that holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PublicKey {
    /// Key id, the `kid` of the tokens that it verifies.
    pub kid: String,
    /// File with the PEM text.
    #[serde(skip_serializing_if = "is_zero")]
    pub key_file: PathBuf,
    /// The PEM text.
    #[serde(skip_serializing_if = "is_zero")]
    pub key: String,
}

impl PublicKey {
    pub(super) fn check(&self) -> Option<String> {
        let file = !self.key_file.as_os_str().is_empty();
        let text = match (self.kid.is_empty(), file, !self.key.is_empty()) {
            (true, ..) => ".KID is required",
            (_, false, false) => "either .KeyFile or .Key has to be defined",
            (_, true, true) => "both .KeyFile or .Key cannot be defined",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// A public key for the tokens of one mesh, or of every mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MeshedPublicKey {
    /// The key.
    #[serde(flatten)]
    pub key: PublicKey,
    /// The mesh; empty means any.
    pub mesh: String,
}

/// The first bad key of a list, in the words of the published texts.
pub(super) fn check_all<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Option<String> {
    keys.into_iter().enumerate().find_map(|(i, key)| {
        key.check().map(|text| format!(".Validator is not valid: .PublicKeys[{i}] is not valid: {text}"))
    })
}
