//! What a user may do. Everything is open to everybody except the few actions that have a list.

use std::fmt;

use super::User;
use crate::config::{self, Allowed};

/// Something that a list guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Read or write a resource of a kind that is for admins only, `Secret` or `GlobalSecret`.
    AdminResource(&'a str),
    /// Issue a dataplane token.
    GenerateDataplaneToken,
    /// Issue a user token.
    GenerateUserToken,
    /// Issue a token of this zone.
    GenerateZoneToken(&'a str),
    /// See the Envoy configuration of a proxy.
    ViewConfigDump,
    /// See the statistics of a proxy.
    ViewStats,
    /// See the clusters of a proxy.
    ViewClusters,
    /// See the configuration of the control plane.
    ControlPlaneMetadata,
}

/// A user may not do that. The text is the detail of the answer, whose status is 403.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct AccessDenied(String);

impl AccessDenied {
    /// Title of the answer.
    pub const TITLE: &'static str = "Access Denied";
}

impl fmt::Display for AccessDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The lists of who may do what.
#[derive(Clone, Debug)]
pub struct Access(config::StaticAccess);

impl Access {
    /// With the lists of the configuration.
    pub fn new(lists: config::StaticAccess) -> Self {
        Self(lists)
    }

    /// May this user do that?
    pub fn check(&self, user: &User, action: Action<'_>) -> Result<(), AccessDenied> {
        let allowed = self.allowed(action);
        if allowed.users.contains(&user.name) || allowed.groups.iter().any(|g| user.groups.contains(g)) {
            return Ok(());
        }
        let what = match action {
            Action::AdminResource(kind) => format!("the resource of type {kind:?}"),
            Action::GenerateDataplaneToken => "generate dataplane token".to_owned(),
            // Published without the name of the user.
            Action::GenerateUserToken => return Err(AccessDenied("action not allowed".to_owned())),
            Action::GenerateZoneToken(zone) => format!("generate zone token for zone '{zone}'"),
            Action::ViewConfigDump | Action::ViewStats | Action::ViewClusters => "envoy proxy info".to_owned(),
            Action::ControlPlaneMetadata => "control-plane metadata".to_owned(),
        };
        Err(AccessDenied(format!("user {:?} cannot access {what}", user.to_string())))
    }

    fn allowed(&self, action: Action<'_>) -> &Allowed {
        match action {
            Action::AdminResource(_) => &self.0.admin_resources,
            Action::GenerateDataplaneToken => &self.0.generate_dp_token,
            Action::GenerateUserToken => &self.0.generate_user_token,
            Action::GenerateZoneToken(_) => &self.0.generate_zone_token,
            Action::ViewConfigDump => &self.0.view_config_dump,
            Action::ViewStats => &self.0.view_stats,
            Action::ViewClusters => &self.0.view_clusters,
            Action::ControlPlaneMetadata => &self.0.control_plane_metadata,
        }
    }
}
