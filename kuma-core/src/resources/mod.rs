//! Kinds that are not policies, one file each.

mod dataplane;
mod dataplane_insight;
mod hostname_generator;
mod mesh;
mod mesh_insight;
mod mesh_service;
pub(crate) mod schemas;
mod secret;
mod workload;
mod zone;

pub use dataplane::*;
pub use dataplane_insight::*;
pub use hostname_generator::*;
pub use mesh::*;
pub use mesh_insight::*;
pub use mesh_service::*;
pub use secret::*;
pub use workload::*;
pub use zone::*;
