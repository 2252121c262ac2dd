//! Facts of one proxy: what its Dataplane says, what the proxy said of itself, and what plans read of both.

mod dataplane;
mod node;
mod proxy;

pub use dataplane::*;
pub use node::*;
pub use proxy::*;
