//! The control plane from its start to its end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{
        Config, Mode,
        auto::{self, Machine, ServerCertificate},
    },
    diagnostics::{self, Diagnostics, Metrics, Readiness},
    logging::LogControl,
    serve::{self, ServeLimits},
    tls::{self, ClientAuth, Limits, Names, ServedCertificate},
    version,
};

/// With fewer open files than this the control plane may not be able to accept all of its proxies.
const FEW_FILES: u64 = 4096;

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

    let zone = if config.mode() == Some(Mode::Global) { "Global" } else { &config.multizone.zone.name };
    let metrics = Arc::new(Metrics::new(zone, &log));
    metrics.set_info(&instance_id(), "");
    let readiness = Readiness::of(["diagnostics"]);
    let diagnostics = Diagnostics { readiness: readiness.clone(), metrics, log };
    let server = tokio::spawn(serve_diagnostics(&config, diagnostics, stop.clone()).await?);
    readiness.done("diagnostics");

    stop.cancelled().await;
    server.await.context("the diagnostics server failed")
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
    let listener = serve::bind(SocketAddr::from(([0, 0, 0, 0], port))).await?;
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
