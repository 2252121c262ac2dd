//! Starts a program that dies with us, whatever ends us: `release leash PARENT PROGRAM ARGUMENTS…`, a hidden command.
//!
//! The kernel kills the process when its parent is gone, also by `kill -9`. That has to be asked for in the new
//! process before it becomes the program, and this is the safe place between the two.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;

/// Becomes the program. Returns only if that fails.
pub fn run(parent: i32, program: &[String]) -> Result<()> {
    let (name, arguments) = program.split_first().context("no program given")?;
    set_pdeathsig(Signal::SIGKILL).context("cannot tie this process to its parent")?;
    if getppid().as_raw() != parent {
        bail!("the parent is gone already");
    }
    // A mask is inherited, and our parent blocks the signals that it waits for.
    SigSet::all().thread_unblock().context("cannot unblock signals")?;
    Err(Command::new(name).args(arguments).exec()).with_context(|| format!("cannot start {name}"))
}
