//! Objects that a zone makes when it starts, if they are not there: its Zone, the default Mesh, HostnameGenerators.

use std::sync::Arc;

use kuma_core::{
    defaults,
    labels::Site,
    registry::Kind,
    resource::{AnyResource, Key},
    state::MeshState,
    store::{Author, Store, StoreError, Write},
};

use crate::state::StateHandle;

/// What is made.
#[derive(Clone, Debug)]
pub struct BootSettings {
    /// Where this control plane stands.
    pub site: Site,
    /// Nothing is made at all.
    pub skip_everything: bool,
    /// No Mesh `default`.
    pub skip_mesh: bool,
    /// No HostnameGenerators.
    pub skip_hostname_generators: bool,
}

/// Makes what is missing, and waits until the state shows it.
///
/// # Errors
/// The store refused for another reason than that somebody else was faster.
pub async fn run(store: &Arc<dyn Store>, state: &StateHandle, settings: &BootSettings) -> Result<(), StoreError> {
    if settings.skip_everything {
        return Ok(());
    }
    let current = state.ready().await;
    for batch in missing(&current, settings) {
        match store.write_as(Author::part("defaults"), batch).await {
            Ok(committed) => drop(state.at_least(committed.revision).await),
            // Another instance has made it.
            Err(StoreError::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Batches that make what is missing in `state`.
fn missing(state: &MeshState, settings: &BootSettings) -> Vec<Vec<Write>> {
    let create = |resource: AnyResource| vec![Write::Create { resource, owner: None }];
    let absent = |resource: &AnyResource| state.get(&resource.key()).is_none();
    let mut batches = Vec::new();
    if let Some(zone) = &settings.site.zone {
        let own = defaults::zone(zone);
        if absent(&own) {
            batches.push(create(own));
        }
        for other in state.list(Kind::Zone).filter(|z| &z.meta.name != zone) {
            batches.push(vec![Write::Delete { key: other.key(), expected: Some(other.meta.version) }]);
        }
    }
    if !settings.skip_mesh && state.get(&Key::new(Kind::Mesh, "", "default")).is_none() {
        batches.push(defaults::mesh(&settings.site, defaults::default_mesh()));
    }
    if !settings.skip_hostname_generators && settings.site.zone.is_some() {
        batches.extend(defaults::zone_hostname_generators().into_iter().filter(absent).map(create));
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Feed;
    use jiff::Timestamp;
    use kuma_core::store::MemoryStore;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn a_first_start_makes_everything_and_a_second_one_nothing() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Timestamp::now));
        let (feed, state) = Feed::new(store.clone());
        let stop = CancellationToken::new();
        tokio::spawn(feed.run(stop.clone()));
        let settings = BootSettings {
            site: Site::zone("default"),
            skip_everything: false,
            skip_mesh: false,
            skip_hostname_generators: false,
        };
        run(&store, &state, &settings).await.expect("an empty store");
        let made = state.current();
        let kinds: Vec<(Kind, usize)> =
            Kind::ALL.iter().map(|k| (*k, made.list(*k).count())).filter(|(_, n)| *n > 0).collect();
        assert_eq!(
            kinds,
            [
                (Kind::Mesh, 1),
                (Kind::Zone, 1),
                (Kind::HostnameGenerator, 2),
                (Kind::MeshTimeout, 2),
                (Kind::MeshCircuitBreaker, 1),
                (Kind::MeshRetry, 1)
            ]
        );
        assert!(missing(&made, &settings).is_empty());
        stop.cancel();
    }
}
