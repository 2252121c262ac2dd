//! One run of Envoy: its command line, its output, its end.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    task::JoinHandle,
    time::Instant,
};

use super::{chatter::Chatter, orphan, tail::Tail};

/// After SIGTERM, before SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// For the rest of the output after the end.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How to start Envoy.
#[derive(Clone, Debug)]
pub struct EnvoySpec {
    /// Executable.
    pub binary: PathBuf,
    /// Bootstrap file.
    pub bootstrap: PathBuf,
    /// For listeners that are removed, in whole seconds.
    pub drain_time: Duration,
    /// `--log-level`.
    pub log_level: String,
    /// `--component-log-level`, or empty.
    pub component_log_level: String,
    /// Worker threads; 0 takes them from the CPU set.
    pub concurrency: u32,
    /// Do not show the list of everything that is linked into Envoy.
    pub leave_out_inventory: bool,
    /// Sockets that Envoy binds; what an earlier run left of them is removed before a start.
    pub sockets: Vec<PathBuf>,
}

impl EnvoySpec {
    /// The command line after the executable.
    pub fn arguments(&self) -> Vec<String> {
        let mut args = vec![
            "--config-path".to_owned(),
            self.bootstrap.display().to_string(),
            "--drain-time-s".to_owned(),
            self.drain_time.as_secs().to_string(),
            "--drain-strategy".to_owned(),
            "immediate".to_owned(),
            "--disable-hot-restart".to_owned(),
            "--log-level".to_owned(),
            self.log_level.clone(),
        ];
        if !self.component_log_level.is_empty() {
            args.extend(["--component-log-level".to_owned(), self.component_log_level.clone()]);
        }
        if self.concurrency > 0 {
            args.extend(["--concurrency".to_owned(), self.concurrency.to_string()]);
        } else {
            args.push("--cpuset-threads".to_owned());
        }
        args
    }

    /// Starts it: in a process group of its own, so that Ctrl-C reaches kuma-dp alone, and bound to die with kuma-dp.
    pub fn start(&self) -> io::Result<EnvoyProcess> {
        for socket in &self.sockets {
            crate::http::clear_socket(socket)?;
        }
        let mut command = Command::new(&self.binary);
        command.args(self.arguments()).stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        // The service manager is kuma-dp's to talk to.
        for variable in [service_notify::SOCKET, service_notify::WATCHDOG, service_notify::WATCHDOG_PID] {
            command.env_remove(variable);
        }
        orphan::die_with_parent(&mut command);
        let mut child = command.spawn()?;
        let output =
            child.stderr.take().map(|stderr| tokio::spawn(forward(stderr, Chatter::new(self.leave_out_inventory))));
        Ok(EnvoyProcess { child, output })
    }
}

/// A running Envoy.
#[derive(Debug)]
pub struct EnvoyProcess {
    child: Child,
    output: Option<JoinHandle<Tail>>,
}

impl EnvoyProcess {
    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end. Dropping the future loses nothing.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// The last lines, once it ended.
    pub async fn last_lines(&mut self) -> Tail {
        let Some(output) = self.output.take() else { return Tail::default() };
        match tokio::time::timeout(OUTPUT_TIMEOUT, output).await {
            Ok(Ok(tail)) => tail,
            _ => Tail::default(),
        }
    }

    /// Asks it to end, and ends it by force if it does not within `STOP_TIMEOUT`.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(pid) = self.child.id() {
            // It may have ended this very moment; then there is nobody to ask.
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
        if let Ok(ended) = tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            return ended;
        }
        tracing::warn!("Envoy did not end within {STOP_TIMEOUT:?} of SIGTERM, killing it");
        self.child.start_kill()?;
        self.child.wait().await
    }
}

/// Passes Envoy's log on to our standard error, and keeps the end of it.
async fn forward(mut from: impl AsyncRead + Unpin, mut chatter: Chatter) -> Tail {
    let mut tail = Tail::default();
    let begin = Instant::now();
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        tail.push(&buffer[..n]);
        // A closed standard error must not stop Envoy: somebody has to read its pipe.
        let _ = io::stderr().write_all(&chatter.push(&buffer[..n], begin.elapsed()));
    }
    let _ = io::stderr().write_all(&chatter.rest());
    tail
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> EnvoySpec {
        EnvoySpec {
            binary: "/bin/envoy".into(),
            bootstrap: "/w/bootstrap.yaml".into(),
            drain_time: Duration::from_millis(30_500),
            log_level: "info".into(),
            component_log_level: String::new(),
            concurrency: 0,
            leave_out_inventory: false,
            sockets: Vec::new(),
        }
    }

    #[test]
    fn arguments_come_in_the_documented_order() {
        assert_eq!(
            spec().arguments().join(" "),
            "--config-path /w/bootstrap.yaml --drain-time-s 30 --drain-strategy immediate --disable-hot-restart \
             --log-level info --cpuset-threads"
        );
        let chosen = EnvoySpec { component_log_level: "upstream:debug".into(), concurrency: 2, ..spec() };
        assert!(
            chosen
                .arguments()
                .join(" ")
                .ends_with("--log-level info --component-log-level upstream:debug --concurrency 2")
        );
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed_and_its_last_words_are_kept() {
        use std::os::unix::{fs::PermissionsExt, process::ExitStatusExt};
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("stubborn");
        std::fs::write(
            &script,
            "#!/bin/sh\ntrap '' TERM\necho '[t][critical] [a:1] stubborn' >&2\nsleep 60 & wait\nsleep 60\n",
        )
        .unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut process = EnvoySpec { binary: script, ..spec() }.start().unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let status = process.stop().await.unwrap();
        assert_eq!(status.signal(), Some(9));
    }
}
