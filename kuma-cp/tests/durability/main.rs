//! What the store of a single control plane has acknowledged is on disk, whatever happens to process and disk.
//!
//! `cargo test -p kuma-cp --test durability [PART OF A NAME]…`. The writer is a process of its own (this program again),
//! so that it can be killed, and so that its disk can be made slow or broken: a small library, compiled with `cc`,
//! takes the place of its sync calls.

#![expect(clippy::unwrap_used, reason = "a step that fails fails the case")]

mod child;
mod disk;
mod kill;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|argument| argument == child::COMMAND) {
        child::run(&arguments[1..]);
        return ExitCode::SUCCESS;
    }
    let cases: [(&str, fn()); 3] = [
        ("killed_at_random_points", kill::killed_at_random_points),
        ("answers_wait_for_the_disk", disk::answers_wait_for_the_disk),
        ("a_broken_disk_refuses_writes", disk::a_broken_disk_refuses_writes),
    ];
    // Flags that cargo passes on to every test executable mean nothing here.
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let mut ran = 0;
    for (name, case) in cases {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            println!("case {name}");
            case();
            ran += 1;
        }
    }
    println!("durability: {ran} cases passed");
    if ran == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
