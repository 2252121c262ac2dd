//! Where the keys and the lists of revoked tokens are: which secrets, by which names.

use std::fmt;

use kuma_core::{
    resources::{GlobalSecret, Secret, SecretBytes},
    state::MeshState,
};

/// Looks up secrets. A mesh that is empty means the secrets that belong to no mesh.
pub trait KeySource {
    /// The value of a secret.
    fn secret(&self, mesh: &str, name: &str) -> Option<SecretBytes>;

    /// The names of all secrets that begin so.
    fn names(&self, mesh: &str, prefix: &str) -> Vec<String>;
}

impl KeySource for MeshState {
    fn secret(&self, mesh: &str, name: &str) -> Option<SecretBytes> {
        if mesh.is_empty() {
            self.find::<GlobalSecret>("", name).map(|s| s.spec().data.clone())
        } else {
            self.find::<Secret>(mesh, name).map(|s| s.spec().data.clone())
        }
    }

    fn names(&self, mesh: &str, prefix: &str) -> Vec<String> {
        let kind =
            if mesh.is_empty() { kuma_core::registry::Kind::GlobalSecret } else { kuma_core::registry::Kind::Secret };
        let names = self.list_in(kind, mesh).map(|r| r.meta.name.to_string());
        names.filter(|n| n.starts_with(prefix)).collect()
    }
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// Tokens of users.
    User,
    /// Tokens of the dataplane proxies of a mesh.
    Dataplane {
        /// The mesh.
        mesh: &'a str,
    },
    /// Tokens of zones.
    Zone,
}

/// The serial of the key that is made at the first start.
pub(super) const FIRST_SERIAL: &str = "1";

impl Purpose<'_> {
    /// The mesh of its secrets; empty for those that belong to none.
    pub fn mesh(&self) -> &str {
        match self {
            Self::Dataplane { mesh } => mesh,
            Self::User | Self::Zone => "",
        }
    }

    fn prefix(&self) -> String {
        match self {
            Self::User => "user-token-signing-key".to_owned(),
            Self::Dataplane { mesh } => format!("dataplane-token-signing-key-{mesh}"),
            Self::Zone => "zone-token-signing-key".to_owned(),
        }
    }

    /// The secret of the key with this id. Id `0` is the name without a serial.
    pub fn key_name(&self, kid: &str) -> String {
        let prefix = self.prefix();
        if kid == "0" { prefix } else { format!("{prefix}-{kid}") }
    }

    /// The secret of the key that is made at the first start.
    pub fn first_key_name(&self) -> String {
        self.key_name(FIRST_SERIAL)
    }

    /// The secret that holds only the public half of a key; zones get it in the place of the key.
    pub(super) fn public_key_name(&self, kid: &str) -> Option<String> {
        (*self == Purpose::Zone).then(|| format!("zone-token-signing-public-key-{kid}"))
    }

    /// The id of the key that signs: the highest serial there is.
    pub fn newest_key(&self, source: &dyn KeySource) -> Option<String> {
        let prefix = self.prefix();
        let serial = |name: String| match name.strip_prefix(&prefix)? {
            "" => Some(0),
            rest => rest.strip_prefix('-')?.parse::<u64>().ok(),
        };
        source.names(self.mesh(), &prefix).into_iter().filter_map(serial).max().map(|s| s.to_string())
    }

    /// Is the token with this id revoked? Dataplane tokens are revoked by a secret of their mesh; one that belongs to no
    /// mesh counts as well, since that is where Kuma up to 3.0 looked.
    pub fn is_revoked(&self, source: &dyn KeySource, id: &str) -> bool {
        let (name, meshes) = match self {
            Self::User => ("user-token-revocations".to_owned(), vec![""]),
            Self::Dataplane { mesh } => (format!("dataplane-token-revocations-{mesh}"), vec![*mesh, ""]),
            Self::Zone => ("zone-token-revocations".to_owned(), vec![""]),
        };
        meshes.into_iter().filter_map(|mesh| source.secret(mesh, &name)).any(|list| {
            let text = String::from_utf8_lossy(list.expose());
            let text = text.strip_suffix('\n').unwrap_or(&text);
            !id.is_empty() && text.split(',').any(|revoked| revoked == id)
        })
    }
}

/// There is no key with the id that a token names, or none to sign with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KeyNotFound {
    /// Id of the key.
    pub kid: String,
    /// The secret that was looked for; empty when secrets are not to be used.
    pub secret: String,
    /// The mesh of that secret; empty for none.
    pub mesh: String,
}

impl KeyNotFound {
    pub(super) fn new(purpose: &Purpose<'_>, kid: &str) -> Self {
        Self { kid: kid.to_owned(), secret: purpose.key_name(kid), mesh: purpose.mesh().to_owned() }
    }
}

impl fmt::Display for KeyNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kid, secret, mesh } = self;
        write!(f, "there is no signing key with KID {kid}. ")?;
        if secret.is_empty() {
            return f.write_str("None of the public keys in the configuration has it, and secrets are not used");
        }
        if mesh.is_empty() {
            write!(f, "GlobalSecret of name {secret:?} is not found")?;
        } else {
            write!(f, "Secret of name {secret:?} in mesh {mesh:?} is not found")?;
        }
        f.write_str(". If signing key was rotated, regenerate the token")
    }
}
