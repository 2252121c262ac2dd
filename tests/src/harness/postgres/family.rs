//! A server as the processes that it is made of: one that listens, and one for each client and each chore.

use std::process::Child;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{
    process::{children, is_alive, is_stopped},
    until,
};

/// Stops all of them where they are.
pub(super) fn pause(server: &Child) {
    for pid in frozen(server) {
        send(pid, Signal::SIGSTOP);
    }
}

/// Lets them go on.
pub(super) fn resume(server: &Child) {
    for pid in children(server.id() as i32) {
        send(pid, Signal::SIGCONT);
    }
    send(server.id() as i32, Signal::SIGCONT);
}

/// `kill -9`, and waits until all of them are gone.
pub(super) fn kill_all(server: &mut Child) {
    let pids = frozen(server);
    server.kill().unwrap();
    for pid in &pids {
        send(*pid, Signal::SIGKILL);
    }
    server.wait().unwrap();
    until("the end of a server's processes", || !pids.iter().any(|pid| is_alive(*pid)));
}

/// The children of a server that has been stopped, so that there will be no others.
fn frozen(server: &Child) -> Vec<i32> {
    let pid = server.id() as i32;
    send(pid, Signal::SIGSTOP);
    until("a server that stops", || is_stopped(pid) || !is_alive(pid));
    children(pid)
}

pub(super) fn send(pid: i32, signal: Signal) {
    // It may be gone already.
    let _ = kill(Pid::from_raw(pid), signal);
}
