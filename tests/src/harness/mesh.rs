//! A control plane and the proxies that belong to it.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use super::{
    envoy::Admin,
    eventually,
    http::{self, Answer, Client},
    ports::free_port,
    process::Process,
    until,
};
use nix::sys::signal::Signal;
use release::executables::{Build, SHIPPED};

/// Lines of each log that are shown when a case fails.
const SHOWN: usize = 60;
/// Characters of each of these lines.
const WIDTH: usize = 500;

/// The executables under test.
pub struct Programs {
    how: Build,
    built: BTreeMap<String, PathBuf>,
    envoy: PathBuf,
}

static PROGRAMS: OnceLock<Programs> = OnceLock::new();

impl Programs {
    /// Built and fetched on first use: those of the development profile, unless [`Self::ship`] came before.
    pub fn get() -> &'static Self {
        PROGRAMS.get_or_init(|| Self::build(Build::Debug))
    }

    /// Packs the archive and unpacks it, as its users do; a build that comes in between changes nothing. How the files came to
    /// the disk shows in figures: of a plain copy the kernel keeps larger pieces, and counts more of them as in use.
    pub fn ship() -> &'static Self {
        let programs = PROGRAMS.get_or_init(|| {
            let aside = release::workspace::target_dir().join("figures");
            if aside.exists() {
                fs::remove_dir_all(&aside).unwrap();
            }
            fs::create_dir_all(&aside).unwrap();
            let archive = release::archive::build(Build::Shipped).unwrap().pack(&aside).unwrap();
            release::archive::unpack(&archive.path, &aside).unwrap();
            let bin = aside.join(&archive.folder).join("bin");
            let built = SHIPPED.iter().map(|name| ((*name).to_owned(), bin.join(name))).collect();
            Self { how: Build::Shipped, built, envoy: bin.join("envoy") }
        });
        assert!(programs.how == Build::Shipped, "other executables are in use already");
        programs
    }

    fn build(how: Build) -> Self {
        let source = release::source::Source::read().unwrap();
        let built = release::executables::build(how, &source).unwrap();
        Self { how, built, envoy: release::envoy::ensure().unwrap() }
    }

    /// Where the executable of this name lies.
    pub fn path(&self, name: &str) -> &Path {
        if name == "envoy" { &self.envoy } else { &self.built[name] }
    }
}

/// A control plane in a folder of its own.
pub struct Mesh {
    cp: Option<Process>,
    /// REST API.
    pub api: SocketAddr,
    /// REST API over TLS.
    pub api_tls: SocketAddr,
    /// Where proxies connect.
    pub dp_server: SocketAddr,
    environment: Vec<(String, String)>,
    // Dropped last: everything of the above writes there.
    dir: tempfile::TempDir,
}

