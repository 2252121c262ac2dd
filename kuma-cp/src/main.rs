//! kuma-cp
fn main() {}
