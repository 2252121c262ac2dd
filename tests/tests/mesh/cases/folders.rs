//! Folders and files that kuma-cp cannot use, and a disk that is full: it is told, and nothing is half done.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd::Uid;
use tests::harness::{
    PATIENCE, eventually,
    http::Answer,
    mesh::{Mesh, Programs},
    ports::free_port,
    process::Process,
    until,
};

/// An account that owns nothing, for a process that root would otherwise let write everywhere.
const NOBODY: u32 = 65_534;
/// A shell that has a program get an error, instead of a signal, when a file becomes larger than it may.
const IGNORING: &str = "trap '' XFSZ; exec \"$@\"";

/// A folder that everybody can enter, with a kuma-cp that everybody can run.
struct Place {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("kuma-folders-").tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let program = dir.path().join("kuma-cp");
        fs::copy(Programs::get().path("kuma-cp"), &program).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let place = Self { dir, program };
        place.folder("home", 0o700);
        place
    }

    /// A folder of whom kuma-cp runs as.
    fn folder(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir(&path).unwrap();
        Self::give(&path, mode);
        path
    }

    /// A file of whom kuma-cp runs as.
    fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        Self::give(&path, mode);
        path
    }

    fn give(path: &Path, mode: u32) {
        if Uid::effective().is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Runs kuma-cp, which has to fail: the last thing that it says.
    fn refused(&self, arguments: &[&str], settings: &[(&str, &str)]) -> String {
        let mut command = if Uid::effective().is_root() {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "timeout"]);
            command
        } else {
            Command::new("timeout")
        };
        let home = self.dir.path().join("home");
        command.arg(PATIENCE.as_secs().to_string()).arg(&self.program).arg("run").args(arguments).current_dir("/");
        command.env_clear().env("PATH", "/usr/bin:/bin").envs(own(&home)).envs(settings.iter().copied());
        ended(command)
    }
}

/// The settings of a kuma-cp with everything below this folder, and ports of its own.
fn own(home: &Path) -> Vec<(&'static str, String)> {
    let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let mut settings =
        vec![("HOME", path("")), ("KUMA_LOCAL_DIR", path("local")), ("KUMA_GENERAL_WORK_DIR", path("cp"))];
    for port in [
        "KUMA_API_SERVER_HTTP_PORT",
        "KUMA_API_SERVER_HTTPS_PORT",
        "KUMA_DP_SERVER_PORT",
        "KUMA_DIAGNOSTICS_SERVER_PORT",
    ] {
        settings.push((port, free_port().to_string()));
    }
    settings
}

/// Waits for the bad end of a command; the last thing that it says.
fn ended(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let last = log.lines().last().unwrap_or_default().to_owned();
    println!("  {last}");
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(last.starts_with("Error: "), "{log}");
    last
}

/// Each is a start that fails, with the path and the reason.
pub(crate) fn unusable_folders_are_told() {
    let place = Place::new();
    let file = place.file("file", "", 0o644);
    let below = file.join("cp");
    let closed = place.folder("closed", 0o555);
    let secret = place.file("secret", "general: {}", 0o000);
    let foreign = Path::new("/usr/lib/kuma-test");
    let (denied, no_folder) = ("ermission denied", "ot a directory");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let log = closed.join("kuma.log");
    let cases: [(&[&str], &str, &Path, &str); 9] = [
        (&[], "KUMA_GENERAL_WORK_DIR", &below, no_folder),
        (&[], "KUMA_GENERAL_WORK_DIR", &closed, denied),
        (&[], "KUMA_GENERAL_WORK_DIR", foreign, denied),
        (&[], "KUMA_STORE_SQLITE_DIR", &below, no_folder),
        (&[], "KUMA_STORE_SQLITE_DIR", &closed, denied),
        (&[], "KUMA_STORE_SQLITE_DIR", foreign, denied),
        (&["--config-file"], "", &secret, "has the correct permissions"),
        (&["--config-file"], "", &closed, "please check if the file exists"),
        (&["--log-output-path"], "", &log, denied),
    ];
    for (arguments, setting, path, reason) in cases {
        let path = text(path);
        let said = if setting.is_empty() {
            place.refused(&[arguments[0], &path], &[])
        } else {
            place.refused(arguments, &[(setting, &path)])
        };
        assert!(said.contains(&path) && said.contains(reason), "{setting} {arguments:?} {path}: {said}");
    }
    // A certificate and its key are files of somebody else.
    let pair = [("KUMA_GENERAL_TLS_CERT_FILE", text(&secret)), ("KUMA_GENERAL_TLS_KEY_FILE", text(&secret))];
    let said = place.refused(&[], &pair.each_ref().map(|(name, path)| (*name, path.as_str())));
    assert!(said.contains(&pair[0].1) && said.contains(denied), "{said}");
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0, "nothing was begun");
    assert!(!foreign.exists());
}

