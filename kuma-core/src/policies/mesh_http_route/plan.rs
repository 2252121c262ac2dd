//! What MeshHTTPRoute says about units: its rules by condition, which merge across policies.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{HttpMatch, HttpRule, MeshHTTPRoute};
use crate::policies::{
    policy::{Conf, KeyedList, MergeRules, Never, Policy, Stage, ToItem},
    target::TargetRef,
};

/// Rules about one destination. Rules of several policies with equal conditions merge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpRouteConf {
    /// Rules; the first of equally specific ones wins.
    pub rules: Vec<HttpRule>,
}

impl Conf for HttpRouteConf {
    const MERGE: MergeRules = MergeRules { keyed: Some(KeyedList { list: "rules", key: "matches", value: "default" }) };

    fn match_hashes(&self) -> Vec<Arc<str>> {
        self.rules.iter().map(|r| match_hash(&r.matches)).collect()
    }
}

/// Hash of a list of conditions as it is shown and used in names: standard base64 of the SHA-256 of their compact
/// JSON, in which `<`, `>` and `&` are escaped.
pub fn match_hash(matches: &[HttpMatch]) -> Arc<str> {
    let json = serde_json::to_string(matches).unwrap_or_default();
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    STANDARD.encode(Sha256::digest(json)).into()
}

impl Policy for MeshHTTPRoute {
    type To = HttpRouteConf;
    type In = Never;
    type Own = Never;
    const STAGE: Stage = Stage::Shape;

    fn target_ref(&self) -> Option<&TargetRef> {
        self.target_ref.as_ref()
    }

    fn to_items(&self) -> Vec<ToItem<HttpRouteConf>> {
        let item = |i: &super::HttpRouteTo| ToItem {
            target: i.target_ref.clone(),
            conf: HttpRouteConf { rules: i.rules.clone() },
        };
        self.to.iter().flatten().map(item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::PathMatch;

    #[test]
    fn the_default_catch_all_has_its_well_known_name() {
        let path = PathMatch { kind: "PathPrefix".into(), value: "/".into() };
        let all = HttpMatch { path: Some(path), ..HttpMatch::default() };
        assert_eq!(&*match_hash(&[all]), "9Zuf5Tg79OuZcQITwBbQykxAk2u4fRKrwYn3//AL4Yo=");
    }
}
