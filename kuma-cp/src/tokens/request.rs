//! What the endpoints that issue tokens are asked, and what is wrong with that.

use std::collections::BTreeMap;

use kuma_core::{
    duration::GoDuration,
    validate::{Path, Violations},
};
use serde::{Deserialize, Deserializer};

use super::{DEFAULT_VALIDITY, DataplaneClaims, UserClaims, ZoneClaims};

/// Body of `POST /tokens/dataplane`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DataplaneTokenRequest {
    /// Name of the Dataplane; empty: any.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Mesh of the Dataplane.
    #[serde(deserialize_with = "nullable")]
    pub mesh: String,
    /// Labels that the Dataplane must have.
    #[serde(deserialize_with = "nullable")]
    pub tags: BTreeMap<String, Vec<String>>,
    /// Type of the proxy, `dataplane` or empty.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// Label `kuma.io/workload` of the Dataplane; empty: any.
    #[serde(deserialize_with = "nullable")]
    pub workload: String,
    /// How long the token counts.
    #[serde(deserialize_with = "nullable")]
    pub valid_for: String,
}

/// Body of `POST /tokens/zone`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ZoneTokenRequest {
    /// Name of the zone.
    #[serde(deserialize_with = "nullable")]
    pub zone: String,
    /// What the zone may do.
    #[serde(deserialize_with = "nullable")]
    pub scope: Vec<String>,
    /// How long the token counts.
    #[serde(deserialize_with = "nullable")]
    pub valid_for: String,
}

/// Body of `POST /tokens/user`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct UserTokenRequest {
    /// Name of the user.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Groups of the user.
    #[serde(deserialize_with = "nullable")]
    pub groups: Vec<String>,
    /// How long the token counts.
    #[serde(deserialize_with = "nullable")]
    pub valid_for: String,
}

impl DataplaneTokenRequest {
    /// What the token will say, and for how long.
    pub fn validate(self) -> Result<(DataplaneClaims, GoDuration), Violations> {
        let mut out = Violations::new();
        if self.mesh.is_empty() {
            out.add(&Path::root("mesh"), "cannot be empty");
        }
        let valid_for = validity(&self.valid_for, &mut out);
        if !matches!(self.kind.as_str(), "" | "dataplane") {
            out.add(&Path::root("type"), format!("{} is not a valid proxy type", self.kind));
        }
        out.into_result()?;
        let Self { name, mesh, tags, kind, workload, .. } = self;
        Ok((DataplaneClaims { name, mesh, tags, kind, workload }, valid_for))
    }
}

impl ZoneTokenRequest {
    /// What the token will say, and for how long. Neither the zone nor the scope is looked at.
    pub fn validate(self) -> Result<(ZoneClaims, GoDuration), Violations> {
        let mut out = Violations::new();
        let valid_for = validity(&self.valid_for, &mut out);
        out.into_result()?;
        Ok((ZoneClaims { zone: self.zone, scope: self.scope }, valid_for))
    }
}

impl UserTokenRequest {
    /// What the token will say, and for how long.
    pub fn validate(self) -> Result<(UserClaims, GoDuration), Violations> {
        let mut out = Violations::new();
        let at = Path::root("validFor");
        if self.name.is_empty() {
            out.add(&Path::root("name"), "cannot be empty");
        }
        let valid_for = if self.valid_for.is_empty() {
            out.add(&at, "cannot be empty");
            GoDuration::ZERO
        } else {
            let valid_for = self.valid_for.parse().unwrap_or_else(|e| {
                out.add(&at, format!("is invalid: {e}"));
                GoDuration::ZERO
            });
            if valid_for.is_zero() {
                out.add(&at, "cannot be empty or nil");
            }
            valid_for
        };
        out.into_result()?;
        Ok((UserClaims { name: self.name, groups: self.groups }, valid_for))
    }
}

/// The lifetime; when none is named, the default.
fn validity(text: &str, out: &mut Violations) -> GoDuration {
    if text.is_empty() {
        return DEFAULT_VALIDITY;
    }
    text.parse().unwrap_or_else(|e| {
        out.add(&Path::root("validFor"), format!("is invalid: {e}"));
        GoDuration::ZERO
    })
}

/// `null` counts as absent.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
