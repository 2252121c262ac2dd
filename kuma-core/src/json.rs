//! Resources as JSON: written for REST and Kubernetes readers ([`to_rest`], [`overview`], [`to_k8s`]), read from REST
//! and file documents ([`from_rest`]). Both shapes of JSON are handled here and nowhere else.

mod k8s;
mod read;
mod write;

pub use k8s::to_k8s;
pub use read::{DecodeFault, Received, from_rest, from_text};
pub use write::{Gap, overview, time_text, to_rest, to_rest_in};

#[cfg(test)]
mod tests;
