//! What suites that cross crates share.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the case")]

pub mod harness;
