//! One run of Envoy: its command line, its output, its end.

use std::{
    io::{self, PipeReader, Read, Write},
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
    sync::oneshot,
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
        self.start_into(io::stdout())
    }

    /// The same with another standard output than ours.
    fn start_into(&self, stdout: impl Write + Send + 'static) -> io::Result<EnvoyProcess> {
        for socket in &self.sockets {
            crate::http::clear_socket(socket)?;
        }
        let mut command = Command::new(&self.binary);
        // Access logs may go to /dev/stdout, which Envoy opens anew: a pipe of this user can be, ours may be anything. Under a
        // service manager it is a socket, and those cannot.
        let (access_logs, envoys_stdout) = io::pipe()?;
        command.args(self.arguments()).stdin(Stdio::null()).stdout(envoys_stdout).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        // The service manager is kuma-dp's to talk to.
        for variable in [service_notify::SOCKET, service_notify::WATCHDOG, service_notify::WATCHDOG_PID] {
            command.env_remove(variable);
        }
        orphan::die_with_parent(&mut command);
        let mut child = command.spawn()?;
        // The command holds an end of the pipe, which would never end.
        drop(command);
        let stdout = pass_on(access_logs, stdout)?;
        let output =
            child.stderr.take().map(|stderr| tokio::spawn(forward(stderr, Chatter::new(self.leave_out_inventory))));
        Ok(EnvoyProcess { child, stdout: Some(stdout), output })
    }
}

/// A running Envoy.
#[derive(Debug)]
pub struct EnvoyProcess {
    child: Child,
    /// Answers when its standard output has ended.
    stdout: Option<oneshot::Receiver<()>>,
    output: Option<JoinHandle<Tail>>,
}

impl EnvoyProcess {
    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the end. Dropping the future loses nothing.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.pass_on_rest().await;
        Ok(status)
    }

    /// Waits until everything that it wrote to its standard output is in ours.
    async fn pass_on_rest(&mut self) {
        if let Some(stdout) = &mut self.stdout {
            // Whoever does not read our standard output does not hold up the end.
            let _ = tokio::time::timeout(OUTPUT_TIMEOUT, stdout).await;
            self.stdout = None;
        }
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
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            tracing::warn!("Envoy did not end within {STOP_TIMEOUT:?} of SIGTERM, killing it");
            self.child.start_kill()?;
        }
        self.ended().await
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

/// Passes on what comes out of a pipe, byte by byte as it is. On a thread of its own: our standard output may be read slowly or
/// never, and nothing else shall wait for it.
fn pass_on(mut from: PipeReader, mut to: impl Write + Send + 'static) -> io::Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel();
    let work = move || {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => break,
                // A closed standard output must not stop Envoy: somebody has to read its pipe.
                Ok(length) => drop(to.write_all(&buffer[..length]).and_then(|()| to.flush())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        // Nobody may wait for it any more.
        let _ = end.send(());
    };
    std::thread::Builder::new().name("stdout".to_owned()).spawn(work)?;
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::PermissionsExt,
        path::Path,
        sync::{Arc, Mutex},
    };

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

    /// An "Envoy" that is a script.
    fn script(dir: &Path, text: &str) -> EnvoySpec {
        let path = dir.join("envoy");
        std::fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        EnvoySpec { binary: path, ..spec() }
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed_and_its_last_words_are_kept() {
        use std::os::unix::process::ExitStatusExt;
        let dir = tempfile::tempdir().unwrap();
        let stubborn = "trap '' TERM\necho '[t][critical] [a:1] stubborn' >&2\nsleep 60 & wait\nsleep 60\n";
        let mut process = script(dir.path(), stubborn).start().unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let status = process.stop().await.unwrap();
        assert_eq!(status.signal(), Some(9));
    }

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_goes_to_standard_output_is_passed_on_whole() {
        let dir = tempfile::tempdir().unwrap();
        // As Envoy does it for access logs, and in the words of its inventory, which is left out of its log alone.
        let inventory = "[t][1][info][main] [source/server/server.cc:432] statically linked extensions:";
        let text = format!("echo opened >>/dev/stdout || exit 3\necho '{inventory}'\nprintf 'no end'\n");
        let kept = Kept::default();
        let spec = EnvoySpec { leave_out_inventory: true, ..script(dir.path(), &text) };
        let status = spec.start_into(kept.clone()).unwrap().ended().await.unwrap();
        assert!(status.success(), "{status}");
        let passed_on = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(passed_on, format!("opened\n{inventory}\nno end"));
    }

    #[tokio::test]
    async fn a_closed_standard_output_does_not_stop_envoy() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let dir = tempfile::tempdir().unwrap();
        // More than a pipe holds.
        let spec = script(dir.path(), "head -c 1000000 /dev/zero\n");
        assert!(spec.start_into(writer).unwrap().ended().await.unwrap().success());
    }
}
