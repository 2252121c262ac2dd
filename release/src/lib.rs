//! Builds, packs and shows Kuma: what is needed around the executables, for people and for CI.
//!
//! The tests use [`envoy::ensure`] to get the real Envoy they run against.

pub mod archive;
pub mod audit;
pub mod envoy;
pub mod executables;
pub mod source;
pub mod wheel;
pub mod workspace;

use std::path::PathBuf;

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
    /// Build the executables and pack them, with Envoy, for users
    Archive {
        /// The folder to write to
        #[arg(long, default_value = "dist")]
        into: PathBuf,
        /// Pack executables of the development profile: quick to build, large, not for shipping
        #[arg(long)]
        debug: bool,
    },
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
        Command::Archive { into, debug } => archive::run(&into, build(debug))?,
        Command::Audit { require_advisories } => audit::run(require_advisories)?,
    }
    Ok(())
}

fn build(debug: bool) -> executables::Build {
    if debug { executables::Build::Debug } else { executables::Build::Shipped }
}
