//! Envoy beside the service: found, asked for its version, started, watched, spoken to, and stopped.

pub mod admin;
pub mod binary;
pub mod chatter;
mod orphan;
pub mod process;
mod repetition;
pub mod restart;
pub mod supervise;
pub mod tail;
