//! Real PostgreSQL servers: `Postgres::shared().fresh_database()` is what most tests need.
//!
//! A server starts in about a second and ends with the test process, also if that is killed; its folder goes with it.
//! Tests that take a server down, or need other settings, start one of their own: [`Postgres::start_with`]. Faults of
//! the network between are for a [`Relay`](super::relay::Relay) in front of [`Postgres::address`].

mod account;
mod certificates;
mod database;
mod family;
mod folder;
mod front;
mod replica;
mod settings;

use std::{
    fs::{self, File},
    io::Read,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use self::{account::Account, database::Door, folder::Folder, front::Front};
use super::{PATIENCE, ports::free_port};

pub use self::{
    certificates::Certificates,
    database::{Database, SUPERUSER},
    settings::{Settings, Tls},
};

/// How often a port is tried that somebody else may have taken.
const PORTS: usize = 5;
/// Lines of the log that are shown when something fails.
const SHOWN: usize = 40;

/// A server with a data folder of its own; both go away when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Mutex<Option<Child>>,
    settings: Settings,
    port: u16,
    password: String,
    front: Option<Front>,
    certificates: Option<Certificates>,
    // Dropped last: everything of the above is in there.
    folder: Folder,
}

impl Postgres {
    /// Starts a server with the settings for tests.
    pub fn start() -> Self {
        Self::start_with(Settings::default())
    }

