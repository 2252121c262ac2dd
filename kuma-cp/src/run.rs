//! The control plane from its start to its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{self, Scheme},
    compose::{self, Parts},
    config::{
        Config,
        auto::{self, Machine, ServerCertificate},
    },
    controllers::{boot, local_trust},
    diagnostics::{self, Diagnostics, Metrics, Readiness},
    dp_server::{bootstrap, discovery, handover::Handover, health},
    logging::LogControl,
    serve::{self, ServeLimits},
    service::{Service, Working},
    tls::{self, ClientAuth, Limits, Names, ServedCertificate},
    version,
};

/// With fewer open files than this the control plane may not be able to accept all of its proxies.
const FEW_FILES: u64 = 4096;
/// How long tasks may take to end after the servers have.
const TASKS_DEADLINE: Duration = Duration::from_secs(5);
/// Proxies that are sent to other control planes in one second at the end. Each costs the other one a TLS handshake, its
/// token and the look at what it has: a millisecond or two of a core.
const DEPARTURES: u32 = 200;

/// Runs until `stop`, or until something that it cannot do without fails.
pub async fn run(mut config: Config, log: LogControl, stop: CancellationToken) -> anyhow::Result<()> {
    prepare(&mut config)?;
    tracing::info!(
        target: "kuma-cp.run",
        version = version::VERSION,
        mode = config.mode,
        config = %config.display(),
        "starting Control Plane"
    );
    raise_file_limit();
    let service = Service::starting();

    let instance = instance_id();
    let metrics = Arc::new(Metrics::new(&config.multizone.zone.name, &log));
    metrics.set_info(&instance, "");
    let readiness = Readiness::of(["defaults", "servers"]);
    let diagnostics = Diagnostics { readiness: readiness.clone(), metrics: metrics.clone(), log };
    // Everything that can fail for the want of a port fails before anything is served.
    let servers = TaskTracker::new();
    let diagnostics = serve_diagnostics(&config, diagnostics, stop.clone()).await?;
    let handover = Handover::default();
    let dp_server = bind_dp_server(&config, &handover).await?;
    let api = bind_api(&config).await?;

    service.status(&format!("opening the {} store", config.store.kind));
    let served = CancellationToken::new();
    let parts = compose::start(&config, &instance, &metrics, &handover, &stop, &served).await?;
    if let Some(available) = parts.available.clone() {
        parts.tasks.spawn(stop.clone().run_until_cancelled_owned(tell_readiness(available, readiness.clone())));
    }
    servers.spawn(diagnostics);
    let certificate = dp_server_certificate(&config)?;
    let bootstraps = compose::bootstraps(&config, &parts, certificate.clone());
    let mut doors = discovery(parts.ads.clone()).merge(bootstrap::router(Arc::new(bootstraps)));
    if let Some(hds) = &parts.hds {
        doors = doors.merge(health(hds.clone()));
    }
    let doors = metrics.grpc.observe(metrics.dp_server.observe(doors));
    let context = compose::api(&config, &parts)?;
    for (port, scheme) in api {
        let router = metrics.api_server.observe(api::router(context.clone(), scheme));
        servers.spawn(port.serve(router, stop.clone()));
    }
    readiness.done("servers");
    service.status("making what a new control plane needs");
    boot::run(&parts.store, &parts.state, &parts.boot).await.context("default resources cannot be made")?;
    readiness.done("defaults");
    // Proxies come last: to one that connects before the default Mesh is there, or before its policies, something would
    // seem to be gone. Until now they wait in the queue of the port.
    servers.spawn(dp_server.serve(doors, stop.clone()));
    leave_local_trust(&config, &certificate, &parts, &stop);
    let (world, state, xds) = (parts.world.clone(), parts.state.clone(), metrics.xds.clone());
    service.ready(Working { world, state, readiness, xds }, stop.clone());

    stop.cancelled().await;
    service.stopping();
    servers.close();
    servers.wait().await;
    served.cancel();
    // Who listens to streams ends with the last that could tell of any.
    let tasks = parts.tasks.clone();
    drop(parts);
    tasks.close();
    if tokio::time::timeout(TASKS_DEADLINE, tasks.wait()).await.is_err() {
        tracing::warn!(target: "kuma-cp.run", "some tasks did not end in time");
    }
    Ok(())
}

/// While the store is away this instance is alive, and not ready.
async fn tell_readiness(mut available: watch::Receiver<bool>, readiness: Readiness) {
    loop {
        if *available.borrow_and_update() {
            readiness.done("store");
        } else {
            readiness.wait_for("store");
        }
        if available.changed().await.is_err() {
            return;
        }
    }
}

/// A bound port.
struct Port {
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    limits: ServeLimits,
}

impl Port {
    fn serve(self, router: axum::Router, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        serve::serve(self.listener, self.tls, router, self.limits, stop)
    }
}

