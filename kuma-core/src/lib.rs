//! The pure domain of Kuma: what a mesh is, what its policies mean, and what each proxy has to do about it.
//!
//! Data enters as [`resource::AnyResource`] values (decoded by [`registry`], checked by `admit`), is held in a
//! [`state::MeshState`], planned into [`ir`], and leaves as IR values that `xds-gen` renders to Envoy messages.
//! Nothing here opens a socket or a file, reads a clock, or draws a random number: all of these come in as values.
#![forbid(unsafe_code)]

pub mod admit;
pub mod defaults;
pub mod document;
pub mod duration;
pub mod engine;
pub mod foreign;
pub mod hostname;
pub mod ir;
pub mod json;
pub mod kri;
pub mod labels;
pub mod meta;
pub mod names;
pub mod plan;
pub mod policies;
pub mod reconcile;
pub mod registry;
pub mod resource;
pub mod resources;
pub mod schema;
pub mod sni;
pub mod sockets;
pub mod state;
pub mod store;
pub mod suggest;
pub mod validate;
