//! Rendering of the mesh to Envoy configuration, and the protocol that carries it: pure functions and values, without
//! sockets, files, clocks or randomness.
//!
//! Data flows from the intermediate form of `kuma-core` to [`set::Rendered`] resources, from there through
//! [`delta::Session`] (one per stream) to [`frame`], which writes what is sent.
#![forbid(unsafe_code)]

pub mod bootstrap;
pub mod delta;
pub mod filters;
pub mod frame;
pub mod hds;
pub mod json;
pub mod render;
pub mod set;
