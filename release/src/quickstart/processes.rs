//! The processes of the quickstart: started on a leash, logged to files, and gone when this value is dropped.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

/// This executable, also when cargo has replaced its file since.
pub(super) const THIS: &str = "/proc/self/exe";
/// How long a process gets to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How often a wait looks around.
const TICK: Duration = Duration::from_millis(5);

/// The user, or the system, wants us to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// A component that did not do its part; the end of its log tells more.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct ComponentFailed {
    pub(super) component: String,
    pub(super) what: String,
}

#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
    /// What ends it: a proxy with nothing to drain is stopped at once.
    stop: Signal,
}

/// All running processes, in the order of their start.
#[derive(Debug)]
pub(super) struct Processes {
    logs: PathBuf,
    running: Vec<Process>,
    signals: SignalFd,
}

impl Processes {
    /// Takes over SIGINT, SIGTERM and SIGHUP for this process. Must be called on the thread that starts processes:
    /// the kernel ties their life to it.
    pub(super) fn new(logs: &Path) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| format!("cannot create {}", logs.display()))?;
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block().context("cannot block signals")?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self { logs: logs.to_path_buf(), running: Vec::new(), signals })
    }

    /// Starts a program whose output goes to `NAME.log`. Of the settings of Kuma it has those of `set_up` only.
    pub(super) fn start(
        &mut self,
        name: &str,
        program: &Path,
        stop: Signal,
        set_up: impl FnOnce(&mut Command),
    ) -> Result<()> {
        let log_path = self.log(name);
        let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
        let mut command = Command::new(THIS);
        command.args(["leash", &std::process::id().to_string(), "--"]).arg(program);
        forget_settings(&mut command, std::env::vars_os().map(|(variable, _)| variable));
        set_up(&mut command);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Ctrl-C goes to the whole group of the terminal; ours ends the others in its own order.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        self.running.push(Process { name: name.to_owned(), child, stop });
        Ok(())
    }

    /// Asks `ready` again and again until it gives a value, a process has ended, or patience has.
    ///
    /// `component` is who is to blame if nothing comes.
    pub(super) fn wait_for<T>(
        &mut self,
        component: &str,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let started = Instant::now();
        loop {
            self.check()?;
            if let Some(value) = ready() {
                return Ok(value);
            }
            if started.elapsed() > patience {
                let what = format!("{what} did not happen within {} s", patience.as_secs());
                bail!(ComponentFailed { component: component.to_owned(), what });
            }
            std::thread::sleep(TICK);
        }
    }

    /// Fails when a signal came in or a process has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        if self.signals.read_signal()?.is_some() {
            bail!(Interrupted);
        }
        for process in &mut self.running {
            if let Some(status) = process.child.try_wait()? {
                let what = format!("{} ended by itself ({status})", process.name);
                bail!(ComponentFailed { component: process.name.clone(), what });
            }
        }
        Ok(())
    }

    /// Returns when a signal came in; an error when a process ends before that.
    pub(super) fn wait_for_signal(&mut self) -> Result<()> {
        loop {
            match self.check() {
                Ok(()) => std::thread::sleep(TICK * 10),
                Err(error) if error.is::<Interrupted>() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// The path of a component's log.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    /// The last lines that a component wrote.
    pub(super) fn tail(&self, name: &str, lines: usize) -> String {
        let text =
            fs::read(self.log(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let all: Vec<_> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
    }

    /// Ends all processes, the last started first, and waits until they are gone.
    pub(super) fn stop(&mut self) -> Result<()> {
        let ask =
            |processes: &[Process]| processes.iter().rev().for_each(|process| signal(&process.child, process.stop));
        ask(&self.running);
        let started = Instant::now();
        let mut asked_twice = false;
        while !self.running.is_empty() && started.elapsed() < GRACE {
            std::thread::sleep(TICK);
            self.running.retain_mut(|process| matches!(process.child.try_wait(), Ok(None)));
            // A second signal means "do not wait for anything" to all of them.
            if !asked_twice && started.elapsed() > GRACE / 5 {
                ask(&self.running);
                asked_twice = true;
            }
        }
        let stubborn: Vec<_> = self.running.iter().map(|process| process.name.clone()).collect();
        for mut process in self.running.drain(..) {
            signal(&process.child, Signal::SIGKILL);
            process.child.wait()?;
        }
        if stubborn.is_empty() { Ok(()) } else { Err(anyhow!("had to be killed: {}", stubborn.join(", "))) }
    }
}

/// Every key of the configuration has a variable. Those that this shell exports, for a mesh of its own, must not lead the
/// quickstart into a database that somebody uses, or to another control plane.
fn forget_settings(command: &mut Command, inherited: impl Iterator<Item = OsString>) {
    for variable in inherited.filter(|variable| variable.as_encoded_bytes().starts_with(b"KUMA_")) {
        command.env_remove(variable);
    }
}

fn signal(child: &Child, signal: Signal) {
    if let Ok(id) = i32::try_from(child.id()) {
        // It may be gone already, which is what we want.
        let _ = kill(Pid::from_raw(id), signal);
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        // What does not end by itself has been killed; there is nobody left to tell.
        let _ = self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_this_shell_do_not_reach_the_quickstart() {
        let mut command = Command::new("true");
        let inherited = ["PATH", "KUMA_STORE_TYPE", "KUMA_LOCAL_DIR", "HOME"];
        forget_settings(&mut command, inherited.into_iter().map(OsString::from));
        command.env("KUMA_LOCAL_DIR", "local");
        let changed: Vec<_> = command.get_envs().map(|(name, value)| (name.to_str(), value.is_some())).collect();
        assert_eq!(changed, [(Some("KUMA_LOCAL_DIR"), true), (Some("KUMA_STORE_TYPE"), false)]);
    }
}
