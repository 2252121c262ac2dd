//! Which object another one belongs to, and is deleted with. The store follows it.

use kuma_core::{
    registry::{Kind, Role},
    resource::Key,
};

/// Prefix of the secrets that hold the signing keys of the tokens of a mesh.
const SIGNING_KEYS: &str = "dataplane-token-signing-key-";

/// The owner of a new object; `None` for what stands by itself: Meshes, Zones, Dataplanes, secrets of users.
pub fn owner_of(key: &Key) -> Option<Key> {
    let descriptor = key.kind.descriptor();
    let mesh = || Some(Key::new(Kind::Mesh, "", key.mesh.clone()));
    match descriptor.role {
        Role::Policy(_) | Role::Destination => mesh(),
        Role::System if descriptor.mesh_scoped() => mesh(),
        Role::Secret if descriptor.mesh_scoped() && key.name.starts_with(SIGNING_KEYS) => mesh(),
        Role::Insight => insight_owner(key),
        Role::System | Role::Secret | Role::Proxy => None,
    }
}

/// An insight has the name of what it is about. That of a mesh is named after it too.
fn insight_owner(key: &Key) -> Option<Key> {
    let of = Kind::ALL.iter().find(|k| k.descriptor().insight == Some(key.kind));
    match of {
        Some(kind) => Some(Key::new(*kind, key.mesh.clone(), key.name.clone())),
        None if key.kind.name() == "MeshInsight" => Some(Key::new(Kind::Mesh, "", key.name.clone())),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners() {
        let mesh = Some(Key::new(Kind::Mesh, "", "m"));
        for (kind, name, owner) in [
            (Kind::MeshTimeout, "t", mesh.clone()),
            (Kind::MeshService, "s", mesh.clone()),
            (Kind::Workload, "w", mesh.clone()),
            (Kind::Secret, "dataplane-token-signing-key-m-1", mesh),
            (Kind::Secret, "mine", None),
            (Kind::Dataplane, "d", None),
            (Kind::DataplaneInsight, "d", Some(Key::new(Kind::Dataplane, "m", "d"))),
        ] {
            assert_eq!(owner_of(&Key::new(kind, "m", name)), owner, "{kind} {name}");
        }
        for kind in [Kind::Mesh, Kind::Zone, Kind::HostnameGenerator, Kind::GlobalSecret] {
            assert_eq!(owner_of(&Key::new(kind, "", "x")), None, "{kind}");
        }
    }
}
