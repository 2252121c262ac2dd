//! Planning: from the state of a mesh to the intermediate form of one proxy's configuration.
//!
//! Small pure functions, one per step: facts of a proxy, destinations, which policies match, what their rules say,
//! which outbounds a proxy has, and one function per unit. Each takes exactly the values that its result depends on, so
//! that an incremental engine can keep results by these values; [`plan`] composes them from scratch, without memory.

mod backends;
mod class;
mod cluster;
mod destination;
mod endpoints;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod inbound;
pub mod merge;
mod mesh;
mod outbound;
mod policy;
mod proxy;
mod reach;
mod rules;
pub mod select;
mod settings;
mod wide;

pub use backends::*;
pub use class::*;
pub use cluster::*;
pub use destination::*;
pub use endpoints::*;
pub use facts::*;
pub use inbound::*;
pub use mesh::*;
pub use outbound::*;
pub use policy::*;
pub use proxy::*;
pub use reach::*;
pub use rules::*;
pub use select::{Matched, MatchedPolicies, Selected, selects};
pub use settings::*;
pub use wide::*;