/// Sets how large files may become that this process writes.
fn limit_files(process: &Process, size: &str) {
    let limit =
        Command::new("prlimit").arg(format!("--pid={}", process.pid())).arg(format!("--fsize={size}:")).status();
    assert!(limit.unwrap().success(), "prlimit (of util-linux) cannot limit the size of files");
}

/// A control plane of these settings that gets an error when a file becomes too large.
fn start(mesh: &Mesh, arguments: &[&str]) -> Process {
    let process = Process::start("kuma-cp", Path::new("/bin/sh"), &mesh.path("kuma-cp.log"), |command| {
        command.args(["-c", IGNORING, "sh"]).arg(Programs::get().path("kuma-cp")).arg("run").args(arguments);
        command.envs(mesh.environment().iter().map(|(name, value)| (name, value)));
    });
    until("the default mesh", || mesh.rest("GET", "/meshes/default", b"").is_ok_and(|answer| answer.status == 200));
    process
}

fn put(mesh: &Mesh, name: &str) -> Answer {
    mesh.rest("PUT", &format!("/meshes/{name}"), format!(r#"{{"type": "Mesh", "name": "{name}"}}"#).as_bytes()).unwrap()
}

fn get(mesh: &Mesh, name: &str) -> u16 {
    mesh.rest("GET", &format!("/meshes/{name}"), b"").unwrap().status
}

/// The disk takes nothing more for a while: changes are refused, everything else goes on, and nothing is lost.
pub(crate) fn full_disk_is_told_and_survived() {
    let mesh = Mesh::prepare(&[]);
    let mut process = start(&mesh, &[]);
    assert_eq!(put(&mesh, "before").status, 201);
    let journal = mesh.path("cp/kuma.db-wal");
    // Keys of the new Mesh are made in the background.
    let (size, _) = eventually("nothing more is written", || {
        let before = fs::metadata(&journal).unwrap().len();
        std::thread::sleep(std::time::Duration::from_secs(1));
        (fs::metadata(&journal).unwrap().len() == before).then_some(before)
    });
    limit_files(&process, &size.to_string());
    for name in ["full-1", "full-2"] {
        let refused = put(&mesh, name);
        assert!(refused.status == 503 && refused.retry_after.is_some(), "{refused:?}");
        assert_eq!((get(&mesh, name), get(&mesh, "before")), (404, 200));
    }
    assert_eq!(process.has_ended(), None);
    limit_files(&process, "unlimited");
    assert_eq!(put(&mesh, "full-1").status, 201);
    let log = fs::read_to_string(mesh.path("kuma-cp.log")).unwrap();
    for says in ["the store cannot be written, changes are refused until it can", "the store can be written again"] {
        assert_eq!(log.matches(says).count(), 1, "{log}");
    }
    process.kill();
    // The log of the next start has no room at all.
    let log = mesh.path("full.log");
    symlink("/dev/full", &log).unwrap();
    let process = start(&mesh, &["--log-output-path", log.to_str().unwrap()]);
    assert_eq!((get(&mesh, "before"), get(&mesh, "full-1"), get(&mesh, "full-2")), (200, 200, 404));
    assert_eq!(put(&mesh, "after").status, 201);
    drop(process);

    // Nor has the folder of a first start.
    let empty = mesh.path("empty");
    fs::create_dir(&empty).unwrap();
    let mut command = Command::new("prlimit");
    command.args(["--fsize=0", "sh", "-c", IGNORING, "sh", "timeout", &PATIENCE.as_secs().to_string()]);
    command.arg(Programs::get().path("kuma-cp")).arg("run").env_clear().env("PATH", "/usr/bin:/bin").envs(own(&empty));
    let said = ended(command);
    assert!(said.contains(empty.to_str().unwrap()), "{said}");
}
