//! `access`: who may do the few things that are not open to everybody.

use super::{check::Violations, setting::section};

section! {
    /// Access control.
    Access {
        /// How access is decided; `static` is built in.
        kind "type": String = "static".into(), "KUMA_ACCESS_TYPE";
        /// The fixed lists.
        fixed "static": StaticAccess;
    }
}

section! {
    /// One list of users and groups for each guarded action.
    StaticAccess {
        /// Read and write secrets.
        admin_resources "adminResources": Allowed = Allowed::admins(), "KUMA_ACCESS_STATIC_ADMIN_RESOURCES";
        /// Issue dataplane tokens.
        generate_dp_token "generateDpToken": Allowed = Allowed::admins(), "KUMA_ACCESS_STATIC_GENERATE_DP_TOKEN";
        /// Issue user tokens.
        generate_user_token "generateUserToken": Allowed = Allowed::admins(), "KUMA_ACCESS_STATIC_GENERATE_USER_TOKEN";
        /// Issue zone tokens.
        generate_zone_token "generateZoneToken": Allowed = Allowed::admins(), "KUMA_ACCESS_STATIC_GENERATE_ZONE_TOKEN";
        /// See the Envoy configuration of a proxy.
        view_config_dump "viewConfigDump": Allowed = Allowed::everybody(), "KUMA_ACCESS_STATIC_GET_CONFIG_DUMP";
        /// See the statistics of a proxy.
        view_stats "viewStats": Allowed = Allowed::everybody(), "KUMA_ACCESS_STATIC_VIEW_STATS";
        /// See the clusters of a proxy.
        view_clusters "viewClusters": Allowed = Allowed::everybody(), "KUMA_ACCESS_STATIC_VIEW_CLUSTERS";
        /// See the configuration of the control plane.
        control_plane_metadata "controlPlaneMetadata": Allowed = Allowed::everybody(), "KUMA_ACCESS_STATIC_CONTROL_PLANE_METADATA";
    }
}

section! {
    /// Users and groups that may do one thing; one match is enough.
    Allowed {
        /// Names of users.
        users "users": Vec<String> = Vec::new(), "_USERS";
        /// Names of groups.
        groups "groups": Vec<String> = Vec::new(), "_GROUPS";
    }
}

impl Allowed {
    /// The admin user and its group.
    pub fn admins() -> Self {
        Self { users: vec!["mesh-system:admin".into()], groups: vec!["mesh-system:admin".into()] }
    }

    /// Whoever asks, with a token or without one.
    pub fn everybody() -> Self {
        Self {
            users: Vec::new(),
            groups: vec!["mesh-system:unauthenticated".into(), "mesh-system:authenticated".into()],
        }
    }
}

impl Access {
    pub(super) fn check(&self) -> Violations {
        let mut out = Violations::default();
        out.unless(!self.kind.is_empty(), "Type has to be defined");
        out
    }
}
