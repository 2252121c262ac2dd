//! kuma-dp
