//! What the quickstart starts must not outlive it, whatever ends it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn is_alive(pid: &str) -> bool {
    // A zombie that nobody has collected yet is as good as gone.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(10), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_leashed_program_dies_when_its_parent_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let script = "\"$RELEASE\" leash $$ -- sh -c 'echo $$ > \"$PID_FILE\"; exec sleep 60' & wait";
    let mut parent = Command::new("sh")
        .args(["-c", script])
        .env("RELEASE", env!("CARGO_BIN_EXE_release"))
        .env("PID_FILE", &pid_file)
        .spawn()
        .unwrap();
    let pid = || std::fs::read_to_string(&pid_file).unwrap_or_default().trim().to_owned();
    wait_until("the start", || !pid().is_empty());
    let pid = pid();
    assert!(is_alive(&pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    wait_until("the end of the leashed program", || !is_alive(&pid));
}

#[test]
fn a_leash_without_its_parent_starts_nothing() {
    let output = Command::new(env!("CARGO_BIN_EXE_release"))
        .args(["leash", "1", "--", "echo", "started"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("the parent is gone already"));
}
