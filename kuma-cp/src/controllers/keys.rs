//! Keys that must exist before tokens can be issued and admin listeners can be reached. An RSA key takes 50 to 100 ms:
//! they are made in the background, after the control plane answers.

use std::sync::Arc;

use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::{AnyResource, Key, NoStatus},
    resources::{GlobalSecret, Secret, SecretBytes},
    state::MeshState,
    store::{Author, Store, StoreError, Write},
};
use tokio_util::sync::CancellationToken;

use crate::{
    auth::User,
    controllers::kept::Kept,
    dp_server::admin_ca::{self, ADMIN_CA_SECRET},
    state::StateHandle,
    tokens::{self, ADMIN_TOKEN_SECRET, Purpose, SigningKey, UserClaims},
};

/// How long the token of the admin lasts.
const ADMIN_TOKEN_VALIDITY: kuma_core::duration::GoDuration = tokens::DEFAULT_VALIDITY;

/// A secret that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Missing {
    /// CA of admin listeners.
    AdminCa,
    /// Signing key with this place.
    SigningKey(Key),
    /// Token of the admin.
    AdminToken,
}

/// Makes missing keys until `stop`, as Meshes come and go. `bootstrap_admin` also keeps a token for the admin; `kept`
/// is where keys outlive a store that forgets.
pub async fn run(
    store: Arc<dyn Store>,
    state: StateHandle,
    bootstrap_admin: bool,
    mut kept: Option<Kept>,
    stop: CancellationToken,
) {
    let mut changes = state.subscribe();
    loop {
        let batch = tokio::select! {
            batch = changes.next() => batch,
            () = stop.cancelled() => return,
        };
        let Some(batch) = batch else { return };
        loop {
            let current = state.current();
            if let Some(kept) = &mut kept
                && restore(&store, &state, &current, kept).await
            {
                continue;
            }
            let Some(missing) = next_missing(&current, bootstrap_admin) else { break };
            match stop.run_until_cancelled(make(&store, &state, &missing)).await {
                None => return,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, secret = ?missing, "a key could not be made, trying again at the next change");
                    break;
                }
            }
        }
        if let Some(kept) = &mut kept
            && batch.changes.iter().any(|change| matches!(change.key.kind, Kind::Secret | Kind::GlobalSecret))
        {
            kept.follow(&state.current());
        }
    }
}

/// Puts keys of an earlier start into the store, for all Meshes of `current`. True if there were any.
async fn restore(store: &Arc<dyn Store>, state: &StateHandle, current: &MeshState, kept: &mut Kept) -> bool {
    let meshes = current.list(Kind::Mesh).map(|mesh| mesh.meta.name.clone());
    let found: Vec<_> = std::iter::once("".into()).chain(meshes).flat_map(|mesh: Arc<str>| kept.take(&mesh)).collect();
    for (key, data) in &found {
        if current.get(key).is_none()
            && let Err(error) = create(store, state, key.clone(), data.clone()).await
        {
            tracing::warn!(%error, secret = %key.name, mesh = %key.mesh, "a key of an earlier start cannot be used");
        }
    }
    !found.is_empty()
}

fn next_missing(state: &MeshState, bootstrap_admin: bool) -> Option<Missing> {
    let global = |name: &str| Key::new(Kind::GlobalSecret, "", name);
    if state.get(&global(ADMIN_CA_SECRET)).is_none() {
        return Some(Missing::AdminCa);
    }
    for mesh in state.list(Kind::Mesh) {
        let purpose = Purpose::Dataplane { mesh: &mesh.meta.name };
        if purpose.newest_key(state).is_none() {
            let name = purpose.first_key_name();
            return Some(Missing::SigningKey(Key::new(Kind::Secret, mesh.meta.name.clone(), name)));
        }
    }
    for purpose in [Purpose::User, Purpose::Zone] {
        if purpose.newest_key(state).is_none() {
            return Some(Missing::SigningKey(global(&purpose.first_key_name())));
        }
    }
    (bootstrap_admin && state.get(&global(ADMIN_TOKEN_SECRET)).is_none()).then_some(Missing::AdminToken)
}

async fn make(store: &Arc<dyn Store>, state: &StateHandle, missing: &Missing) -> anyhow::Result<()> {
    let (key, bytes) = match missing {
        Missing::AdminCa => {
            let ca = tokio::task::spawn_blocking(admin_ca::make_ca).await??;
            (Key::new(Kind::GlobalSecret, "", ADMIN_CA_SECRET), ca.as_bytes().to_vec())
        }
        Missing::SigningKey(key) => (key.clone(), SigningKey::generate_pem().await?.as_bytes().to_vec()),
        Missing::AdminToken => {
            let admin = User::admin();
            let claims = UserClaims { name: admin.name, groups: admin.groups };
            let id = uuid::Uuid::new_v4();
            let token = tokens::issue(&claims, "", &*state.current(), Timestamp::now(), id, ADMIN_TOKEN_VALIDITY)?;
            tracing::info!(
                "an admin token is stored: kumactl get globalsecret {ADMIN_TOKEN_SECRET} -o json shows it in base64 \
                 (from the machine of the control plane)"
            );
            (Key::new(Kind::GlobalSecret, "", ADMIN_TOKEN_SECRET), token.into_bytes())
        }
    };
    create(store, state, key, SecretBytes::new(bytes)).await
}

/// Writes a secret and waits until the state shows it.
async fn create(store: &Arc<dyn Store>, state: &StateHandle, key: Key, data: SecretBytes) -> anyhow::Result<()> {
    let owner = (!key.mesh.is_empty()).then(|| Key::new(Kind::Mesh, "", key.mesh.clone()));
    let meta = Meta::new(key.mesh.clone(), key.name.clone(), Labels::new());
    let resource = if key.kind == Kind::Secret {
        AnyResource::new(meta, Secret { data }, NoStatus {})
    } else {
        AnyResource::new(meta, GlobalSecret { data }, NoStatus {})
    };
    match store.write_as(Author::part("keys"), vec![Write::Create { resource, owner }]).await {
        Ok(committed) => {
            state.at_least(committed.revision).await;
            Ok(())
        }
        // Another instance was faster; its key will be seen.
        Err(StoreError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
