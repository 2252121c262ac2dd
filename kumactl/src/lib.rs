//! kumactl
