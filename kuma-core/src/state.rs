//! The state of all meshes as one immutable value: persistent maps that are cheap to clone and to change.
//!
//! Fed by the store's watch; read by REST, by generators and by the engine. A reader holds a clone and never blocks.

use rpds::RedBlackTreeMapSync;

use crate::{
    registry::Kind,
    resource::{AnyResource, Key, Resource, Spec},
    store::{Change, Revision, WatchEvent},
};

/// Every stored resource, by kind, mesh and name. A clone costs O(1), a change O(log n).
#[derive(Clone, Default)]
pub struct MeshState {
    revision: Revision,
    objects: RedBlackTreeMapSync<Key, AnyResource>,
}

impl MeshState {
    /// Nothing is stored.
    pub fn new() -> Self {
        Self::default()
    }

    /// A state with these resources, for tests and offline planning.
    pub fn of(resources: impl IntoIterator<Item = AnyResource>) -> Self {
        let mut state = Self::default();
        for resource in resources {
            state.objects.insert_mut(resource.key(), resource);
        }
        state
    }

    /// Revision of the store that this state shows.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The state after an event of the store, and what changed in it (a `Reset` yields the difference only).
    pub fn apply(&mut self, event: &WatchEvent) -> Vec<Change> {
        match event {
            WatchEvent::Changes { revision, changes } => {
                for change in &**changes {
                    match &change.now {
                        Some(resource) => self.objects.insert_mut(change.key.clone(), resource.clone()),
                        None => {
                            self.objects.remove_mut(&change.key);
                        }
                    }
                }
                self.revision = *revision;
                changes.to_vec()
            }
            WatchEvent::Reset { revision, resources } => {
                let new = Self::of(resources.iter().cloned());
                let mut changes = Vec::new();
                for (key, resource) in &new.objects {
                    if self.objects.get(key).is_none_or(|old| old.meta.version != resource.meta.version) {
                        changes.push(Change { key: key.clone(), now: Some(resource.clone()) });
                    }
                }
                for (key, _) in &self.objects {
                    if !new.objects.contains_key(key) {
                        changes.push(Change { key: key.clone(), now: None });
                    }
                }
                self.objects = new.objects;
                self.revision = *revision;
                changes
            }
        }
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&AnyResource> {
        self.objects.get(key)
    }

    /// One object of a known kind. `mesh` is empty for global kinds.
    pub fn find<S: Spec>(&self, mesh: &str, name: &str) -> Option<Resource<S>> {
        self.get(&Key::new(S::DESCRIPTOR.kind, mesh, name))?.typed()
    }

    /// All objects of a kind, sorted by mesh, then name.
    pub fn list(&self, kind: Kind) -> impl Iterator<Item = &AnyResource> {
        self.objects.range(Key::new(kind, "", "")..).map(|(_, r)| r).take_while(move |r| r.kind() == kind)
    }

    /// Objects of a kind in one mesh, sorted by name.
    pub fn list_in<'a>(&'a self, kind: Kind, mesh: &'a str) -> impl Iterator<Item = &'a AnyResource> {
        self.objects
            .range(Key::new(kind, mesh, "")..)
            .map(|(_, r)| r)
            .take_while(move |r| r.kind() == kind && &*r.meta.mesh == mesh)
    }

    /// Typed objects of a kind in one mesh, sorted by name.
    pub fn typed_in<'a, S: Spec>(&'a self, mesh: &'a str) -> impl Iterator<Item = Resource<S>> + 'a {
        self.list_in(S::DESCRIPTOR.kind, mesh).filter_map(AnyResource::typed)
    }

    /// Everything.
    pub fn all(&self) -> impl Iterator<Item = &AnyResource> {
        self.objects.iter().map(|(_, r)| r)
    }
}