/// The ports of the REST API that are enabled.
async fn bind_api(config: &Config) -> anyhow::Result<Vec<(Port, Scheme)>> {
    let settings = &config.api_server;
    let limits = ServeLimits {
        header_timeout: settings.read_header_timeout.to_std(),
        idle_timeout: settings.idle_timeout.to_std(),
        connections: 4_096,
        ..ServeLimits::default()
    };
    let mut ports = Vec::new();
    if settings.http.enabled {
        let listener = bind_at(&settings.http.interface, settings.http.port, "KUMA_API_SERVER_HTTP_PORT").await?;
        tracing::info!(target: "api-server", interface = settings.http.interface, port = settings.http.port, tls = false, "starting API server");
        ports.push((Port { listener, tls: None, limits: limits.clone() }, Scheme::Http));
    }
    if settings.https.enabled {
        let https = &settings.https;
        let certificate = ServedCertificate::load(&https.tls_cert_file, &https.tls_key_file)?;
        let versions = Limits {
            min_version: https.tls_min_version.clone(),
            max_version: https.tls_max_version.clone(),
            cipher_suites: https.tls_cipher_suites.clone(),
        };
        let clients = match (https.tls_ca_file.as_str(), https.require_client_cert) {
            ("", _) => ClientAuth::None,
            (file, true) => ClientAuth::Required(file.into()),
            (file, false) => ClientAuth::Optional(file.into()),
        };
        let tls = tls::server_config(certificate, &versions, &clients, &["h2", "http/1.1"])?;
        let listener = bind_at(&https.interface, https.port, "KUMA_API_SERVER_HTTPS_PORT").await?;
        tracing::info!(target: "api-server", interface = https.interface, port = https.port, tls = true, "starting API server");
        ports.push((Port { listener, tls: Some(tls), limits }, Scheme::Https));
    }
    Ok(ports)
}

async fn bind_at(interface: &str, port: impl TryInto<u16>, setting: &'static str) -> anyhow::Result<TcpListener> {
    let address = interface.parse().with_context(|| format!("{interface:?} is not an IP address of an interface"))?;
    // A checked port is in range.
    Ok(serve::bind(SocketAddr::new(address, port.try_into().unwrap_or_default()), setting).await?)
}

fn dp_server_certificate(config: &Config) -> anyhow::Result<Arc<ServedCertificate>> {
    Ok(ServedCertificate::load(&config.dp_server.tls_cert_file, &config.dp_server.tls_key_file)?)
}

async fn bind_dp_server(config: &Config, handover: &Handover) -> anyhow::Result<Port> {
    let settings = &config.dp_server;
    let limits = Limits {
        min_version: settings.tls_min_version.clone(),
        max_version: settings.tls_max_version.clone(),
        cipher_suites: settings.tls_cipher_suites.clone(),
    };
    let tls = tls::server_config(dp_server_certificate(config)?, &limits, &ClientAuth::None, &["h2", "http/1.1"])?;
    // A checked port is in range.
    let port = u16::try_from(settings.port).unwrap_or_default();
    let listener = serve::bind_everywhere(port, "KUMA_DP_SERVER_PORT").await?;
    tracing::info!(target: "dp-server", port, "starting data plane server");
    let limits = ServeLimits {
        header_timeout: settings.read_header_timeout.to_std(),
        drain: settings.graceful_shutdown_timeout.to_std(),
        departures: Some(DEPARTURES),
        streams: 1_000,
        handover: handover.clone(),
        ..ServeLimits::default()
    };
    Ok(Port { listener, tls: Some(tls), limits })
}

/// For kuma-dp of this user on this machine; see [`local_trust`].
fn leave_local_trust(config: &Config, certificate: &Arc<ServedCertificate>, parts: &Parts, stop: &CancellationToken) {
    let Some(folder) = local_trust::folder() else { return };
    let tokens = config.dp_server.authn.dp_proxy.kind == "dpToken";
    parts.tasks.spawn(local_trust::run(folder, certificate.clone(), tokens, parts.state.clone(), stop.clone()));
}

/// Completes the configuration, and makes the server certificate where the user gives none.
pub fn prepare(config: &mut Config) -> anyhow::Result<()> {
    if let ServerCertificate::Own(dir) = auto::complete(config, &machine())? {
        tls::ensure_own(&dir, Names::of_machine)
            .with_context(|| format!("no server certificate in work directory {}", dir.display()))?;
    }
    Ok(())
}

/// What the configuration leaves to this machine.
pub fn machine() -> Machine {
    Machine { home: std::env::home_dir(), addresses: Names::of_machine().addresses }
}

/// `<hostname>-<4 hex digits>`, new at each start.
pub fn instance_id() -> String {
    let random = uuid::Uuid::new_v4().simple().to_string();
    format!("{}-{}", Names::of_machine().hostname, &random[..4])
}

/// Binds the port of diagnostics; the future serves it until `stop`.
async fn serve_diagnostics(
    config: &Config,
    diagnostics: Diagnostics,
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let settings = &config.diagnostics;
    let tls = if settings.tls_enabled {
        let certificate = ServedCertificate::load(&settings.tls_cert_file, &settings.tls_key_file)?;
        let limits = Limits {
            min_version: settings.tls_min_version.clone(),
            max_version: settings.tls_max_version.clone(),
            cipher_suites: settings.tls_cipher_suites.clone(),
        };
        Some(tls::server_config(certificate, &limits, &ClientAuth::None, &["h2", "http/1.1"])?)
    } else {
        None
    };
    // A checked port is in range.
    let port = u16::try_from(settings.server_port).unwrap_or_default();
    let listener = serve::bind_everywhere(port, "KUMA_DIAGNOSTICS_SERVER_PORT").await?;
    tracing::info!(target: "diagnostics", port, tls = settings.tls_enabled, "starting diagnostics server");
    let limits = ServeLimits { header_timeout: Duration::from_secs(1), ..ServeLimits::default() };
    Ok(serve::serve(listener, tls, diagnostics::router(diagnostics), limits, stop))
}

/// As many files as the operating system allows. Every proxy is one.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }.map(|()| hard)
    });
    match raised {
        Ok(limit) if limit < FEW_FILES => {
            tracing::warn!(target: "kuma-cp.run", limit, "few files may be open: with many proxies, raise the limit (ulimit -n) to {FEW_FILES} or more");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(target: "kuma-cp.run", %error, "the limit of open files could not be raised"),
    }
}
