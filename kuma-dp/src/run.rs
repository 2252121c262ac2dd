//! The composition of `kuma-dp run`: claims ports, fetches the bootstrap, starts every component and Envoy, and ends them all.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, bail};
use service_notify::Notifier;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    access_log,
    bootstrap::{
        self, Attempt, Patience, TryError,
        address::CpAddress,
        request::{Bootstrap, BootstrapRequest, HostResources, MetricsResources, SpireResources, Versions},
        stats,
        tls::Trust,
    },
    config::Config,
    dataplane::DataplaneResource,
    dns::{names::Names, resolv, server::DnsServer},
    drain::{self, Event},
    dynconf,
    envoy::{
        admin::Admin,
        binary::{self, EnvoyVersion},
        process::EnvoySpec,
        supervise,
    },
    http::Peer,
    local_trust, metrics,
    ports::{self, Reservation, Wish},
    prepare::Plan,
    readiness, service, token, version,
};

/// Envoy's admin port unless the Dataplane says otherwise.
const DEFAULT_ADMIN_PORT: u16 = 9901;

/// Runs a data plane proxy until it is told to stop, or cannot go on.
pub async fn run(mut plan: Plan) -> anyhow::Result<()> {
    let mut events = drain::signals().context("cannot listen for signals")?;
    let manager = service::manager();
    let is_up = CancellationToken::new();
    let _signs = service::give_signs(manager.clone(), is_up.clone());
    let started = tokio::select! {
        started = start(&mut plan, &manager) => started?,
        () = stop_before_start(&mut events) => {
            tracing::info!("stopped before Envoy was started");
            return Ok(());
        }
    };
    let outcome = serve(&plan, started, events, manager, is_up).await;
    tracing::info!("kuma-dp ends");
    outcome
}

async fn stop_before_start(events: &mut mpsc::Receiver<Event>) {
    while events.recv().await.is_some_and(|event| event != Event::Stop) {}
}

/// Sockets of ours, bound before anybody is told their ports.
struct Claims {
    readiness_port: u16,
    readiness: TcpListener,
    readiness_address: IpAddr,
    dns_port: u16,
    dns: Vec<(UdpSocket, TcpListener)>,
    /// Held until the end, so that the next kuma-dp chooses another admin port.
    _admin: Option<Reservation>,
}

/// What stands when everything is ready to be served.
struct Started {
    claims: Claims,
    bootstrap: Bootstrap,
}

async fn start(plan: &mut Plan, manager: &Notifier) -> anyhow::Result<Started> {
    let envoy_version = binary::ask_version(&plan.envoy).await?;
    let (envoy, path) = (&envoy_version.version, plan.envoy.display());
    tracing::info!(version = version::VERSION, envoy, "kuma-dp starts, with the Envoy at {path}");
    if !envoy_version.kuma_dp_compatible {
        tracing::warn!(envoy, tested = version::ENVOYS.join(", "), "this kuma-dp is not tested with this Envoy");
    }
    let mut claims = claim(plan)?;
    let patience = Patience {
        backoff: plan.config.control_plane.retry.backoff.to_std(),
        total: plan.config.control_plane.retry.max_duration.to_std(),
    };
    let (name, mesh, control_plane) =
        (&plan.config.dataplane.name, &plan.config.dataplane.mesh, &plan.config.control_plane.url);
    tracing::info!(name, mesh, control_plane, "fetching the bootstrap");
    manager.status(&format!("fetching the bootstrap from {control_plane}"));
    let mut told_local = false;
    let attempt = || attempt(plan, &claims, &envoy_version, &mut told_local);
    let tell = |error: &TryError| manager.status(&format!("waiting for the control plane: {error}"));
    let bootstrap = bootstrap::fetch(control_plane, patience, attempt, tell).await?;
    claims.readiness_at(plan, &bootstrap)?;
    let yaml = String::from_utf8_lossy(&bootstrap.yaml);
    let sections = plan.resource.as_ref().and_then(DataplaneResource::inbound_sections);
    let yaml = stats::cheaper(&yaml, sections.as_deref());
    plan.work_dir.write_private(&plan.work_dir.bootstrap(), yaml.as_bytes())?;
    Ok(Started { claims, bootstrap })
}

