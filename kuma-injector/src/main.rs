//! `kuma-injector`: adds kuma-dp to new pods. It needs Kubernetes mode, which does not exist yet, and says so.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Adds kuma-dp to new pods.
#[derive(Debug, Parser)]
#[command(name = "kuma-injector", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the webhook that Kubernetes asks about new pods
    Run,
    /// Print the version
    Version,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run => {
            eprintln!(
                "Error: kuma-injector cannot run yet: injection comes with Kubernetes mode, which this version ({}) does \
                 not have. On machines and in plain containers, start kuma-dp beside the service: `kuma-dp run --help`.",
                env!("CARGO_PKG_VERSION")
            );
            ExitCode::FAILURE
        }
        Command::Version => {
            println!("Kuma: {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
    }
}
