//! Runs the executable: exit status, what it prints where, and a start and an end of the control plane.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The executable without any of our variables.
fn kuma_cp(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kuma-cp"));
    command.env_clear().env("HOME", home);
    command
}

fn texts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

#[test]
fn errors_end_with_status_one_and_are_printed_last() {
    let home = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| texts(&kuma_cp(home.path()).args(args).output().unwrap());

    let (status, out, err) = call(&["frob"]);
    assert_eq!((status, err.as_str()), (1, "Error: unknown command \"frob\" for \"kuma-cp\"\n"));
    assert!(out.contains("Usage: kuma-cp"), "{out}");
    let (status, out, err) = call(&["version", "--log-level", "loud"]);
    assert_eq!((status, err.as_str()), (1, "Error: unknown log level \"loud\"\n"));
    assert!(out.contains("Usage:"), "{out}");

    let expected = "unable to access configuration file '/no/file', please check if the file exists and has the correct permissions";
    let (status, out, err) = call(&["run", "-c", "/no/file"]);
    let lines: Vec<&str> = err.lines().collect();
    assert_eq!((status, out.as_str(), lines.len(), lines[1]), (1, "", 2, &*format!("Error: {expected}")));
    assert!(lines[0].contains("\tERROR\tkuma-cp\trun failed\t{") && lines[0].contains(expected), "{err}");

    let (status, out, err) = call(&["migrate", "up", "--log-level", "off"]);
    assert_eq!(
        (status, out.as_str(), err.as_str()),
        (1, "", "Error: the sqlite store needs no migration: its file is brought up to date when it is opened\n")
    );
    let (status, out, err) = call(&[]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("Examples:"), "{out}");
    let (status, out, _) = call(&["version"]);
    assert_eq!((status, out), (0, format!("Kuma: {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn the_resulting_configuration_can_be_printed() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("cp.yaml");
    std::fs::write(&file, "apiServer: { http: { prt: 1 } }\nstore: { postgres: { password: s3cret } }\n").unwrap();
    let mut command = kuma_cp(home.path());
    command.env("KUMA_DP_SERVER_PORT", "7").args(["run", "--print-config", "-c"]).arg(&file);
    let (status, out, err) = texts(&command.output().unwrap());
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("did you mean apiServer.http.port?"), "{err}");
    let printed: serde_json::Value = serde_saphyr::from_str(&out).unwrap();
    assert_eq!(printed["dpServer"]["port"], 7);
    assert_eq!(printed["bootstrapServer"]["params"]["xdsPort"], 7);
    assert_eq!(printed["store"]["postgres"]["password"], "*****");
    let cert = home.path().join(".kuma/kuma-cp.crt");
    assert_eq!(printed["dpServer"]["tlsCertFile"], cert.display().to_string());
    assert!(!cert.exists(), "printing makes no certificate");
}

/// A control plane that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map(|a| a.port()).unwrap_or_default()
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn it_starts_answers_and_ends() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("logs/cp.log");
    let port = free_port();
    let start = Instant::now();
    let child = kuma_cp(home.path())
        .env("KUMA_DIAGNOSTICS_SERVER_PORT", port.to_string())
        .env("KUMA_REPORTS_ENABLED", "false")
        .args(["run", "--log-output-path"])
        .arg(&log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let ready = || get(port, "/ready").is_some_and(|a| a.starts_with("HTTP/1.1 200 "));
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(20), "it does not become ready");
        assert!(running.0.try_wait().unwrap().is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let metrics = get(port, "/metrics").unwrap();
    assert!(metrics.contains("\nleader{zone=\"default\"} "), "{metrics}");
    assert!(home.path().join(".kuma/kuma-cp.crt").exists());

    let pid = nix::unistd::Pid::from_raw(running.0.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR2).unwrap();
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(running.0.wait().unwrap().success());
    let mut out = String::new();
    running.0.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, format!("kuma-cp: logs will be stored in {:?}\n", log.display().to_string()));
    let lines = std::fs::read_to_string(&log).unwrap();
    for expected in [
        "\tWARN\tkuma-cp.config\tconfiguration key reports.enabled has no effect: nothing is ever reported\n",
        "\tINFO\tkuma-cp.run\tstarting Control Plane\t{",
        "\tINFO\tkuma-cp\treceived signal, stopping\n",
    ] {
        assert!(lines.contains(expected), "{expected:?} is not in {lines}");
    }
}

/// What a service manager hears on this socket; panics when it hears nothing for long.
fn heard(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = manager.recv(&mut buffer).expect("the service manager hears nothing");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn a_service_manager_is_told_how_it_goes() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("notify");
    let name = format!("kuma-cp-{}-{}", std::process::id(), home.path().display());
    for (address, socket) in [
        (SocketAddr::from_pathname(&path).unwrap(), path.display().to_string()),
        (SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}")),
    ] {
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = kuma_cp(home.path());
        for port in [
            "KUMA_DIAGNOSTICS_SERVER_PORT",
            "KUMA_API_SERVER_HTTP_PORT",
            "KUMA_API_SERVER_HTTPS_PORT",
            "KUMA_DP_SERVER_PORT",
        ] {
            command.env(port, free_port().to_string());
        }
        let child = command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000").arg("run").spawn().unwrap();
        let mut running = Running(child);

        let mut start = Vec::new();
        while !start.last().is_some_and(|line: &String| line.starts_with("READY=1")) {
            start.push(heard(&manager));
        }
        assert!(start.iter().any(|line| line.starts_with("EXTEND_TIMEOUT_USEC=")), "{start:?}");
        assert!(start.iter().any(|line| line == "STATUS=opening the sqlite store"), "{start:?}");
        let ready = start.last().unwrap();
        assert!(ready.starts_with("READY=1\nSTATUS=serving 0 data planes from "), "{ready}");
        assert!(!ready.ends_with(" from 0 resources"), "default resources come before: {ready}");
        for _ in 0..3 {
            while heard(&manager) != "WATCHDOG=1" {}
        }
        let pid = nix::unistd::Pid::from_raw(running.0.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        while !heard(&manager).starts_with("STOPPING=1\n") {}
        assert!(running.0.wait().unwrap().success());
    }
}
