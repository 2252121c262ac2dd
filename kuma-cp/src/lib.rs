//! kuma-cp
