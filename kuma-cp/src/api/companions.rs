//! What a new Mesh brings with it: its default policies, and the key that signs the tokens of its proxies.

use async_trait::async_trait;
use kuma_core::{
    defaults, labels,
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Mesh, Secret, SecretBytes},
    store::Write,
};

use crate::tokens::SigningKey;

/// What is created together with a Mesh, in the same batch.
#[async_trait]
pub trait MeshCompanions: Send + Sync {
    /// Writes that create what belongs to this Mesh.
    ///
    /// # Errors
    /// Why nothing can be created; the Mesh is not either.
    async fn of(&self, mesh: &AnyResource) -> Result<Vec<Write>, CompanionError>;
}

/// What belongs to a Mesh could not be made.
#[derive(Debug, thiserror::Error)]
#[error("could not make what belongs to the mesh: {0}")]
pub struct CompanionError(pub String);

/// A Mesh alone, for tests and tools.
pub struct NoCompanions;

#[async_trait]
impl MeshCompanions for NoCompanions {
    async fn of(&self, _: &AnyResource) -> Result<Vec<Write>, CompanionError> {
        Ok(Vec::new())
    }
}

/// Everything that a Mesh has from its first moment, so that tokens can be issued as soon as the answer is there.
pub struct MeshDefaults {
    /// What labels of policies depend on.
    pub site: labels::Site,
}

#[async_trait]
impl MeshCompanions for MeshDefaults {
    async fn of(&self, mesh: &AnyResource) -> Result<Vec<Write>, CompanionError> {
        let name = mesh.meta.name.clone();
        let spec = mesh.spec::<Mesh>().cloned().unwrap_or_default();
        let pem = SigningKey::generate_pem().await.map_err(|e| CompanionError(e.to_string()))?;
        let meta = Meta::new(name.clone(), defaults::dataplane_key_name(&name), Labels::new());
        let key = AnyResource::new(meta, Secret { data: SecretBytes::new(pem.as_bytes().to_vec()) }, NoStatus {});
        let owner = Key::new(Kind::Mesh, "", name.clone());
        let all = std::iter::once(key).chain(defaults::policies(&self.site, &name, &spec));
        Ok(all.map(|resource| Write::Create { resource, owner: Some(owner.clone()) }).collect())
    }
}
