//! The command line: flags, help, and what each command does.
//!
//! The exit status is 0 or 1. An error ends standard error with `Error: <text>`; errors of the command line itself
//! also print the usage on standard output, as they always did.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{self, Loaded, StoreType, auto},
    logging::{self, LogControl, LogLevel, LogOptions},
    run,
    stores::{self, postgres::schema::Migrated},
    tls, version,
};

mod problem;
mod signals;
mod store;
#[cfg(test)]
mod tests;

/// kuma-cp is the control plane of Kuma: it keeps the resources of the mesh, serves the API, and tells every data
/// plane proxy what to do.
#[derive(Debug, Parser)]
#[command(
    name = "kuma-cp",
    disable_version_flag = true,
    args_override_self = true,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = EXAMPLES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    log: LogFlags,
}

const EXAMPLES: &str = "\
Examples:
  Start a control plane that keeps everything in a file in its work directory (~/.kuma):
    kuma-cp run

  With a file of settings, one of them changed by its variable:
    KUMA_API_SERVER_HTTP_PORT=15681 kuma-cp run --config-file kuma-cp.yaml";

#[derive(Debug, Subcommand)]
enum Command {
    /// Launch Control Plane
    #[command(after_help = RUN_EXAMPLES, args_override_self = true)]
    Run(RunFlags),
    /// Migrate database to which Control Plane is connected
    ///
    /// The database contains all policies, dataplanes and secrets. Its schema has to be that of this version.
    #[command(arg_required_else_help = true, subcommand_required = true)]
    Migrate {
        #[command(subcommand)]
        command: Migrate,
    },
    /// Copy what is stored: to a file and back, or from one store to another
    #[command(arg_required_else_help = true, subcommand_required = true)]
    Store {
        #[command(subcommand)]
        command: store::Command,
    },
    /// Print version
    #[command(after_help = VERSION_EXAMPLES, args_override_self = true)]
    Version {
        /// Print detailed version
        #[arg(short = 'a', long)]
        detailed: bool,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  kuma-cp run
  kuma-cp run --config-file kuma-cp.yaml --log-level debug
  kuma-cp run --config-file kuma-cp.yaml --print-config

Every setting has an environment variable that wins over the file: apiServer.http.port is
KUMA_API_SERVER_HTTP_PORT. The file kuma-cp.defaults.yaml names all of them with their defaults.";

const VERSION_EXAMPLES: &str = "\
Examples:
  kuma-cp version
  kuma-cp version --detailed";

const MIGRATE_EXAMPLES: &str = "\
Examples:
  KUMA_STORE_TYPE=postgres kuma-cp migrate up
  kuma-cp migrate up --config-file kuma-cp.yaml";

#[derive(Debug, Subcommand)]
enum Migrate {
    /// Apply the newest schema changes to the database
    #[command(after_help = MIGRATE_EXAMPLES, args_override_self = true)]
    Up {
        #[command(flatten)]
        file: FileFlag,
    },
}

#[derive(Debug, Args)]
struct FileFlag {
    /// Configuration file
    #[arg(short = 'c', long, value_name = "PATH")]
    config_file: Option<String>,
}

impl FileFlag {
    fn path(&self) -> Option<&Path> {
        self.config_file.as_deref().filter(|p| !p.is_empty()).map(Path::new)
    }
}

#[derive(Debug, Args)]
struct RunFlags {
    #[command(flatten)]
    file: FileFlag,
    /// Print the configuration that results from defaults, file and variables as YAML, passwords masked, and end
    #[arg(long)]
    print_config: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
struct LogFlags {
    /// Log level: off, info or debug
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// File to log to instead of standard error. When it is full, /tmp/kuma.log is put aside as
    /// /tmp/kuma-2021-06-07T09-15-18.265.log
    #[arg(long, global = true, value_name = "PATH")]
    log_output_path: Option<String>,
    /// How many old log files are kept
    #[arg(long, global = true, value_name = "N", default_value = "1000", value_parser = config::parse_integer, allow_hyphen_values = true)]
    log_max_retained_files: i64,
    /// Megabytes of a log file before it is put aside
    #[arg(long, global = true, value_name = "MB", default_value = "100", value_parser = config::parse_integer, allow_hyphen_values = true)]
    log_max_size: i64,
    /// Days that old log files are kept
    #[arg(long, global = true, value_name = "DAYS", default_value = "30", value_parser = config::parse_integer, allow_hyphen_values = true)]
    log_max_age: i64,
}

impl LogFlags {
    fn options(&self) -> Result<LogOptions, logging::UnknownLevel> {
        // Below zero counts as zero: no limit.
        let whole = |value: i64| u64::try_from(value).unwrap_or_default();
        Ok(LogOptions {
            level: self.log_level.parse::<LogLevel>()?,
            file: self.log_output_path.as_deref().filter(|p| !p.is_empty()).map(PathBuf::from),
            max_retained_files: usize::try_from(whole(self.log_max_retained_files)).unwrap_or(usize::MAX),
            max_size: whole(self.log_max_size),
            max_age: u32::try_from(whole(self.log_max_age)).unwrap_or(u32::MAX),
        })
    }
}

/// What the command line asks for.
enum Parsed {
    Do(Box<Cli>, LogOptions),
    /// Print this and end well.
    Show(String),
    /// Print the usage on standard output, the problem on standard error, and end with status 1.
    Refuse {
        usage: String,
        problem: String,
    },
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Parsed {
    let mut command = Cli::command();
    let matches = match command.try_get_matches_from_mut(args) {
        Ok(matches) => matches,
        Err(error) => return problem::of(&error, command),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return problem::of(&error, command),
    };
    match cli.log.options() {
        Ok(options) => Parsed::Do(Box::new(cli), options),
        Err(error) => Parsed::Refuse { usage: command.render_help().to_string(), problem: error.to_string() },
    }
}

/// Does what the command line says. The one call of `main`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    tls::install_provider();
    let (cli, options) = match parse(args) {
        Parsed::Do(cli, options) => (cli, options),
        Parsed::Show(text) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Parsed::Refuse { usage, problem } => {
            print!("{usage}");
            eprintln!("Error: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let result = match &cli.command {
        Command::Version { detailed } => {
            print!("{}", version::text(*detailed));
            Ok(())
        }
        Command::Run(flags) if flags.print_config => print_config(&flags.file),
        Command::Run(flags) => start_log(&options).and_then(|log| logged("run", || control_plane(flags, log))),
        Command::Migrate { command: Migrate::Up { file } } => {
            start_log(&options).and_then(|_| logged("migrate", || migrate(file)))
        }
        Command::Store { command } => store::run(command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn start_log(options: &LogOptions) -> anyhow::Result<LogControl> {
    let mut options = options.clone();
    if let Some(path) = &options.file {
        let absolute = std::path::absolute(path).with_context(|| format!("log file {}", path.display()))?;
        println!("kuma-cp: logs will be stored in {:?}", absolute.display().to_string());
        options.file = Some(absolute);
    }
    logging::start(&options).with_context(|| match &options.file {
        Some(path) => format!("could not log to {}", path.display()),
        None => "could not start the log".to_owned(),
    })
}

/// An error with its causes, joined by colons. A cause that the text before it quotes already is not said again.
fn one_line(error: &anyhow::Error) -> String {
    let mut out = String::new();
    for text in error.chain().map(ToString::to_string).filter(|t| !t.is_empty()) {
        if !out.contains(&text) {
            if !out.is_empty() {
                out.push_str(": ");
            }
            out.push_str(&text);
        }
    }
    out
}

/// Logs the error of a command once, before it is printed.
fn logged(command: &'static str, act: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    act().inspect_err(|error| tracing::error!(target: "kuma-cp", command, error = one_line(error), "{command} failed"))
}

/// The environment as text. A variable that is no text cannot be one of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn load(file: &FileFlag) -> anyhow::Result<Loaded> {
    Ok(config::load(file.path(), environment())?)
}

fn print_config(file: &FileFlag) -> anyhow::Result<()> {
    let Loaded { mut config, warnings, .. } = load(file)?;
    for warning in warnings {
        eprintln!("Warning: {warning}");
    }
    auto::complete(&mut config, &run::machine())?;
    print!("{}", serde_saphyr::to_string(&config.display())?);
    Ok(())
}

fn control_plane(flags: &RunFlags, log: LogControl) -> anyhow::Result<()> {
    let Loaded { config, warnings, .. } = load(&flags.file)?;
    for warning in warnings {
        tracing::warn!(target: "kuma-cp.config", "{warning}");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("could not start threads")?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let watcher = tokio::spawn(signals::watch(stop.clone())?);
        let result = run::run(config, log, stop).await;
        watcher.abort();
        result
    })
}

fn migrate(file: &FileFlag) -> anyhow::Result<()> {
    let Loaded { mut config, .. } = load(file)?;
    if config.store.kind.is_empty() {
        config.store.kind = StoreType::Sqlite.as_str().into();
    }
    match StoreType::from_name(&config.store.kind) {
        Some(StoreType::Sqlite) => {
            anyhow::bail!("the sqlite store needs no migration: its file is brought up to date when it is opened")
        }
        Some(StoreType::Memory) => anyhow::bail!("migrations are not supported for Memory resource store"),
        Some(StoreType::Kubernetes) => anyhow::bail!("migrations are not supported for Kubernetes resource store"),
        Some(StoreType::Postgres) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let migrated =
                runtime.context("could not start")?.block_on(stores::postgres::migrate(&config.store.postgres))?;
            match migrated {
                Migrated::Already(version) => println!("The database is up to date (version {version})"),
                Migrated::From { before: None, steps } => {
                    println!("The database was empty: {steps} steps have made its tables");
                }
                Migrated::From { before: Some(version), steps } => {
                    println!("{steps} steps have brought the database up to date (it was at version {version})");
                }
            }
            Ok(())
        }
        // A checked configuration names one of them.
        None => anyhow::bail!("unknown store type {}", config.store.kind),
    }
}
