//! kuma-dp: starts the Envoy beside a service, keeps it running, configured and observed, and drains it before it stops.
//!
//! [`run`] is the composition; the other modules do one thing each and know nothing of each other beyond their arguments.

pub mod access_log;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod dns;
pub mod drain;
pub mod dynconf;
pub mod envoy;
pub mod host;
pub mod http;
pub mod local_trust;
pub mod logging;
pub mod metrics;
pub mod otel_env;
pub mod ports;
pub mod prepare;
pub mod readiness;
pub mod run;
pub mod service;
pub mod token;
pub mod transparent_proxy;
pub mod version;
pub mod wait;
pub mod work_dir;

use std::{ffi::OsString, io::Write, process::ExitCode};

use anyhow::Context;
use clap::Parser;

use crate::cli::{Cli, Command};

/// The whole program: reads the command line, does what it says, and reports an error as `Error: …` with status 1.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(usage) => {
            // Help goes to standard output and is no failure.
            let code = u8::from(usage.use_stderr());
            let _ = usage.print();
            return ExitCode::from(code);
        }
    };
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Version(flags) => {
            std::io::stdout().write_all(version::text(flags.detailed).as_bytes()).context("cannot print")
        }
        Command::Wait(flags) => {
            logging::start(&cli.log)?;
            runtime()?.block_on(wait::wait(&flags))
        }
        Command::Run(flags) => {
            logging::start(&cli.log)?;
            let plan = prepare::prepare(&flags, cli.log.log_level, &|name| std::env::var(name).ok())?;
            runtime()?.block_on(run::run(plan))
        }
    }
}

/// One thread: kuma-dp is small beside Envoy, and a child bound to its parent's life is bound to the thread that spawned it.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")
}
