//! kumactl
fn main() {}
