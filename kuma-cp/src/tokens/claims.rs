//! What a token says about its bearer.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use super::Purpose;

/// The claims of one kind of token.
pub trait Claims: Serialize + DeserializeOwned {
    /// The keys that sign such tokens; `mesh` counts for dataplane tokens only.
    fn purpose(mesh: &str) -> Purpose<'_>;
}

/// A user of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UserClaims {
    /// Name of the user.
    pub name: String,
    /// Groups of the user.
    #[serde(serialize_with = "null_when_empty", deserialize_with = "empty_when_null")]
    pub groups: Vec<String>,
}

/// A dataplane proxy. What is empty is not restricted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DataplaneClaims {
    /// Name of the Dataplane.
    pub name: String,
    /// Mesh of the Dataplane.
    pub mesh: String,
    /// Labels that the Dataplane must have, each with the values that are allowed.
    #[serde(deserialize_with = "empty_when_null")]
    pub tags: BTreeMap<String, Vec<String>>,
    /// Type of the proxy, `dataplane`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Label `kuma.io/workload` of the Dataplane.
    pub workload: String,
}

/// A zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ZoneClaims {
    /// Name of the zone.
    pub zone: String,
    /// What the zone may do.
    #[serde(serialize_with = "null_when_empty", deserialize_with = "empty_when_null")]
    pub scope: Vec<String>,
}

impl Claims for UserClaims {
    fn purpose(_: &str) -> Purpose<'_> {
        Purpose::User
    }
}

impl Claims for DataplaneClaims {
    fn purpose(mesh: &str) -> Purpose<'_> {
        Purpose::Dataplane { mesh }
    }
}

impl Claims for ZoneClaims {
    fn purpose(_: &str) -> Purpose<'_> {
        Purpose::Zone
    }
}

fn null_when_empty<S: Serializer>(list: &Vec<String>, serializer: S) -> Result<S::Ok, S::Error> {
    if list.is_empty() { serializer.serialize_none() } else { list.serialize(serializer) }
}

fn empty_when_null<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