/// Binds kuma-dp's own ports; the defaults give way to other processes, chosen ports do not.
fn claim(plan: &mut Plan) -> anyhow::Result<Claims> {
    let config = &plan.config;
    let resource_address = plan.resource.as_ref().and_then(DataplaneResource::address);
    let readiness_address = loopback_like(resource_address, plan.in_pod);
    let readiness = Wish {
        purpose: "readiness",
        setting: "KUMA_READINESS_PORT",
        port: port(config.dataplane.readiness_port),
        fixed: plan.readiness_port_is_explicit || plan.in_pod,
    };
    let (readiness_port, readiness) = readiness.tcp(readiness_address)?;

    let redirected = config.dataplane_runtime.transparent_proxy.is_some()
        || plan.resource.as_ref().is_some_and(DataplaneResource::is_transparent);
    let dns = Wish {
        purpose: "DNS",
        setting: "--dns-proxy-port",
        port: port(config.dns.proxy_port),
        // Rules of the host lead to the default port as well: another one would answer nobody.
        fixed: plan.dns_port_is_explicit || redirected,
    };
    let (dns_port, dns) =
        if config.dns.enabled { dns.udp_and_tcp(&dns_addresses(config))? } else { (dns.port, Vec::new()) };
    Ok(Claims { readiness_port, readiness, readiness_address, dns_port, dns, _admin: claim_admin(plan) })
}

/// Envoy binds its admin listener to the Dataplane's own address, where the next Dataplane of this machine may want the same port.
fn claim_admin(plan: &mut Plan) -> Option<Reservation> {
    let resource = plan.resource.as_mut().filter(|resource| resource.admin_port().is_none())?;
    let address = resource.address().filter(|address| !address.is_loopback())?;
    if !plan.config.dataplane_runtime.reuse_port_enabled {
        return None;
    }
    let reservation = ports::reserve(address, DEFAULT_ADMIN_PORT)?;
    let port = reservation.address.port();
    if port != DEFAULT_ADMIN_PORT {
        tracing::info!(%address, port, "the default port of Envoy's admin listener is in use, using another");
        resource.set_admin_port(port);
    }
    Some(reservation)
}

/// Configuration is validated before: what is not a port is not used.
fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or_default()
}

