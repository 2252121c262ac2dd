//! Pure domain of the Kuma service mesh: no sockets, files, clocks or randomness.
#![forbid(unsafe_code)]

pub mod duration;
