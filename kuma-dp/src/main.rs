//! kuma-dp
fn main() {}
