//! `cargo run -p release -- …`: parses flags, hands over.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match release::run(release::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
