//! Rules: what the matched policies of one kind say, merged, about destinations, inbounds and the proxy itself.

mod inbound;
mod own;
mod to;

use std::sync::Arc;

use super::PolicyHead;

pub use inbound::*;
pub use own::*;
pub use to::*;

/// Where a conf stems from: a policy and the index of the item in it.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleOrigin {
    /// The policy.
    pub policy: Arc<PolicyHead>,
    /// Index in `to` or `rules`.
    pub index: usize,
}

/// Adds an origin unless the same item is there already.
fn add_origin(origins: &mut Vec<RuleOrigin>, origin: RuleOrigin) {
    let known = origins.iter().any(|o| o.index == origin.index && Arc::ptr_eq(&o.policy, &origin.policy));
    if !known {
        origins.push(origin);
    }
}
