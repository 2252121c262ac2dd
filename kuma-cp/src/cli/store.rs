//! `kuma-cp store`: copies of what is stored.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;

use super::{FileFlag, load};
use crate::{
    config::{self, Config, Loaded, StoreType, auto},
    run,
    stores::{self, copy::copy, sqlite},
};

const BACKUP_EXAMPLES: &str = "\
Examples:
  kuma-cp store backup /var/backups/kuma-monday.db
  KUMA_GENERAL_WORK_DIR=/var/lib/kuma kuma-cp store backup monday.db

The control plane may go on running. The copy holds secrets: only its owner can read it.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  kuma-cp store restore /var/backups/kuma-monday.db

Stop the control plane first. What it had is kept beside the file, under a name that is printed.";

const COPY_EXAMPLES: &str = "\
Examples:
  From the file of this machine to the database that postgres.yaml names:
    kuma-cp store copy --to postgres.yaml
  The other way round:
    kuma-cp store copy --config-file postgres.yaml --to sqlite.yaml

Stop the control planes of both stores first. The new store has to be empty; for a database, run `kuma-cp migrate up`
before. Variables of the environment count for the store to copy from only: the other one is read from its file alone.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Copy everything that is stored to a new file, also while the control plane runs
    #[command(after_help = BACKUP_EXAMPLES, args_override_self = true)]
    Backup {
        /// Where to; must not exist yet
        copy: PathBuf,
        #[command(flatten)]
        file: FileFlag,
    },
    /// Put a copy in the place of what is stored, while the control plane is stopped
    #[command(after_help = RESTORE_EXAMPLES, args_override_self = true)]
    Restore {
        /// A file that `kuma-cp store backup` made
        copy: PathBuf,
        #[command(flatten)]
        file: FileFlag,
    },
    /// Copy everything from one store to another, and compare
    #[command(after_help = COPY_EXAMPLES, args_override_self = true)]
    Copy {
        /// Configuration file that names the store to copy to
        #[arg(long, value_name = "PATH")]
        to: PathBuf,
        #[command(flatten)]
        file: FileFlag,
    },
}

/// Does what the command says.
pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Backup { copy, file } => {
            let count = sqlite::backup(Path::new(&file_store(file)?.store.sqlite.dir), copy)?;
            println!("{count} objects were copied to {} and read back", copy.display());
        }
        Command::Restore { copy, file } => {
            let (count, before) = sqlite::restore(Path::new(&file_store(file)?.store.sqlite.dir), copy)?;
            println!("{count} objects are in place: start kuma-cp to use them");
            if let Some(before) = before {
                println!("what was there before is kept in {}", before.display());
            }
        }
        Command::Copy { to, file } => {
            let (from, to) = (completed(load(file)?)?, completed(config::load(Some(to), [])?)?);
            let runtime = tokio::runtime::Runtime::new().context("could not start threads")?;
            let count = runtime.block_on(async {
                let (old, unknown) = stores::open_once(&from.store).await.context("the store to copy from")?;
                let (new, _) = stores::open_once(&to.store).await.context("the store to copy to")?;
                for (kind, left) in unknown {
                    eprintln!("{left} objects of kind {kind} stay behind: this version has no such kind");
                }
                anyhow::Ok(copy(&*old, &*new).await?)
            })?;
            let (old, new) = (&from.store.kind, &to.store.kind);
            println!("{count} objects were copied from {old} to {new} and compared: start kuma-cp on the new store");
        }
    }
    Ok(())
}

fn completed(Loaded { mut config, .. }: Loaded) -> anyhow::Result<Config> {
    auto::complete(&mut config, &run::machine())?;
    Ok(config)
}

/// The configuration of a store that is a file.
fn file_store(file: &FileFlag) -> anyhow::Result<Config> {
    let config = completed(load(file)?)?;
    anyhow::ensure!(
        StoreType::from_name(&config.store.kind) == Some(StoreType::Sqlite),
        "store type {:?} has no file to copy: only the sqlite store has; use the tools of the database, or kuma-cp store copy",
        config.store.kind
    );
    Ok(config)
}
