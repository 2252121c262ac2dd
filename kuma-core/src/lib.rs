//! kuma-core
