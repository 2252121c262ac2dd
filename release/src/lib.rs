//! Builds, packs and shows Kuma: what is needed around the executables, for people and for CI.
//!
//! The tests use [`envoy::ensure`] to get the real Envoy they run against.

pub mod audit;
pub mod envoy;
pub mod wheel;
pub mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, packs and shows Kuma.
#[derive(Debug, Parser)]
#[command(name = "release", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch the Envoy that is shipped, and print its path
    Envoy,
    /// Check licences, bans, sources and known vulnerabilities of all dependencies
    Audit {
        /// Fail when the database of vulnerabilities cannot be fetched
        #[arg(long)]
        require_advisories: bool,
    },
}

/// Does what the command line asks.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Envoy => println!("{}", envoy::ensure()?.display()),
        Command::Audit { require_advisories } => audit::run(require_advisories)?,
    }
    Ok(())
}