impl Mesh {
    /// Starts a control plane and waits until its default mesh is there and proxies need no flag to trust it.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more settings.
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        let mut mesh = Self::prepare(settings);
        mesh.start_cp();
        let address = format!("http://{}", mesh.api);
        mesh.kumactl(&["config", "control-planes", "add", "--name", "test", "--address", &address]);
        mesh
    }

    /// A folder and ports; nothing runs yet.
    pub fn prepare(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("kuma-mesh-").tempdir().unwrap();
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (api, api_tls, dp_server) = (at(free_port()), at(free_port()), at(free_port()));
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let own = [
            ("HOME", path("home")),
            ("KUMA_LOCAL_DIR", path("local")),
            ("KUMA_GENERAL_WORK_DIR", path("cp")),
            ("KUMA_API_SERVER_HTTP_PORT", api.port().to_string()),
            ("KUMA_API_SERVER_HTTPS_PORT", api_tls.port().to_string()),
            ("KUMA_DP_SERVER_PORT", dp_server.port().to_string()),
            ("KUMA_DIAGNOSTICS_SERVER_PORT", free_port().to_string()),
        ];
        let given = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(given).collect();
        Self { cp: None, api, api_tls, dp_server, environment, dir }
    }

    /// Starts the control plane (again), on the same ports and in the same folder.
    pub fn start_cp(&mut self) {
        let mark = self.path("local/dataplane-token");
        let before = fs::read(&mark).ok();
        self.start_cp_only();
        until("the default mesh", || self.rest("GET", "/meshes/default", b"").is_ok_and(|answer| answer.status == 200));
        until("trust for proxies of this machine", || fs::read(&mark).is_ok_and(|now| Some(now) != before));
    }

    /// Starts the control plane and does not wait for it.
    pub fn start_cp_only(&mut self) {
        let environment = &self.environment;
        self.cp =
            Some(Process::start("kuma-cp", Programs::get().path("kuma-cp"), &self.path("kuma-cp.log"), |command| {
                command.arg("run").envs(environment.iter().map(|(name, value)| (name, value)));
            }));
    }

    /// `kuma-cp migrate up`: prepares the database of the settings.
    pub fn migrate(&self) {
        let mut command = Command::new(Programs::get().path("kuma-cp"));
        command.args(["migrate", "up"]).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A second control plane with ports and a folder of its own, but for these settings; and its log.
    pub fn another_cp(&self, settings: &[(&str, &str)]) -> (Process, PathBuf) {
        let home = self.path("another");
        let log = self.path("another.log");
        // Of an earlier one.
        let _ = fs::remove_file(&log);
        let process = Process::start("another kuma-cp", Programs::get().path("kuma-cp"), &log, |command| {
            command.arg("run").env("HOME", &home).env("KUMA_LOCAL_DIR", home.join("local"));
            command.env("KUMA_GENERAL_WORK_DIR", home.join("cp"));
            for port in [
                "KUMA_API_SERVER_HTTP_PORT",
                "KUMA_API_SERVER_HTTPS_PORT",
                "KUMA_DP_SERVER_PORT",
                "KUMA_DIAGNOSTICS_SERVER_PORT",
            ] {
                command.env(port, free_port().to_string());
            }
            command.envs(settings.iter().copied());
        });
        (process, log)
    }

    /// A setting of the control plane.
    pub fn setting(&self, name: &str) -> &str {
        &self.environment.iter().find(|(known, _)| known == name).unwrap().1
    }

    /// Settings of the control plane, as its environment.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// The control plane's process.
    pub fn cp(&mut self) -> &mut Process {
        self.cp.as_mut().unwrap()
    }

    /// A path in the folder of this mesh.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// One request to the REST API.
    pub fn rest(&self, method: &str, path: &str, body: &[u8]) -> Result<Answer, String> {
        Client::new(self.api).send(method, path, &[("content-type", "application/json")], body)
    }

    /// Asks for a bootstrap as a kuma-dp does, with any body.
    pub fn post_bootstrap(&self, body: String) -> Result<Answer, String> {
        // Has been set by somebody before, or is set now.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url = format!("https://localhost:{}/bootstrap", self.dp_server.port());
        let call = async {
            let client = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build()?;
            let answer = client.post(url).header("content-type", "application/json").body(body).send().await?;
            let status = answer.status().as_u16();
            Ok(Answer { status, body: answer.text().await?, retry_after: None })
        };
        runtime.block_on(call).map_err(|error: reqwest::Error| format!("{error:?}"))
    }

    /// Runs kumactl; what it prints.
    pub fn kumactl(&self, arguments: &[&str]) -> String {
        let output = self.try_kumactl(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "kumactl {arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs kumactl, however it ends.
    pub fn try_kumactl(&self, arguments: &[&str]) -> Output {
        self.try_kumactl_of(&self.path("kumactl.yaml"), arguments)
    }

    /// The same, with this configuration.
    pub fn try_kumactl_of(&self, config: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(Programs::get().path("kumactl"));
        command.arg("--config-file").arg(config).args(arguments);
        command.env_clear().env("HOME", self.path("home")).stdin(Stdio::null());
        command.output().unwrap()
    }

    /// Applies resources.
    pub fn apply(&self, documents: &str) {
        let file = self.file("applied.yaml", documents);
        self.kumactl(&["apply", "-f", file.to_str().unwrap()]);
    }

    /// Starts a kuma-dp that does not have to come up; the Dataplane is as given.
    pub fn kuma_dp(&self, name: &str, dataplane: &str, arguments: &[&str]) -> Proxy {
        self.kuma_dp_with(name, dataplane, arguments, &[])
    }

    /// The same, with more settings.
    pub fn kuma_dp_with(&self, name: &str, dataplane: &str, arguments: &[&str], settings: &[(&str, &str)]) -> Proxy {
        let file = self.file(&format!("{name}.yaml"), dataplane);
        let given = |flag: &str| arguments.contains(&flag);
        let (address, envoy) = (format!("https://{}", self.dp_server), Programs::get().path("envoy"));
        let work_dir = self.path(&format!("dp-{name}"));
        let log = self.path(&format!("kuma-dp-{name}.log"));
        let process = Process::start(&format!("kuma-dp {name}"), Programs::get().path("kuma-dp"), &log, |command| {
            command.arg("run").arg("--dataplane-file").arg(file).arg("--work-dir").arg(&work_dir);
            // One worker thread: more of them only compete for the cores of a small machine.
            command.args(["--concurrency", "1"]).args(arguments);
            if !given("--cp-address") {
                command.args(["--cp-address", &address]);
            }
            if !given("--binary-path") {
                command.arg("--binary-path").arg(envoy);
            }
            command.env("HOME", self.path("home")).env("KUMA_LOCAL_DIR", self.path("local"));
            command.env("TMPDIR", self.dir.path()).env("KUMA_CONTROL_PLANE_RETRY_BACKOFF", "200ms");
            command.envs(settings.iter().copied());
        });
        Proxy { name: name.to_owned(), admin: Admin { socket: work_dir.join("kuma-envoy-admin.sock") }, process }
    }

    /// Starts a kuma-dp and waits until its Envoy is configured by the control plane.
    pub fn proxy(&self, name: &str, dataplane: &str, arguments: &[&str]) -> Proxy {
        let mut proxy = self.kuma_dp(name, dataplane, arguments);
        eventually(&format!("{name} online"), || {
            assert_eq!(proxy.process.has_ended(), None, "kuma-dp {name} has ended");
            (proxy.admin.stat("listener_manager.workers_started") == Some(1) && proxy.admin.connected()).then_some(())
        });
        proxy
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let mut logs: Vec<PathBuf> = fs::read_dir(self.dir.path())
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        for log in logs {
            let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
            let lines: Vec<String> = text.lines().map(|line| line.chars().take(WIDTH).collect()).collect();
            println!("--- the end of {}", log.file_name().unwrap().to_string_lossy());
            println!("{}", lines[lines.len().saturating_sub(SHOWN)..].join("\n"));
        }
    }
}

/// A kuma-dp with its Envoy.
#[derive(Debug)]
pub struct Proxy {
    /// Name of its Dataplane.
    pub name: String,
    /// Envoy's admin interface.
    pub admin: Admin,
    /// The kuma-dp.
    pub process: Process,
}

impl Proxy {
    /// Process id of its Envoy.
    pub fn envoy(&self) -> Option<i32> {
        self.process.child_with("--config-path")
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        self.process.signal(Signal::SIGTERM);
    }

    /// Waits until it ends, with status 0.
    pub fn ends_well(&mut self, within: Duration) {
        let status = self.process.ended(within);
        assert!(status.success(), "kuma-dp {}: {status}", self.name);
    }
}

/// A Dataplane on an address of its own with one HTTP inbound.
pub fn dataplane(name: &str, workload: &str, address: Ipv4Addr, port: u16, service_port: u16) -> String {
    format!(
        "type: Dataplane\nmesh: default\nname: {name}\nlabels:\n  kuma.io/workload: {workload}\n  instance: {name}\n\
         networking:\n  address: {address}\n  inbound:\n    - {{name: http, port: {port}, servicePort: {service_port}, \
         protocol: http}}\n"
    )
}

/// Outbounds of a Dataplane, to be appended: local port, MeshService, its port.
pub fn outbounds(outbounds: &[(u16, &str, u16)]) -> String {
    let one = |(port, service, service_port): &(u16, &str, u16)| {
        format!("    - {{port: {port}, backendRef: {{kind: MeshService, name: {service}, port: {service_port}}}}}\n")
    };
    format!("  outbound:\n{}", outbounds.iter().map(one).collect::<String>())
}

/// Status and body of a GET over a new connection; the error as status 0.
pub fn ask(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    match http::get(address, path, headers) {
        Ok(answer) => (answer.status, answer.body),
        Err(error) => (0, error),
    }
}
