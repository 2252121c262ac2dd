//! Real meshes for suites and benchmarks: processes, applications, load, and the mesh that ties them together.

pub mod app;
pub mod envoy;
pub mod fleet;
pub mod http;
pub mod instances;
pub mod load;
pub mod mesh;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod relay;

use std::{
    thread,
    time::{Duration, Instant},
};

/// Long enough for a busy machine; nothing waits that long when all is well.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Asks until there is something; how long that took. `what` is said if there never is.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> (T, Duration) {
    let begin = Instant::now();
    loop {
        if let Some(found) = ask() {
            return (found, begin.elapsed());
        }
        assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks until it holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    eventually(what, || holds().then_some(())).1
}
