//! What a Mesh brings with it when it is created over the API: default policies, and the key that signs tokens of its
//! data planes, so that a token can be issued as soon as the Mesh is there.

use async_trait::async_trait;
use kuma_core::{
    defaults,
    labels::Site,
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{Mesh, Secret, SecretBytes},
    store::Write,
};

use crate::{
    api::{CompanionError, MeshCompanions},
    tokens::SigningKey,
};

/// Makes policies and key.
pub struct Companions {
    /// Where this control plane stands.
    pub site: Site,
}

#[async_trait]
impl MeshCompanions for Companions {
    async fn of(&self, mesh: &AnyResource) -> Result<Vec<Write>, CompanionError> {
        let name = mesh.meta.name.clone();
        let owner = Some(Key::new(Kind::Mesh, "", name.clone()));
        let spec = mesh.spec::<Mesh>().cloned().unwrap_or_default();
        let key = SigningKey::generate_pem().await.map_err(|e| CompanionError(e.to_string()))?;
        let meta = Meta::new(name.clone(), defaults::dataplane_key_name(&name), Labels::new());
        let secret = Secret { data: SecretBytes::new(key.as_bytes().to_vec()) };
        let secret = AnyResource::new(meta, secret, NoStatus {});
        let policies = defaults::policies(&self.site, &name, &spec);
        let all = std::iter::once(secret).chain(policies);
        Ok(all.map(|resource| Write::Create { resource, owner: owner.clone() }).collect())
    }
}
