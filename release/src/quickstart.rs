//! The first thing to run: unpacks the archive, starts a mesh of two services on this machine, and shows what it does.
//!
//! A frontend calls a backend that runs in two versions. Each has a kuma-dp with its Envoy beside it; a kuma-cp
//! configures them. A route and a timeout are applied with kumactl, and requests show their effect. Every process is
//! tied to this one, and everything lies in one temporary folder, so that nothing stays behind.

pub mod http;
mod narrator;
mod ports;
mod processes;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::signal::Signal;

use crate::demo_app;
use crate::executables::Build;
use crate::{archive, workspace};

use narrator::{Narrator, short};
use ports::Ports;
use processes::{ComponentFailed, Interrupted, Processes};

/// How the quickstart runs.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Options {
    /// End after the last step instead of waiting for Ctrl-C; the exit status tells whether all went well
    #[arg(long)]
    once: bool,
    /// Use executables of the development profile: quicker to build, slower to run
    #[arg(long)]
    debug: bool,
    /// Keep the folder with logs and resources, and say where it is
    #[arg(long)]
    keep: bool,
}

const CP: &str = "kuma-cp";
/// Where the control plane leaves its CA for proxies of the same user, so that they need no flag to trust it.
const LOCAL_DIR: (&str, &str) = ("KUMA_LOCAL_DIR", "local");
/// How long a component may take to do what it is waited for: a busy laptop is slow, a broken mesh never comes.
const PATIENCE: Duration = Duration::from_mins(1);
/// How many requests show a distribution.
const SAMPLE: usize = 12;

/// Runs the whole story.
pub fn run(options: Options) -> Result<ExitCode> {
    let started = Instant::now();
    let mut narrator = Narrator::new();
    narrator.line(&narrator.heading(&format!("Kuma {}: a mesh of two services on this machine", workspace::VERSION)));

    narrator.step("Build kuma-cp, kuma-dp and kumactl, and fetch Envoy");
    let parts = archive::build(if options.debug { Build::Debug } else { Build::Shipped })?;
    narrator.done("built");

    let dir =
        tempfile::Builder::new().prefix("kuma-quickstart-").tempdir().context("cannot make a temporary folder")?;
    let mut stage = Stage {
        processes: Processes::new(&dir.path().join("logs"))?,
        ports: Ports::pick()?,
        bin: PathBuf::new(),
        dir: dir.path().to_path_buf(),
        narrator,
    };
    let outcome = stage.play(&parts, options, started);
    let stopped = stage.processes.stop();
    let code = stage.report(outcome.and(stopped));
    if options.keep {
        stage.narrator.line(&format!("Kept: {}", dir.keep().display()));
    } else {
        dir.close().context("cannot remove the temporary folder")?;
    }
    Ok(code)
}

struct Stage {
    // Dropped first: processes must be gone before their folder is.
    processes: Processes,
    ports: Ports,
    /// The `bin` of the unpacked archive.
    bin: PathBuf,
    dir: PathBuf,
    narrator: Narrator,
}

impl Stage {
    fn play(&mut self, parts: &archive::Parts, options: Options, started: Instant) -> Result<()> {
        self.unpack(parts)?;
        self.start_control_plane()?;
        self.start_services()?;
        self.start_proxies()?;
        self.route()?;
        self.time_out()?;
        self.inspect()?;
        let took = short(started.elapsed());
        self.narrator
            .line(&format!("\n{} ({took})", self.narrator.heading("Two services talk through their proxies.")));
        if options.once {
            return Ok(());
        }
        self.hint()?;
        self.processes.wait_for_signal()
    }

    fn unpack(&mut self, parts: &archive::Parts) -> Result<()> {
        self.narrator.step("Pack and unpack the release archive");
        let archive = parts.pack(&self.dir)?;
        archive::unpack(&archive.path, &self.dir)?;
        self.bin = self.dir.join(&archive.folder).join("bin");
        let name = archive.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let into = self.dir.join(&archive.folder);
        self.narrator.done(&format!("{name}, {:.0} MB, now in {}", archive.size as f64 / 1e6, into.display()));
        self.processes.check()
    }

