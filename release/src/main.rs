//! `cargo run -p release -- …`: parses flags, hands over.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match release::run(release::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
