//! End to end: `cargo test -p tests --test mesh [PART OF A NAME]…`.
//!
//! A real kuma-cp, real kuma-dps with the Envoy that is shipped, applications and load in this process, everything on
//! loopback. Cases run one after the other, each with a control plane of its own in a temporary folder. What a case
//! needs and does not find is a failure, never a reason to pass. Figures are printed, failures with the logs of all
//! processes.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the case")]

mod cases;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

use tests::harness::process;

/// A case: its name and what it does. It fails by a panic.
pub(crate) type Case = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == process::LEASH) {
        return process::leash(&arguments);
    }
    // Flags that cargo passes on to every test executable mean nothing here.
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<&Case> = cases::ALL.iter().filter(|(name, _)| is_wanted(name)).collect();
    if chosen.is_empty() {
        println!("mesh: no case is named like {wanted:?}");
        return ExitCode::FAILURE;
    }
    let begin = Instant::now();
    let mut failed = Vec::new();
    for (name, case) in &chosen {
        println!("case {name}");
        let since = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(case));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("case {name}: {word} after {:.1} s", since.elapsed().as_secs_f32());
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    println!(
        "mesh: {} cases, {} failed {failed:?}, {:.0} s",
        chosen.len(),
        failed.len(),
        begin.elapsed().as_secs_f32()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