    fn start_control_plane(&mut self) -> Result<()> {
        self.narrator.step("Start the control plane");
        let mut environment = vec![
            ("KUMA_GENERAL_WORK_DIR", "cp".to_owned()),
            (LOCAL_DIR.0, LOCAL_DIR.1.to_owned()),
            ("KUMA_API_SERVER_HTTP_INTERFACE", "127.0.0.1".to_owned()),
            ("KUMA_API_SERVER_HTTPS_INTERFACE", "127.0.0.1".to_owned()),
        ];
        environment.extend(self.ports.environment());
        for (name, value) in &environment {
            self.narrator.command(&format!("export {name}={value}"));
        }
        self.narrator.command("kuma-cp run");
        let dir = self.dir.clone();
        self.processes.start(CP, &self.bin.join("kuma-cp"), Signal::SIGTERM, |command| {
            command.arg("run").current_dir(dir).envs(environment);
        })?;
        let api = self.ports.api;
        let second = Duration::from_secs(1);
        let since = Instant::now();
        self.processes.wait_for(CP, "answering for the default mesh", PATIENCE, || {
            http::get(api, "/meshes/default", &[], second).ok().filter(|answer| answer.status == 200)
        })?;
        let took = short(since.elapsed());
        let address = format!("http://{api}");
        let add = ["config", "control-planes", "add", "--name", "quickstart", "--address", &address, "--overwrite"];
        self.kumactl(&add)?;
        self.narrator.done(&format!("answers on {address} after {took}"));
        Ok(())
    }

    fn start_services(&mut self) -> Result<()> {
        self.narrator.step("Start a frontend and two versions of a backend, plain HTTP servers");
        let ports = self.ports;
        let backends = ports.backend_apps();
        self.start_app("frontend", ports.frontend_app, Some(ports.frontend_outbound))?;
        self.start_app("backend v1", backends[0], None)?;
        self.start_app("backend v2", backends[1], None)?;
        let second = Duration::from_secs(1);
        for (name, address) in [("backend-v1", backends[0]), ("backend-v2", backends[1])] {
            let answers = || http::get(address, "/", &[], second).ok();
            self.processes.wait_for(name, "answering", PATIENCE, answers)?;
        }
        self.narrator
            .say(&format!("frontend    {}, asks its backend on {}", ports.frontend_app, ports.frontend_outbound));
        self.narrator.say(&format!("backend v1  {}", backends[0]));
        self.narrator.say(&format!("backend v2  {}", backends[1]));
        self.narrator.done("none of them knows of a mesh, and nothing listens yet where the frontend asks");
        Ok(())
    }

    fn start_app(&mut self, name: &str, listen: SocketAddr, upstream: Option<SocketAddr>) -> Result<()> {
        let this = Path::new(processes::THIS);
        self.processes.start(&name.replace(' ', "-"), this, Signal::SIGKILL, |command| {
            command.args(["demo-app", "--name", name, "--listen", &listen.to_string()]);
            if let Some(upstream) = upstream {
                command.args(["--upstream", &upstream.to_string()]);
            }
        })
    }

    fn start_proxies(&mut self) -> Result<()> {
        self.narrator.step("Start a data plane beside each, with a token that lets it be that one service only");
        let proxies = [("frontend", "frontend"), ("backend-v1", "backend"), ("backend-v2", "backend")];
        for (name, workload) in proxies {
            let file = self.resource(&format!("{name}.yaml"))?;
            let token = self.token(name, workload)?;
            let mut arguments = vec!["run", "--dataplane-file", &file, "--dataplane-token-file", &token];
            let address = format!("https://{}", self.ports.dp_server);
            if !self.ports.environment().is_empty() {
                arguments.extend(["--cp-address", &address]);
            }
            self.narrator.command(&format!("kuma-dp {}", arguments.join(" ")));
            let dir = self.dir.clone();
            self.processes.start(&proxy_of(name), &self.bin.join("kuma-dp"), Signal::SIGTERM, |command| {
                // Nobody uses this mesh any more when it is stopped.
                command.args(arguments).current_dir(dir).envs([LOCAL_DIR, ("KUMA_DATAPLANE_DRAIN_TIME", "1ms")]);
            })?;
        }
        let since = Instant::now();
        let mut seen = BTreeMap::new();
        let frontend = self.ports.frontend_app;
        self.processes.wait_for(
            &proxy_of("frontend"),
            "an answer of both backends through the mesh",
            PATIENCE,
            || {
                *seen.entry(ask(frontend, "/", &[]).ok()?).or_insert(0usize) += 1;
                (seen.contains_key("backend v1") && seen.contains_key("backend v2")).then_some(())
            },
        )?;
        let took = short(since.elapsed());
        let sample = self.sample(&[])?;
        self.narrator.say(&format!("GET http://{frontend}/  {}", tally(&sample)));
        self.narrator.done(&format!("the frontend reaches its backend through two Envoys, {took} after the start"));
        Ok(())
    }

    /// Makes the token of a proxy; the name of its file.
    fn token(&mut self, name: &str, workload: &str) -> Result<String> {
        let file = format!("{name}.token");
        let arguments =
            ["generate", "dataplane-token", "--mesh", "default", "--workload", workload, "--valid-for", "24h"];
        self.narrator.command(&format!("kumactl {} > {file}", arguments.join(" ")));
        let token = self.quiet_kumactl(&arguments)?;
        fs::write(self.dir.join(&file), token).with_context(|| format!("cannot write {file}"))?;
        Ok(file)
    }

