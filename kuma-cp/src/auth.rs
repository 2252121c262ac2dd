//! Who calls, and what they may do: users of the API ([`api`], [`localhost`], [`access`]) and proxies ([`proxy`]).
//!
//! Everything is decided from values; nothing here opens a connection or reads a clock.

use std::fmt;

pub mod access;
pub mod api;
pub mod localhost;
pub mod proxy;
#[cfg(test)]
mod tests;

pub use access::{Access, AccessDenied, Action};
pub use api::{ApiAuthenticator, Caller, InvalidCredentials};
pub use proxy::{ProxyAuthError, ProxyAuthenticator, ProxyFacts, credential};

/// Somebody who calls, by name and groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    /// Name of the user.
    pub name: String,
    /// Groups of the user, in the order of the token.
    pub groups: Vec<String>,
}

impl User {
    /// The group of everybody who proved who they are.
    pub const AUTHENTICATED: &'static str = "mesh-system:authenticated";
    /// The group of everybody who did not.
    pub const UNAUTHENTICATED: &'static str = "mesh-system:unauthenticated";
    /// Name and group of the admin.
    pub const ADMIN: &'static str = "mesh-system:admin";

    /// The admin, as the token says it: not yet marked as authenticated.
    pub fn admin() -> Self {
        Self { name: Self::ADMIN.to_owned(), groups: vec![Self::ADMIN.to_owned()] }
    }

    /// Whoever shows nothing.
    pub fn anonymous() -> Self {
        Self { name: "mesh-system:anonymous".to_owned(), groups: vec![Self::UNAUTHENTICATED.to_owned()] }
    }

    /// The control plane itself.
    pub fn control_plane() -> Self {
        Self { name: "mesh-system:control-plane".to_owned(), groups: Vec::new() }
    }

    /// The same user in the group of those who proved who they are.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        self.groups.push(Self::AUTHENTICATED.to_owned());
        self
    }
}

impl fmt::Display for User {
    /// `name/group1,group2`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.groups.join(","))
    }
}