/// Loopback, or in a pod (where the kubelet asks) any address, of the family of `address`.
fn loopback_like(address: Option<IpAddr>, in_pod: bool) -> IpAddr {
    match (address, in_pod) {
        (Some(IpAddr::V6(_)), false) => Ipv6Addr::LOCALHOST.into(),
        (Some(IpAddr::V6(_)), true) => Ipv6Addr::UNSPECIFIED.into(),
        (_, false) => Ipv4Addr::LOCALHOST.into(),
        (_, true) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// Loopback; every address only when networks behind this host are redirected here.
fn dns_addresses(config: &Config) -> Vec<IpAddr> {
    let transparent = config.dataplane_runtime.transparent_proxy.as_ref();
    let serves_others = transparent.is_some_and(|t| !t.redirect.vnet.networks.is_empty());
    let (v4, v6) = if serves_others {
        (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED)
    } else {
        (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST)
    };
    let with_v6 =
        transparent.is_none_or(|t| t.ip_family_mode != "ipv4") && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if with_v6 { vec![v4.into(), v6.into()] } else { vec![v4.into()] }
}

impl Claims {
    /// Moves the readiness listener to the address that the bootstrap asks for, if that is another.
    fn readiness_at(&mut self, plan: &Plan, bootstrap: &Bootstrap) -> anyhow::Result<()> {
        let wanted = match &bootstrap.admin {
            Some(Peer::Tcp(admin)) => admin.ip(),
            _ => loopback_like(bootstrap.address, plan.in_pod),
        };
        if wanted == self.readiness_address {
            return Ok(());
        }
        let wish =
            Wish { purpose: "readiness", setting: "KUMA_READINESS_PORT", port: self.readiness_port, fixed: true };
        // Free the old one first: a wildcard address covers it.
        self.readiness = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on loopback")?;
        self.readiness = wish.tcp(wanted)?.1;
        self.readiness_address = wanted;
        Ok(())
    }
}

/// Prepares one try: files are read anew, as a control plane that has just started may have written them meanwhile.
fn attempt(plan: &Plan, claims: &Claims, envoy: &EnvoyVersion, told_local: &mut bool) -> anyhow::Result<Attempt> {
    let config = &plan.config;
    let runtime = &config.dataplane_runtime;
    let address = CpAddress::parse(&config.control_plane.url)?;
    let is_local = local_trust::is_this_machine(&address.host);
    let mut ca_cert = config.control_plane.ca_cert.clone();
    let mut token_path = runtime.token_path.clone();
    let mut found = Vec::new();
    let mut renewable_token = false;
    let needs_ca = address.tls && ca_cert.is_empty() && !config.control_plane.tls_skip_verify;
    if is_local
        && needs_ca
        && let Some((path, pem)) = local_trust::ca(&plan.local_folders)
    {
        ca_cert = pem;
        found.push(path.display().to_string());
    }
    if is_local
        && token_path.is_empty()
        && let Some(path) = local_trust::token(&plan.local_folders)
    {
        token_path = path.display().to_string();
        found.push(token_path.clone());
        renewable_token = true;
    }
    if !found.is_empty() && !std::mem::replace(told_local, true) {
        tracing::info!(files = found.join(", "), "trusting the control plane of this machine");
    }
    let dataplane_token = if token_path.is_empty() { String::new() } else { token::read(Path::new(&token_path))? };
    let trust = if config.control_plane.tls_skip_verify {
        Trust::Anybody
    } else if ca_cert.is_empty() {
        Trust::System(runtime.system_ca_path.clone())
    } else {
        Trust::Ca(ca_cert.clone())
    };
    let request = BootstrapRequest {
        mesh: config.dataplane.mesh.clone(),
        name: config.dataplane.name.clone(),
        proxy_type: config.dataplane.proxy_type.clone(),
        dataplane_token,
        dataplane_token_path: token_path,
        dataplane_resource: plan.resource.as_ref().map(DataplaneResource::to_json).unwrap_or_default(),
        version: Versions::with(envoy.clone()),
        ca_cert,
        dynamic_metadata: plan.host_ip.iter().map(|ip| ("HOST_IP".to_owned(), ip.clone())).collect::<BTreeMap<_, _>>(),
        otel_env: plan.otel_env.clone(),
        dns_port: claims.dns_port,
        readiness_port: claims.readiness_port,
        // The probe proxy is not built yet: whoever relies on it must not be told that it is there.
        app_probe_proxy_enabled: false,
        operating_system: std::env::consts::OS,
        features: features(config),
        resources: HostResources { max_heap_size_bytes: runtime.resources.max_memory_bytes },
        workdir: plan.work_dir.as_str().to_owned(),
        metrics_resources: MetricsResources {
            cert_path: runtime.metrics.cert_path.clone(),
            key_path: runtime.metrics.key_path.clone(),
        },
        system_ca_path: runtime.system_ca_path.clone(),
        dataplane_config: runtime.transparent_proxy.clone(),
        ipv6_enabled: runtime.ipv6_enabled,
        spire_resources: SpireResources { socket_path: runtime.spire.socket_path.clone() },
    };
    Ok(Attempt { trust, request, renewable_token })
}

/// What this kuma-dp tells the control plane that it can do.
///
/// `feature-otel-via-kuma-dp` is left out although `otelPipeEnabled` may be on: nothing receives telemetry here yet, and without
/// it the control plane lets Envoy send straight to the collector.
fn features(config: &Config) -> Vec<&'static str> {
    let runtime = &config.dataplane_runtime;
    [
        (true, "feature-tcp-accesslog-via-named-pipe"),
        (runtime.transparent_proxy.is_some(), "feature-transparent-proxy-in-dataplane-metadata"),
        (runtime.bind_outbounds, "feature-bind-outbounds"),
        (runtime.spire.supported, "feature-spire"),
        (runtime.strict_inbound_ports_enabled, "feature-strict-inbound-ports"),
        (runtime.reuse_port_enabled, "feature-reuse-port"),
    ]
    .into_iter()
    .filter_map(|(is_on, feature)| is_on.then_some(feature))
    .collect()
}

/// Its end is waited for.
const LOG_STREAMER: &str = "the access log streamer";

/// Tasks that say their name when they end.
type Components = JoinSet<anyhow::Result<&'static str>>;

/// Runs the components and Envoy to the end.
async fn serve(
    plan: &Plan,
    started: Started,
    events: mpsc::Receiver<Event>,
    manager: Arc<Notifier>,
    is_up: CancellationToken,
) -> anyhow::Result<()> {
    let Started { claims, bootstrap } = started;
    let (config, work_dir) = (&plan.config, &plan.work_dir);
    let (name, mesh) = (&config.dataplane.name, &config.dataplane.mesh);
    let runtime = &config.dataplane_runtime;
    let stop = CancellationToken::new();
    let admin = Admin::new(bootstrap.admin.clone());
    let transparent =
        runtime.transparent_proxy.is_some() || plan.resource.as_ref().is_some_and(DataplaneResource::is_transparent);
    let conditions = readiness::Conditions::new(config.dns.enabled && transparent && !runtime.bind_outbounds);
    let draining = Arc::new(AtomicBool::new(false));
    let abort = CancellationToken::new();

    // Components that must live as long as Envoy: the end of one ends all.
    let mut components = Components::new();
    let listener = tokio::net::TcpListener::from_std(claims.readiness)?;
    tracing::info!(port = claims.readiness_port, "readiness: http://{}/ready", listener.local_addr()?);
    let reporter = readiness::serve(listener, conditions.clone(), admin.clone(), stop.clone());
    components.spawn(async move {
        reporter.await;
        Ok("the readiness reporter")
    });
    let metrics_path = work_dir.metrics(name, mesh);
    let listener =
        metrics::bind(&metrics_path).with_context(|| format!("cannot listen on {}", metrics_path.display()))?;
    let sources = Arc::new(metrics::Sources { admin: admin.clone(), targets: bootstrap.aggregate });
    let hijacker = metrics::serve(listener, sources, stop.clone());
    components.spawn(async move {
        hijacker.await;
        Ok("the metrics endpoint")
    });
    if !claims.dns.is_empty() {
        start_dns(plan, claims.dns, &conditions, &stop, &mut components)?;
    }
    let pipe = work_dir.access_logs(name, mesh);
    access_log::create_pipe(&pipe).with_context(|| format!("cannot make the pipe {}", pipe.display()))?;
    let (base, most) =
        (config.dataplane.resilient_component_base_backoff, config.dataplane.resilient_component_max_backoff);
    // Apart from `stop`, which ends Envoy: Envoy writes its last records when it ends, and somebody has to read them.
    let logs_stop = CancellationToken::new();
    let token = logs_stop.clone();
    components.spawn(async move {
        let mut wait = base.to_std();
        while let Err(error) = access_log::stream(&pipe, token.clone()).await {
            tracing::warn!(%error, "the access log streamer failed, starting it again in {wait:?}");
            tokio::select! {
                () = token.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(most.to_std());
        }
        Ok(LOG_STREAMER)
    });

    let what = format!("{name} in mesh {mesh}");
    let _follower = manager.is_heard().then(|| {
        let follower = service::follow(manager.clone(), what, admin.clone(), conditions.clone(), is_up);
        AbortOnDropHandle::new(tokio::spawn(follower))
    });
    let proxy = drain::Proxy {
        admin,
        conditions,
        draining: draining.clone(),
        drain_time: config.dataplane.drain_time.to_std(),
        manager,
        stop: stop.clone(),
        abort: abort.clone(),
    };
    let conductor = tokio::spawn(drain::conduct(events, proxy));
    let mut sockets = vec![work_dir.dynamic_config()];
    sockets.extend(bootstrap.admin.and_then(|peer| match peer {
        Peer::Unix(path) => Some(path),
        Peer::Tcp(_) => None,
    }));
    let spec = EnvoySpec {
        binary: plan.envoy.clone(),
        bootstrap: work_dir.bootstrap(),
        drain_time: config.dataplane.drain_time.to_std(),
        log_level: runtime.envoy_log_level.clone(),
        component_log_level: runtime.envoy_component_log_level.clone(),
        concurrency: runtime.concurrency,
        leave_out_inventory: !plan.envoy_log_level_is_explicit,
        sockets,
    };
    let outcome = tokio::select! {
        ended = supervise::supervise(&spec, &draining, &stop) => ended.map(|_| ()).map_err(anyhow::Error::from),
        error = component_failed(&mut components, &stop) => Err(error),
        () = abort.cancelled() => Err(anyhow::anyhow!("stopped by a third signal, without waiting for Envoy")),
    };
    stop.cancel();
    logs_stop.cancel();
    tokio::select! {
        () = ended(&mut components, LOG_STREAMER) => {}
        () = abort.cancelled() => {}
        () = tokio::time::sleep(access_log::LAST_PATIENCE * 2) => {}
    }
    conductor.abort();
    if outcome.is_err() && work_dir.is_temporary() && !abort.is_cancelled() && !draining.load(Ordering::Relaxed) {
        tracing::info!("--work-dir keeps the bootstrap for a closer look");
    }
    outcome
}

/// Returns when a component ends although nobody asked it to; never, once `stop` is cancelled.
async fn component_failed(components: &mut Components, stop: &CancellationToken) -> anyhow::Error {
    let ended = components.join_next().await;
    if stop.is_cancelled() {
        std::future::pending::<()>().await;
    }
    match ended {
        Some(Ok(Ok(name))) => anyhow::anyhow!("{name} ended although nobody asked it to"),
        Some(Ok(Err(error))) => error,
        Some(Err(panic)) => anyhow::anyhow!("a component broke down: {panic}"),
        None => anyhow::anyhow!("no component runs"),
    }
}

/// Waits for the end of a component; one that has ended, or never was, is not waited for.
async fn ended(components: &mut Components, name: &str) {
    while let Some(ended) = components.join_next().await {
        if matches!(ended, Ok(Ok(ended)) if ended == name) {
            return;
        }
    }
}

fn start_dns(
    plan: &Plan,
    sockets: Vec<(UdpSocket, TcpListener)>,
    conditions: &Arc<readiness::Conditions>,
    stop: &CancellationToken,
    components: &mut Components,
) -> anyhow::Result<()> {
    let own: Vec<_> = sockets.iter().filter_map(|(udp, _)| udp.local_addr().ok()).collect();
    let Some(address) = own.first() else { bail!("the DNS server has no address") };
    let text = std::fs::read_to_string(resolv::PATH).unwrap_or_default();
    let servers = resolv::nameservers(&text, &own);
    if servers.is_empty() {
        tracing::warn!("no nameserver in {}: only names of the mesh can be resolved", resolv::PATH);
    }
    tracing::info!(%address, "DNS server");
    let server = DnsServer::new(servers);
    for (udp, tcp) in sockets {
        let (over_udp, over_tcp) =
            (server.clone().serve_udp(udp, stop.clone()), server.clone().serve_tcp(tcp, stop.clone()));
        components.spawn(async move { over_udp.await.map(|()| "the DNS server").context("the DNS server") });
        components.spawn(async move { over_tcp.await.map(|()| "the DNS server").context("the DNS server") });
    }
    let conditions = conditions.clone();
    let apply = move |config: dynconf::DnsConfig| {
        let names = Names::new(&config);
        tracing::debug!(names = names.len(), "DNS records replaced");
        server.set_names(names);
        conditions.names_known.store(true, Ordering::Relaxed);
    };
    let interval = plan.config.dataplane_runtime.dynamic_configuration.refresh_interval.to_std();
    let follower = dynconf::follow_dns(plan.work_dir.dynamic_config(), interval, Arc::new(apply), stop.clone());
    components.spawn(async move {
        follower.await;
        Ok("the reader of dynamic configuration")
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_told_in_their_order() {
        let mut config = Config::defaults();
        assert_eq!(
            features(&config),
            ["feature-tcp-accesslog-via-named-pipe", "feature-strict-inbound-ports", "feature-reuse-port"]
        );
        config.dataplane_runtime.bind_outbounds = true;
        config.dataplane_runtime.spire.supported = true;
        config.dataplane_runtime.strict_inbound_ports_enabled = false;
        assert_eq!(
            features(&config),
            ["feature-tcp-accesslog-via-named-pipe", "feature-bind-outbounds", "feature-spire", "feature-reuse-port"]
        );
    }

    #[test]
    fn readiness_is_private_except_in_a_pod() {
        let v6 = Some("fd00::1".parse().unwrap());
        assert_eq!(loopback_like(None, false), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert_eq!(loopback_like(v6, false), IpAddr::from(Ipv6Addr::LOCALHOST));
        assert_eq!(loopback_like(v6, true), IpAddr::from(Ipv6Addr::UNSPECIFIED));
    }
}