    fn route(&mut self) -> Result<()> {
        self.narrator.step("Route by header: the backend's version 2 only for those who ask for it");
        let versions = self.resource("versions.yaml")?;
        self.kumactl(&["apply", "-f", &versions])?;
        let route = self.resource("route.yaml")?;
        self.kumactl(&["apply", "-f", &route])?;
        self.quote(&route)?;
        let took = self.effect("the route", |frontend| {
            let plain = ask(frontend, "/", &[]).ok()?;
            let v2 = ask(frontend, "/", &[("x-version", "v2")]).ok()?;
            Some(plain == "backend v1" && v2 == "backend v2")
        })?;
        let (plain, v2) = (self.sample(&[])?, self.sample(&[("x-version", "v2")])?);
        let frontend = self.ports.frontend_app;
        self.narrator.say(&format!("GET http://{frontend}/                 {}", tally(&plain)));
        self.narrator.say(&format!("GET http://{frontend}/  x-version: v2  {}", tally(&v2)));
        if plain.keys().ne(["backend v1"]) || v2.keys().ne(["backend v2"]) {
            bail!(ComponentFailed { component: proxy_of("frontend"), what: "the route does not hold".into() });
        }
        self.narrator.done(&format!("in effect {took} after kumactl returned"));
        Ok(())
    }

    fn time_out(&mut self) -> Result<()> {
        self.narrator.step("Apply a policy: nobody waits for the backend longer than 200 ms");
        let frontend = self.ports.frontend_app;
        let slow = || {
            let since = Instant::now();
            http::get(frontend, "/slow", &[], PATIENCE).map(|answer| (answer.status, since.elapsed()))
        };
        let (status, took) = slow()?;
        self.narrator.say(&format!("GET http://{frontend}/slow  {status} after {}", short(took)));
        let timeout = self.resource("timeout.yaml")?;
        self.kumactl(&["apply", "-f", &timeout])?;
        self.quote(&timeout)?;
        let (status, took) = self.processes.wait_for(&proxy_of("frontend"), "the timeout", PATIENCE, || {
            slow().ok().filter(|(status, took)| *status == 504 && *took < demo_app::SLOW)
        })?;
        self.narrator.say(&format!("GET http://{frontend}/slow  {status} after {}", short(took)));
        self.narrator.done("the proxy gives up; neither application was touched");
        Ok(())
    }

    fn inspect(&mut self) -> Result<()> {
        self.narrator.step("Ask the control plane who is there");
        let arguments = ["inspect", "dataplanes"];
        self.narrator.command("kumactl inspect dataplanes | awk -F '   +' '{ print $1, $2, $4 }'");
        let table = self.quiet_kumactl(&arguments)?;
        // The columns between are wider than most terminals.
        let columns = |line: &str| {
            let cells: Vec<&str> = line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            [0, 1, 3].map(|at| *cells.get(at).unwrap_or(&"")).join(" ")
        };
        let table: Vec<String> = table.lines().map(columns).collect();
        self.narrator.quote(&table.join("\n"));
        let online = table.iter().filter(|line| line.contains("Online")).count();
        if online != 3 {
            let what = format!("{online} of 3 data planes are online");
            bail!(ComponentFailed { component: CP.to_owned(), what });
        }
        self.narrator.done("three data planes are online");
        Ok(())
    }

    fn hint(&mut self) -> Result<()> {
        let file = self.dir.join("env");
        let script = format!(
            "# For a shell: `. {file}`\nPATH='{bin}':$PATH\nkumactl() {{ command kumactl --config-file '{config}' \"$@\"; }}\ncd '{dir}'\n",
            file = file.display(),
            bin = self.bin.display(),
            config = self.config().display(),
            dir = self.dir.display(),
        );
        fs::write(&file, script).context("cannot write the file for shells")?;
        let frontend = self.ports.frontend_app;
        self.narrator.line("Try it from another terminal:");
        self.narrator.command(&format!(". {}", file.display()));
        for command in [
            format!("curl -H 'x-version: v2' http://{frontend}/"),
            "kumactl get meshhttproutes".into(),
            "kumactl get meshtimeout backend-answers-soon -o yaml".into(),
            "kumactl delete meshhttproute backend-by-version   # and ask again".into(),
            "ls logs".into(),
        ] {
            self.narrator.command(&command);
        }
        self.narrator.line("Ctrl-C stops everything and leaves nothing behind.");
        self.processes.check()
    }