    /// The same, with other settings.
    pub fn start_with(settings: Settings) -> Self {
        let (folder, password) = (Folder::create(), secret());
        let password_file = folder.write("password", &password);
        let mut initdb = Account::get().postgres("initdb");
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]);
        initdb.args(["--auth=scram-sha-256", "--username", SUPERUSER]).arg("--pwfile").arg(password_file);
        initdb.arg("--pgdata").arg(folder.path().join("data"));
        run(initdb, folder.path());
        Self::boot(folder, settings, password, &[])
    }

    /// One server for all tests of this process, started on first use. Take a database of it, and leave the server as
    /// it is.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts the server of a data folder for the first time; `own` are parameters that settings do not change.
    fn boot(folder: Folder, settings: Settings, password: String, own: &[(&str, &str)]) -> Self {
        let certificates = settings.tls.as_ref().map(|tls| Certificates::make(tls, &folder));
        let front = certificates.as_ref().map(|made| Front::start(made.server.clone(), folder.path()));
        let mut postgres = Self { server: Mutex::default(), settings, port: 0, password, front, certificates, folder };
        postgres.folder.write("data/pg_hba.conf", ACCESS);
        for attempt in 1.. {
            // The front's port is held already; the server itself then has none.
            let (port, listens) = match &postgres.front {
                Some(front) => (front.port(), ""),
                None => (free_port(), "127.0.0.1"),
            };
            postgres.port = port;
            let port = port.to_string();
            let folder = postgres.folder.path().to_str().unwrap();
            let fixed = [("port", port.as_str()), ("listen_addresses", listens), ("unix_socket_directories", folder)];
            let file = postgres.settings.file(&[&fixed[..], own].concat());
            postgres.folder.write("data/postgresql.conf", &file);
            match postgres.try_start() {
                Ok(()) => break,
                Err(log) if attempt < PORTS && log.contains("Address already in use") => {}
                Err(log) => panic!("PostgreSQL does not start:\n{log}"),
            }
        }
        postgres
    }

    /// Where clients connect: 127.0.0.1 and a port that stays the same.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The folder of the server's socket `.s.PGSQL.<port>`, for clients without TLS.
    pub fn socket_folder(&self) -> &Path {
        self.folder.path()
    }

    /// Password of [`SUPERUSER`].
    pub fn password(&self) -> &str {
        &self.password
    }

    /// What clients need of a server with TLS.
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("this server was started without TLS")
    }

    /// Makes a database and its owner.
    pub fn create_database(&self, name: &str) -> Database {
        Database::create(name, secret(), self.address(), self.door())
    }

    /// Makes a database that no other test has.
    pub fn fresh_database(&self) -> Database {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        self.create_database(&format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Runs statements as the superuser in the database `postgres`; rows as lines, columns split by `|`.
    pub fn sql(&self, sql: &str) -> String {
        self.door().sql(SUPERUSER, sql)
    }

    /// The same; what the server says if it refuses, or what is wrong with it.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.door().try_sql(SUPERUSER, sql)
    }

    /// Gives a parameter another value, at once where the server can; others wait for a restart.
    pub fn set(&self, name: &str, value: &str) {
        self.sql(&format!("ALTER SYSTEM SET {name} = '{value}'; SELECT pg_reload_conf();"));
    }

    /// Ends the server as an administrator does: clients are told, and everything is written.
    pub fn stop(&self) {
        let mut server = self.server();
        let child = server.as_mut().expect("the server runs");
        family::resume(child);
        family::send(child.id() as i32, Signal::SIGINT);
        let status = ended(child, PATIENCE).unwrap_or_else(|| panic!("the server does not stop:\n{}", self.log_end()));
        assert!(status.success(), "the server ended with {status}:\n{}", self.log_end());
        *server = None;
    }

    /// `kill -9` of all its processes.
    pub fn kill(&self) {
        family::kill_all(&mut self.server().take().expect("the server runs"));
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], on the same port, and waits until it takes clients.
    pub fn start_again(&self) {
        assert!(self.server().is_none(), "the server runs already");
        self.try_start().unwrap_or_else(|log| panic!("PostgreSQL does not start again:\n{log}"));
    }

    /// Stops and starts it.
    pub fn restart(&self) {
        self.stop();
        self.start_again();
    }

    /// Stops all its processes where they are: it takes connections, as the kernel does that, and says nothing.
    pub fn pause(&self) {
        family::pause(self.server().as_ref().expect("the server runs"));
    }

    /// Ends the pause.
    pub fn resume(&self) {
        family::resume(self.server().as_ref().expect("the server runs"));
    }

    /// Process id of the server, if it runs.
    pub fn pid(&self) -> Option<i32> {
        self.server().as_ref().map(|child| child.id() as i32)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(SHOWN)..].join("\n")
    }

    fn door(&self) -> Door {
        let (host, password) = (self.folder.path().to_owned(), self.password.clone());
        Door { host, port: self.port, user: SUPERUSER.to_owned(), password }
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        // A test that failed while it held the lock left a server that still has to be ended.
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the server and waits until it takes clients; its log if it ends instead.
    fn try_start(&self) -> Result<(), String> {
        let data = self.folder.path().join("data");
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = Account::get().postgres("postgres");
        // The keeper of the folder knows the server by where it works.
        command.arg("-D").arg(&data).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut child = command.spawn().unwrap();
        let begin = Instant::now();
        while !is_ready(&data, child.id()) {
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("{}\nended with {status}", self.log_end()));
            }
            if begin.elapsed() > PATIENCE {
                family::kill_all(&mut child);
                return Err(format!("{}\nnot ready within {PATIENCE:?}", self.log_end()));
            }
            thread::sleep(Duration::from_millis(5));
        }
        *self.server() = Some(child);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("--- the end of the log of PostgreSQL on port {}\n{}", self.port, self.log_end());
        }
        let Some(mut child) = self.server().take() else { return };
        family::resume(&child);
        // Quits without writing anything, but gives back its shared memory.
        family::send(child.id() as i32, Signal::SIGQUIT);
        if ended(&mut child, Duration::from_secs(3)).is_none() {
            family::kill_all(&mut child);
        }
    }
}

/// Who may connect, and how they prove who they are.
const ACCESS: &str = "local all all scram-sha-256\nlocal replication all scram-sha-256\n\
                      host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n";

/// Whether the server with this process id takes clients: it says so at the end of a file.
fn is_ready(data: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first() == Some(&pid.to_string().as_str()) && lines.get(7) == Some(&"ready")
}

/// Waits for the end of a process, so long.
fn ended(child: &mut Child, patience: Duration) -> Option<std::process::ExitStatus> {
    let begin = Instant::now();
    while begin.elapsed() < patience {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Runs a program of PostgreSQL in this folder, to its good end.
fn run(mut command: Command, folder: &Path) {
    let output = command.current_dir(folder).stdin(Stdio::null()).output();
    let name = command.get_program().to_string_lossy().into_owned();
    let output = output.unwrap_or_else(|error| panic!("cannot run {name}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{name}: {}\n{}", output.status, String::from_utf8_lossy(&said));
}

/// Sixteen random bytes in hex.
fn secret() -> String {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    release::wheel::hex(&bytes)
}
