//! Everything from one store to another: `kuma-cp store copy`.

use std::collections::{BTreeMap, BTreeSet};

use kuma_core::{
    resource::{AnyResource, Key},
    store::{Author, Store, StoreError, WatchEvent, Write},
};

use crate::ownership::owner_of;

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of them does not answer or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing is mixed with what is there.
    #[error("the store to copy to holds {0} objects: it has to be empty, nothing was written")]
    NotEmpty(usize),
    /// There is nothing to copy.
    #[error("the store to copy from is empty: is it the right one?")]
    Empty,
    /// What was read back is something else.
    #[error("{0} differs in the new store from what it is in the old one: do not use the new one")]
    Differs(String),
}

async fn all(store: &dyn Store) -> Result<BTreeMap<Key, AnyResource>, StoreError> {
    match store.watch().await?.recv().await {
        Some(WatchEvent::Reset { resources, .. }) => Ok(resources.iter().map(|r| (r.key(), r.clone())).collect()),
        _ => Err(StoreError::Unavailable("it does not tell what it holds".into())),
    }
}

/// Copies everything in one batch, so that the new store holds all of it or nothing, then reads it back and compares.
/// Labels, specs, statuses and owners are those of the old store; times are those of the copy, with which histories begin.
/// The number of objects.
///
/// # Errors
/// [`CopyError`]; but for [`CopyError::Differs`] nothing was written.
pub async fn copy(from: &dyn Store, to: &dyn Store) -> Result<usize, CopyError> {
    let there = all(to).await?;
    if !there.is_empty() {
        return Err(CopyError::NotEmpty(there.len()));
    }
    let objects = all(from).await?;
    if objects.is_empty() {
        return Err(CopyError::Empty);
    }
    to.write_as(Author::part("store copy"), in_order(&objects)).await?;
    let copied = all(to).await?;
    for (key, object) in &objects {
        if !copied.get(key).is_some_and(|copy| copy.same_content(object) && copy.same_stored_spec(object)) {
            return Err(CopyError::Differs(format!("{} {:?} of mesh {:?}", key.kind, key.name, key.mesh)));
        }
    }
    match copied.keys().find(|key| !objects.contains_key(key)) {
        Some(key) => Err(CopyError::Differs(format!("{} {:?} of mesh {:?}", key.kind, key.name, key.mesh))),
        None => Ok(objects.len()),
    }
}

/// Creations, owners before what they own. An owner that is not there owns nothing.
fn in_order(objects: &BTreeMap<Key, AnyResource>) -> Vec<Write> {
    let owner = |key: &Key| owner_of(key).filter(|owner| objects.contains_key(owner));
    let mut left: BTreeSet<&Key> = objects.keys().collect();
    let mut writes = Vec::with_capacity(objects.len());
    while !left.is_empty() {
        let ready: Vec<&Key> =
            left.iter().copied().filter(|key| owner(key).is_none_or(|owner| !left.contains(&owner))).collect();
        // Nothing owns itself, directly or not, so there is always something.
        for key in ready {
            left.remove(key);
            writes.push(Write::Create { resource: objects[key].clone(), owner: owner(key) });
        }
    }
    writes
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use kuma_core::{
        meta::{Labels, Meta},
        registry::Kind,
        resource::NoStatus,
        resources::{Dataplane, DataplaneInsight, Mesh, Workload},
        store::MemoryStore,
    };

    use super::*;

    #[tokio::test]
    async fn everything_arrives_with_its_owner() {
        let (from, to) = (MemoryStore::new(Timestamp::now), MemoryStore::new(Timestamp::now));
        assert!(matches!(copy(&from, &to).await, Err(CopyError::Empty)));
        let meta = |mesh: &str, name: &str| Meta::new(mesh, name, Labels::from([("a".into(), "b".into())]));
        let mesh = AnyResource::new(meta("", "z"), Mesh::default(), NoStatus {});
        let workload = AnyResource::new(meta("z", "a"), Workload::default(), Default::default());
        let dataplane = AnyResource::new(meta("z", "d"), Dataplane::default(), NoStatus {});
        let insight = AnyResource::new(meta("z", "d"), DataplaneInsight::default(), NoStatus {});
        let objects = [&mesh, &workload, &dataplane, &insight];
        let owned = objects.map(|r| Write::Create { resource: r.clone(), owner: owner_of(&r.key()) });
        from.write(owned.to_vec()).await.unwrap();
        assert_eq!(copy(&from, &to).await.unwrap(), 4);
        assert!(matches!(copy(&from, &to).await, Err(CopyError::NotEmpty(4))));
        // Owners are those of before.
        to.write(vec![Write::Delete { key: mesh.key(), expected: None }]).await.unwrap();
        to.write(vec![Write::Delete { key: dataplane.key(), expected: None }]).await.unwrap();
        for gone in [Key::new(Kind::Workload, "z", "a"), insight.key()] {
            assert!(to.get(&gone).await.unwrap().is_none(), "{gone:?}");
        }
    }
}
