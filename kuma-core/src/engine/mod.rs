//! Incremental planning: changes in, the proxies that they concern and their new resources out.
//!
//! The same unit functions as in `plan`, with memory around them: what a change does not touch is neither planned nor
//! rendered again. A value without thread or clock; the shell steps it.

pub mod counters;
pub mod interner;
pub mod members;
