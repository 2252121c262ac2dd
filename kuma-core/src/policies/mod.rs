//! Kinds that are policies, one file each, and the shapes that they share.

mod mesh_access_log;
mod mesh_circuit_breaker;
mod mesh_http_route;
mod mesh_retry;
mod mesh_tcp_route;
mod mesh_timeout;
mod observability;
pub mod policy;
mod schemas;
pub mod target;

pub use mesh_access_log::*;
pub use mesh_circuit_breaker::*;
pub use mesh_http_route::*;
pub use mesh_retry::*;
pub use mesh_tcp_route::*;
pub use mesh_timeout::*;
pub use observability::{BackendResourceRef, ObservabilityStatus};
