//! MeshTCPRoute: where TCP connections to a destination go.

mod plan;

mod validate;

use serde::{Deserialize, Serialize};

use super::{
    schemas,
    target::{BackendRef, TargetRef},
};
use crate::{
    registry::{Descriptor, Kind, Role, Scope, Shape, Sync, Targets},
    resource::{NoStatus, Spec},
    schema::{Schema, list, list_max, list_min, object, opt, req},
    validate::{Path, Violations},
};

/// Spec of a MeshTCPRoute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshTCPRoute {
    /// Proxies it applies to; absent is the whole mesh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Outbound items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<TcpRouteTo>>,
}

/// An outbound item.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRouteTo {
    /// Destination whose traffic is routed.
    pub target_ref: TargetRef,
    /// At most one; none sends everything to the destination itself.
    pub rules: Vec<TcpRule>,
}

/// Where the connections go.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpRule {
    /// What to do.
    #[serde(rename = "default")]
    pub conf: TcpRuleConf,
}

/// What to do with the connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TcpRuleConf {
    /// Weighted destinations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_refs: Option<Vec<BackendRef>>,
}

impl Spec for MeshTCPRoute {
    type Status = NoStatus;
    const DESCRIPTOR: Descriptor = Descriptor {
        kind: Kind::MeshTCPRoute,
        name: "MeshTCPRoute",
        path: "meshtcproutes",
        alias: None,
        cli: Some("meshtcproute"),
        display: "Mesh TCP Route",
        display_plural: "Mesh TCP Routes",
        short: Some("mtcpr"),
        scope: Scope::Mesh,
        shape: Shape::SpecStatus,
        sync: Sync::Both,
        role: Role::Policy(Targets { order: 200, to: true, rules: false, own: false }),
        has_status: false,
        insight: None,
    };
    fn schema() -> Option<Schema> {
        let rule = object([req("default", object([opt("backendRefs", list(schemas::backend_ref()))]))]);
        Some(object([
            schemas::top_ref(),
            opt("to", list_min(1, object([schemas::out_ref(), req("rules", list_max(1, rule))]))),
        ]))
    }
    fn validate(&self, at: &Path, out: &mut Violations) {
        validate::spec(self, at, out);
    }
}
