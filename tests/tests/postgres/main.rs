//! The PostgreSQL servers and the relay that other suites rely on: what they promise holds.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod relay;
mod replica;
mod server;
mod tls;
