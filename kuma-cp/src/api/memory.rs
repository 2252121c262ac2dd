//! An API over a store of its own, for tools and tests that ask it in the process.

use std::sync::Arc;

use jiff::Timestamp;
use kuma_core::{
    resource::AnyResource,
    store::{MemoryStore, Store, StoreError, Write},
};
use tokio_util::sync::CancellationToken;

use super::{About, ApiContext, ApiSettings, NoCompanions, OfflineInspect, Site};
use crate::{
    auth::{Access, ApiAuthenticator},
    config::StaticAccess,
    state::Feed,
    tokens::Verifier,
};

/// [`over`] a new memory store.
///
/// # Errors
/// What the store says.
pub async fn over_memory(
    site: Site,
    resources: impl IntoIterator<Item = AnyResource>,
) -> Result<ApiContext, StoreError> {
    over(Arc::new(MemoryStore::new(Timestamp::now)), site, resources).await
}

/// A context with the default settings, after these resources were written to the store as they are: nothing is checked,
/// computed or owned. A later one of the same key replaces an earlier one. Nothing runs beside it but the task that
/// follows the store, until the runtime ends.
///
/// # Errors
/// What the store says.
pub async fn over(
    store: Arc<dyn Store>,
    site: Site,
    resources: impl IntoIterator<Item = AnyResource>,
) -> Result<ApiContext, StoreError> {
    for resource in resources {
        let write = match store.get(&resource.key()).await? {
            Some(old) => Write::Replace { resource, expected: old.meta.version },
            None => Write::Create { resource, owner: None },
        };
        store.write(vec![write]).await?;
    }
    let (feed, state) = Feed::new(store.clone());
    tokio::spawn(feed.run(CancellationToken::new()));
    state.ready().await;
    Ok(ApiContext {
        state,
        store,
        site,
        authenticator: ApiAuthenticator {
            localhost_is_admin: true,
            tokens: Verifier { use_secrets: true, ..Verifier::default() },
        },
        access: Access::new(StaticAccess::default()),
        issue_user_tokens: true,
        inspect: Arc::new(OfflineInspect::default()),
        companions: Arc::new(NoCompanions),
        settings: ApiSettings::default(),
        about: About { version: "unknown".into(), ..About::default() },
        config: "{}".into(),
        now: Timestamp::now,
    })
}
