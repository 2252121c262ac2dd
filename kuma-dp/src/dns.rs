//! The embedded DNS server: answers for names of the mesh, passes everything else on.
//!
//! Records come from [`crate::dynconf`]; queries come over UDP and TCP on the same port.

pub mod forward;
pub mod names;
pub mod resolv;
pub mod server;
