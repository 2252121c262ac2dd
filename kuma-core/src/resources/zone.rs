//! Zone: a control plane and its proxies in one place.

use serde::{Deserialize, Serialize};

use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync},
    resource::{NoStatus, Spec},
    schema::{Schema, object, opt},
};

/// Spec of a Zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Zone {
    /// `false`: objects of this zone are no longer sent to other zones. Absent means `true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
}

impl Spec for Zone {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::Zone,
        name: "Zone",
        path: "zones",
        alias: None,
        cli: Some("zone"),
        display: "Zone",
        display_plural: "Zones",
        short: Some("z"),
        scope: Scope::Global,
        shape: Shape::Flat,
        sync: Sync::None,
        role: Role::System,
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        Some(object([opt("enabled", Schema::Bool)]))
    }
}
