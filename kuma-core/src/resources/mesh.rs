//! Mesh: the boundary that everything mesh-scoped lives in.

use serde::{Deserialize, Serialize};

use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::{NoStatus, Spec},
    schema::{Schema, list, object, opt, text},
};

/// Spec of a Mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mesh {
    /// Type names of default policies not to create; `*` skips all of them.
    #[serde(alias = "skip_creating_initial_policies", skip_serializing_if = "Vec::is_empty")]
    pub skip_creating_initial_policies: Vec<String>,
}

impl Spec for Mesh {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::Mesh,
        name: "Mesh",
        path: "meshes",
        alias: None,
        cli: Some("mesh"),
        display: "Mesh",
        display_plural: "Meshes",
        short: Some("m"),
        scope: Scope::Global,
        shape: Shape::Flat,
        sync: Sync::GlobalToZone,
        role: Role::System,
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        Some(object([opt("skipCreatingInitialPolicies", list(text()))]))
    }
}
