//! What the executables take by themselves: their size, the time they start in, the memory they keep.

use std::{
    fs,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tests::harness::{
    PATIENCE, http,
    mesh::{self, Mesh, Programs},
    ports::free_port,
};

use crate::{sample::Sample, table::Row};

const STARTS: usize = 10;
const COMMANDS: usize = 50;
/// What a process does after its start is done by then.
const SETTLED: Duration = Duration::from_secs(5);

/// Size of each executable.
pub(crate) fn sizes() -> Vec<Row> {
    let size = |name: &&str| {
        let bytes = fs::metadata(Programs::get().path(name)).unwrap().len();
        Row::new(format!("{name}, stripped"), format!("{:.1} MB", bytes as f64 / 1e6), "25 MB")
    };
    release::executables::SHIPPED.iter().map(size).collect()
}

/// From the start of a control plane that has never run to its first answer about the default mesh.
pub(crate) fn start() -> Vec<Row> {
    let sample: Sample = (0..STARTS).map(|_| first_answer()).collect();
    vec![Row::new("kuma-cp, exec to 200 on /meshes/default", sample.to_string(), "100 ms")]
}

/// A process that ends with this value. It is started directly: the leash of the rig would be part of the figure.
struct Bare(Child);

impl Drop for Bare {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn first_answer() -> Duration {
    let mesh = Mesh::prepare(&[]);
    let log = fs::File::create(mesh.path("kuma-cp.log")).unwrap();
    let mut command = Command::new(Programs::get().path("kuma-cp"));
    command.arg("run").env_clear().envs(mesh.environment().iter().cloned());
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let begin = Instant::now();
    let _process = Bare(command.spawn().unwrap());
    loop {
        if http::get(mesh.api, "/meshes/default", &[]).is_ok_and(|answer| answer.status == 200) {
            return begin.elapsed();
        }
        assert!(begin.elapsed() < PATIENCE, "kuma-cp does not answer");
        thread::sleep(Duration::from_micros(500));
    }
}

/// A whole run of the command line.
pub(crate) fn kumactl() -> Vec<Row> {
    let mesh = Mesh::start();
    let once = |_| {
        let begin = Instant::now();
        mesh.kumactl(&["get", "meshes"]);
        begin.elapsed()
    };
    let sample: Sample = (0..COMMANDS).map(once).collect();
    vec![Row::new("kumactl get meshes, whole process", sample.to_string(), "15 ms")]
}

/// Resident memory of processes that have nothing to do.
pub(crate) fn memory() -> Vec<Row> {
    let mut mesh = Mesh::start();
    thread::sleep(SETTLED);
    let control_plane = resident(mesh.cp().pid());
    let dataplane = mesh::dataplane("web-1", "web", Ipv4Addr::LOCALHOST, free_port(), free_port());
    let proxy = mesh.proxy("web-1", &dataplane, &[]);
    thread::sleep(SETTLED);
    let data_plane = resident(proxy.process.pid());
    vec![
        Row::new("kuma-cp, idle, keys made", control_plane, "20 MB resident"),
        Row::new("kuma-dp, its Envoy running", data_plane, "12 MB resident"),
    ]
}

/// `8.3 MB (5.1 MB of it pages of files)`
pub(crate) fn resident(pid: i32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let megabytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
    };
    format!("{:.1} MB ({:.1} MB of it pages of files)", megabytes("VmRSS"), megabytes("RssFile"))
}
