//! kuma-injector
fn main() {}
