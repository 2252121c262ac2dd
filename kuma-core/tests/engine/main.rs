//! The incremental engine against planning from scratch, and what a change costs it.
#![expect(clippy::unwrap_used, reason = "what is generated here is valid")]

mod clients;
mod cost;
mod equal;
#[path = "../generated/mod.rs"]
mod generated;
mod printer;
mod scene;
