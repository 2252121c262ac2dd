//! Ties a child's life to ours: the one place of this crate that needs `unsafe`.

#![allow(unsafe_code)]

use nix::sys::{prctl, signal::Signal};
use tokio::process::Command;

/// The kernel kills the child when the thread that spawned it ends, for whatever reason (kill -9 included).
///
/// Spawn from a thread that lives as long as the process: kuma-dp's only runtime thread is its main thread.
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = std::process::id();
    let prepare = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the line above.
        if std::os::unix::process::parent_id() == parent { Ok(()) } else { Err(std::io::Error::from_raw_os_error(3)) }
    };
    // SAFETY: between fork and exec only async-signal-safe things may happen: `prepare` makes the system calls prctl and
    // getppid and builds errors from numbers, without allocation or locks.
    unsafe {
        command.pre_exec(prepare);
    }
}