    /// Says how it ended, with the log of who failed.
    fn report(&self, outcome: Result<()>) -> ExitCode {
        let Err(error) = outcome else {
            self.narrator.line("Stopped.");
            return ExitCode::SUCCESS;
        };
        if error.is::<Interrupted>() {
            self.narrator.line("\nInterrupted: everything is stopped.");
            return ExitCode::from(130);
        }
        self.narrator.failed(&format!("{error:#}"));
        if let Some(failed) = error.downcast_ref::<ComponentFailed>() {
            let mut suspects = vec![failed.component.as_str()];
            if failed.component != CP {
                suspects.push(CP);
            }
            for name in suspects {
                self.narrator.line(&format!("\nThe end of {name}'s log:"));
                self.narrator.quote(&self.processes.tail(name, 20));
            }
        }
        self.narrator.line("\nEverything is stopped. With --keep, the folder with all logs stays.");
        ExitCode::FAILURE
    }

    /// Repeats a check until it holds ten times in a row; when that began, counted from now.
    fn effect(&mut self, what: &str, mut holds: impl FnMut(SocketAddr) -> Option<bool>) -> Result<String> {
        let since = Instant::now();
        let frontend = self.ports.frontend_app;
        let (mut begun, mut row) = (Duration::ZERO, 0);
        self.processes.wait_for(&proxy_of("frontend"), &format!("{what} taking effect"), PATIENCE, || {
            if row == 0 {
                begun = since.elapsed();
            }
            row = if holds(frontend) == Some(true) { row + 1 } else { 0 };
            (row == 10).then_some(())
        })?;
        Ok(short(begun))
    }

    /// Asks the frontend a few times; how often each backend answered.
    fn sample(&mut self, headers: &[(&str, &str)]) -> Result<BTreeMap<String, usize>> {
        let mut seen = BTreeMap::new();
        for _ in 0..SAMPLE {
            *seen.entry(ask(self.ports.frontend_app, "/", headers)?).or_insert(0) += 1;
        }
        self.processes.check()?;
        Ok(seen)
    }

    /// Writes a resource with the addresses of this run filled in; the name of its file.
    fn resource(&self, name: &str) -> Result<String> {
        let text = self.ports.fill(template(name)?);
        fs::write(self.dir.join(name), text).with_context(|| format!("cannot write {name}"))?;
        Ok(name.to_owned())
    }

    fn quote(&self, name: &str) -> Result<()> {
        let text = fs::read_to_string(self.dir.join(name)).with_context(|| format!("cannot read {name}"))?;
        self.narrator.quote(&text);
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.dir.join("kumactl.yaml")
    }

    fn kumactl(&mut self, arguments: &[&str]) -> Result<()> {
        self.narrator.command(&format!("kumactl {}", arguments.join(" ")));
        self.quiet_kumactl(arguments).map(drop)
    }

    /// Runs kumactl and returns what it prints.
    fn quiet_kumactl(&mut self, arguments: &[&str]) -> Result<String> {
        self.processes.check()?;
        let output = Command::new(self.bin.join("kumactl"))
            .arg("--config-file")
            .arg(self.config())
            .args(arguments)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .output()
            .context("cannot start kumactl")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            let what = format!("`kumactl {}` failed: {said}", arguments.join(" "));
            bail!(ComponentFailed { component: CP.to_owned(), what });
        }
        String::from_utf8(output.stdout).context("kumactl printed something that is not text")
    }
}

fn proxy_of(name: &str) -> String {
    format!("kuma-dp-{name}")
}

/// Asks the frontend; the name of the backend that answered it.
fn ask(frontend: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<String> {
    let answer = http::get(frontend, path, headers, Duration::from_secs(5))?;
    if answer.status != 200 {
        bail!("the frontend answered {}: {}", answer.status, answer.body.trim());
    }
    let (_, backend) = answer.body.trim().rsplit_once(": ").ok_or_else(|| anyhow!("unexpected: {}", answer.body))?;
    Ok(backend.to_owned())
}

/// Such as `backend v1 x 7, backend v2 x 5`.
fn tally(seen: &BTreeMap<String, usize>) -> String {
    seen.iter().map(|(name, count)| format!("{name} x {count}")).collect::<Vec<_>>().join(", ")
}

fn template(name: &str) -> Result<&'static str> {
    Ok(match name {
        "frontend.yaml" => include_str!("../assets/quickstart/frontend.yaml"),
        "backend-v1.yaml" => include_str!("../assets/quickstart/backend-v1.yaml"),
        "backend-v2.yaml" => include_str!("../assets/quickstart/backend-v2.yaml"),
        "versions.yaml" => include_str!("../assets/quickstart/versions.yaml"),
        "route.yaml" => include_str!("../assets/quickstart/route.yaml"),
        "timeout.yaml" => include_str!("../assets/quickstart/timeout.yaml"),
        other => bail!("there is no resource {other}"),
    })
}
