//! Planning: from the state of a mesh to the intermediate form of one proxy's configuration.
//!
//! Small pure functions, one per step: facts of a proxy, destinations, which policies match, what their rules say,
//! which outbounds a proxy has, and one function per unit. Each takes exactly the values that its result depends on, so
//! that an incremental engine can keep results by these values; [`plan`] composes them from scratch, without memory.

mod destination;
mod facts;
pub mod merge;
mod policy;
mod rules;
pub mod select;
mod settings;

pub use destination::*;
pub use facts::*;
pub use policy::*;
pub use rules::*;
pub use select::{Matched, MatchedPolicies, Selected, selects};
pub use settings::*;
