//! Builds, packs and shows Kuma: what is needed around the executables, for people and for CI.
//!
//! The tests use [`envoy::ensure`] and [`postgres::ensure`] to get the real servers they run against.

pub mod archive;
pub mod audit;
pub mod contracts;
pub mod demo_app;
pub mod envoy;
pub mod executables;
pub mod leash;
pub mod postgres;
pub mod quickstart;
pub mod source;
pub mod wheel;
pub mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use executables::Build;

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
    /// Fetch the PostgreSQL that tests run, and print the folder of its executables
    Postgres,
    /// Start a mesh of two services on this machine and show what it does
    Quickstart(quickstart::Options),
    /// Build the executables and pack them, with Envoy, for users
    Archive {
        /// The folder to write to
        #[arg(long, default_value = "dist")]
        into: PathBuf,
        /// Pack executables of the development profile: quick to build, large, not for shipping
        #[arg(long)]
        debug: bool,
    },
    /// Write the documents that follow from code
    Gen {
        /// Write nothing, and fail if one of them is not current
        #[arg(long)]
        check: bool,
    },
    /// Check licences, bans, sources and known vulnerabilities of all dependencies
    Audit {
        /// Fail when the database of vulnerabilities cannot be fetched
        #[arg(long)]
        require_advisories: bool,
    },
    /// Be an application of the quickstart
    #[command(hide = true)]
    DemoApp(demo_app::App),
    /// Become a program that ends with its parent
    #[command(hide = true)]
    Leash {
        /// Process id of the parent
        parent: i32,
        /// The program and its arguments
        #[arg(last = true, required = true)]
        program: Vec<String>,
    },
}

/// Does what the command line asks.
pub fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Quickstart(options) => return quickstart::run(options),
        Command::Envoy => println!("{}", envoy::ensure()?.display()),
        Command::Postgres => println!("{}", postgres::ensure()?.display()),
        Command::Archive { into, debug } => archive::run(&into, if debug { Build::Debug } else { Build::Shipped })?,
        Command::Gen { check } => contracts::run(check)?,
        Command::Audit { require_advisories } => audit::run(require_advisories)?,
        Command::DemoApp(app) => demo_app::run(app)?,
        Command::Leash { parent, program } => leash::run(parent, &program)?,
    }
    Ok(ExitCode::SUCCESS)
}
