//! A process that cannot outlive the test, with its output in a file.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// First argument that makes this executable start another one on a leash: `leash PARENT PROGRAM ARGUMENTS…`.
pub const LEASH: &str = "leash";
/// This executable, also when cargo has replaced its file since.
const THIS: &str = "/proc/self/exe";

/// Becomes the program that is asked for, tied to the life of its parent.
pub fn leash(arguments: &[String]) -> ExitCode {
    let parent = arguments[1].parse().unwrap();
    let outcome = release::leash::run(parent, &arguments[2..]);
    eprintln!("{:?}", outcome.unwrap_err());
    ExitCode::FAILURE
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a program with nothing in its environment but what `set_up` puts there. What it says goes to `log`,
    /// after what is there already.
    pub fn start(name: &str, program: &Path, log: &Path, set_up: impl FnOnce(&mut Command)) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new(THIS);
        command.args([LEASH, &std::process::id().to_string()]).arg(program).env_clear();
        set_up(&mut command);
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        Self { name: name.to_owned(), child: command.spawn().unwrap() }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its end, if it has come.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(begin.elapsed() < within, "{} does not end within {within:?}", self.name);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process that it started with this word in its command line.
    pub fn child_with(&self, word: &str) -> Option<i32> {
        children(self.pid()).into_iter().find(|pid| {
            String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).contains(word)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes that a process has started and that run.
pub fn children(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|child| stat(*child).is_some_and(|(state, parent)| parent == pid && state != 'Z')).collect()
}

/// Whether a process was stopped, and not yet told to go on.
pub fn is_stopped(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state == 'T')
}

/// Whether a process runs (a zombie does not).
pub fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

/// State and parent of a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
