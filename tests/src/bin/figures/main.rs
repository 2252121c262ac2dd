//! Figures of what is shipped, with real Envoys: `cargo run -p tests --bin figures [PART OF A NAME]…`.
//!
//! Builds the executables as they are shipped, runs them on loopback, and prints a table. Nothing is asserted on time: a
//! machine that has other work to do makes every figure worse, and the table says so. The exit status tells whether all
//! could be measured.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the measurement")]

mod changes;
mod fleet;
mod footprint;
mod sample;
mod stores;
mod table;
mod tap;

use std::process::ExitCode;

use tests::harness::{mesh::Programs, process};

use table::Row;

/// A group of figures: its name, and what measures it.
type Group = (&'static str, fn() -> Vec<Row>);

const GROUPS: &[Group] = &[
    ("sizes", footprint::sizes),
    ("start", footprint::start),
    ("kumactl", footprint::kumactl),
    ("memory", footprint::memory),
    ("changes", changes::measure),
    ("stores", stores::measure),
    ("fleet", fleet::measure),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == process::LEASH) {
        return process::leash(&arguments);
    }
    let is_wanted = |name: &str| arguments.is_empty() || arguments.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<&Group> = GROUPS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if chosen.is_empty() {
        let names: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
        eprintln!("figures: nothing is named like {arguments:?}; there are {}", names.join(", "));
        return ExitCode::FAILURE;
    }
    kuma_cp::tls::install_provider();
    Programs::ship();
    println!("{}", machine());
    let mut rows = Vec::new();
    for (name, measure) in chosen {
        println!("measuring {name}");
        rows.extend(measure());
    }
    println!();
    table::print(&rows);
    ExitCode::SUCCESS
}

/// What may explain the figures: how many cores there are, and how busy they are without us.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!("{cores} cores, load average {load} before the first measurement")
}
