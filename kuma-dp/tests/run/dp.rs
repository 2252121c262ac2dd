//! A kuma-dp under test: started like a user would, watched from outside.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use kuma_dp::http::{self, Limits, Peer};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

const LIMITS: Limits = Limits { connect: Duration::from_secs(1), total: Duration::from_secs(5), body: 1024 * 1024 };
/// Long enough for a busy machine; nothing waits that long when all is well.
const PATIENCE: Duration = Duration::from_mins(1);

/// The Envoy to test with: `KUMA_TEST_ENVOY`, or the one that is shipped.
pub(crate) fn envoy() -> &'static Path {
    static ENVOY: OnceLock<PathBuf> = OnceLock::new();
    ENVOY.get_or_init(|| match std::env::var_os("KUMA_TEST_ENVOY") {
        Some(path) => path.into(),
        None => release::envoy::ensure().expect("an Envoy for the tests (or set KUMA_TEST_ENVOY to the path of one)"),
    })
}

/// A running kuma-dp; killed when dropped.
pub(crate) struct Dp {
    child: Child,
    /// Its home, with its standard error in `log`.
    pub(crate) home: tempfile::TempDir,
}

impl Dp {
    /// `kuma-dp run` with `args`, nothing in the environment but `env`, and the tests' Envoy.
    pub(crate) fn run(args: &[&str], env: &[(&str, &str)]) -> Self {
        let envoy = envoy().to_str().unwrap();
        Self::start(&[&["run", "--binary-path", envoy], args].concat(), env)
    }

    /// The same with a standard output that somebody reads.
    pub(crate) fn run_into(stdout: impl Into<Stdio>, args: &[&str]) -> Self {
        let envoy = envoy().to_str().unwrap();
        Self::start_into(stdout.into(), &[&["run", "--binary-path", envoy], args].concat(), &[])
    }

    /// `kuma-dp` with `args` alone.
    pub(crate) fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_into(Stdio::null(), args, env)
    }

    fn start_into(stdout: Stdio, args: &[&str], env: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(home.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kuma-dp"))
            .args(args)
            .env_clear()
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .env("KUMA_CONTROL_PLANE_RETRY_BACKOFF", "100ms")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, home }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "kuma-dp does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The process id of its Envoy, if it runs one.
    pub(crate) fn envoy_pid(&self) -> Option<i32> {
        let is_running = |pid: &i32| {
            // Not the one that is only asked for its version.
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains("--config-path")
        };
        children(self.pid()).into_iter().find(is_running)
    }

    /// The process id of its Envoy, waited for.
    pub(crate) async fn envoy(&self) -> i32 {
        eventually(|| self.log(), async || self.envoy_pid()).await
    }

    /// Waits until `/ready` says 200.
    pub(crate) async fn ready(&self, port: u16) {
        eventually(|| self.log(), async || (self.readiness(port).await.0 == 200).then_some(())).await;
    }

    /// Status and body of `/ready`; 0 if nobody answers.
    pub(crate) async fn readiness(&self, port: u16) -> (u16, String) {
        get(&Peer::Tcp(([127, 0, 0, 1], port).into()), "/ready").await
    }

    /// The folders that it made for itself and did not remove.
    pub(crate) fn work_dirs(&self) -> usize {
        let entries = std::fs::read_dir(self.home.path()).unwrap();
        entries.filter(|e| e.as_ref().unwrap().file_name().to_str().unwrap().starts_with("kuma-dp-")).count()
    }
}

impl Drop for Dp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of a GET; 0 if nobody answers.
pub(crate) async fn get(peer: &Peer, path: &str) -> (u16, String) {
    match http::send(peer, http::get(path), LIMITS).await {
        Ok(response) => (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned()),
        Err(_) => (0, String::new()),
    }
}

/// Asks until there is something; `context` is shown if there never is.
pub(crate) async fn eventually<T>(context: impl Fn() -> String, ask: impl AsyncFn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "still nothing:\n{}", context());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a process runs (a zombie does not).
pub(crate) fn is_alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn children(of: i32) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(state, parent)| parent == of && state != 'Z')).collect()
}

/// State and parent of a process.
fn stat(pid: i32) -> Option<(char, i32)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// A TCP port of loopback that is free now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
