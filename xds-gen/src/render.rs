//! Intermediate form to Envoy messages: one function per unit, each from the unit alone and the facts of the replica.
//!
//! What is written and what is left out is part of the contract: an absent `Option` stays absent in the message. The
//! same unit gives the same bytes. [`units`] packs messages into resources that streams share; [`render_proxy`] makes
//! a whole set at once, for goldens and inspection.

mod access_log;
pub(crate) mod address;
mod admin;
mod cluster;
mod direct_access;
mod dynconf;
mod endpoint;
mod inbound;
mod listener;
mod matcher;
mod metadata;
mod outbound;
mod passthrough;
mod proto;
mod proxy;
mod retry;
mod route;
mod tls;
pub mod units;
mod wide;

use kuma_core::duration::GoDuration;

pub use admin::{AdminTls, has_admin_listener};
pub use cluster::render_cluster;
pub use endpoint::render_endpoints;
pub use inbound::render_inbound;
pub use outbound::render_outbound;
pub use proxy::render_proxy;
pub use wide::{WideMessages, render_wide};

/// A duration as protobuf has it: both parts have one sign.
pub(crate) fn duration(value: GoDuration) -> prost_types::Duration {
    const NANOS: i64 = 1_000_000_000;
    prost_types::Duration { seconds: value.as_nanos() / NANOS, nanos: (value.as_nanos() % NANOS) as i32 }
}

#[cfg(test)]
mod tests;
