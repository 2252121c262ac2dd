//! release
fn main() {}
