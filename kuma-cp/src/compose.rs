//! The composition root: from configuration to the parts of a zone control plane. The only place that knows the words
//! for modes, environments and stores; everything below is handed values.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use kuma_core::{
    admit,
    ir::CidrText,
    labels::{self, Site},
    plan::{Names, PlanSettings},
    reconcile,
    registry::Kind,
    resource::Key,
    resources::GlobalSecret,
    store::Store,
};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use xds_gen::{bootstrap::BootstrapSettings, hds::HdsSettings};

use crate::{
    api::{ApiContext, OfflineInspect},
    auth::ProxyAuthenticator,
    config::{Config, Environment, Mode},
    controllers::{
        boot::BootSettings,
        derive::{self, DerivedAhead},
        dns,
        kept::Kept,
        keys,
    },
    diagnostics::metrics::{Metrics, objects::Objects},
    dp_server::{
        admin_ca::{self, ADMIN_CA_SECRET, AdminCa},
        ads::Ads,
        bootstrap::Bootstraps,
        cleanup,
        connect::Connector,
        handover::{self, Handover},
        hds::{Hds, Watched},
        insights::{self, InsightSettings},
        leases::Leases,
        remembered::Remembered,
        returning::{self, Gone},
    },
    envoy_admin::EnvoyAdmin,
    state::{Feed, StateHandle},
    stores::{self, Opened, Shared},
    tls::ServedCertificate,
    tokens::Verifier,
    world::{self, EnvoyRender, WorldHandle},
};

/// Events of streams that wait for the insight sink.
const INSIGHT_QUEUE: usize = 1024;
/// How long after a start proxies are waited for: on a store that forgets nothing is withdrawn from those that come back,
/// on one that remembers nothing is concluded from their absence.
const GRACE: Duration = Duration::from_mins(1);
/// How old a Dataplane is before a MeshService is made for it.
const SETTLE: Duration = Duration::from_millis(500);
/// DNS names of Dataplanes are not asked for more often.
const SHORTEST_DNS_REFRESH: Duration = Duration::from_secs(1);
/// Streams in their first full send, per core.
const ADMITTED_PER_CORE: usize = 4;

/// The parts of a running control plane that servers need.
pub struct Parts {
    /// Where this control plane stands.
    pub site: Site,
    /// Where resources are kept.
    pub store: Arc<dyn Store>,
    /// What is kept, in memory.
    pub state: StateHandle,
    /// Discovery for proxies.
    pub ads: Arc<Ads>,
    /// Health checks through proxies, unless they are switched off.
    pub hds: Option<Arc<Hds>>,
    /// Planning.
    pub world: WorldHandle,
    /// Addresses of the DNS names that Dataplanes carry.
    pub names: watch::Receiver<Arc<Names>>,
    /// What is made at the start.
    pub boot: BootSettings,
    /// Issues certificates around admin listeners.
    pub admin_ca: Arc<AdminCa>,
    /// Values that plans depend on.
    pub plan: PlanSettings,
    /// Id of this instance.
    pub instance: Arc<str>,
    /// Whether the store takes writes, if it can be away.
    pub available: Option<watch::Receiver<bool>>,
    /// Tasks to wait for at the end.
    pub tasks: TaskTracker,
}

/// Starts the parts that no port is needed for. At `stop` nothing is begun any more and another instance may lead; what
/// proxies are served from ends with `served`, when there is none left.
///
/// # Errors
/// A configuration that this version cannot run, or that holds values that do not fit.
pub async fn start(
    config: &Config,
    instance: &str,
    metrics: &Metrics,
    handover: &Handover,
    stop: &CancellationToken,
    served: &CancellationToken,
) -> anyhow::Result<Parts> {
    supported(config)?;
    let zone: Arc<str> = config.multizone.zone.name.as_str().into();
    let site = Site { any_origin: config.multizone.zone.disable_origin_label_validation, ..Site::zone(zone.clone()) };
    let tasks = TaskTracker::new();
    let instance: Arc<str> = instance.into();
    let opened = stores::open(&config.store, &instance, &tasks, stop).await?;
    let Opened { store, remembers, available, leaders, leadership, shared } = opened;
    let (store, leaders) = (metrics.store.measured(store), metrics.store.measured(leaders));
    let (feed, state) = Feed::new(store.clone());
    tasks.spawn(feed.run(served.clone()));
    if config.metrics.control_plane.report_resources_count {
        metrics.register(|registry| registry.register_collector(Box::new(Objects(state.clone()))));
    }

    let plan = PlanSettings::new(zone.clone(), internal_cidrs(config));
    let admin_ca = Arc::new(AdminCa::default());
    let render = EnvoyRender::new(admin_ca::as_issuer(&admin_ca));
    let (world, _) = world::spawn(plan.clone(), render, metrics.planning.clone()).context("no thread for planning")?;
    tasks.spawn(feed_world(state.clone(), world.clone(), admin_ca.clone(), served.clone()));

    let (publish, names) = watch::channel(Arc::default());
    let refresh = config.general.dns_cache_ttl.to_std().max(SHORTEST_DNS_REFRESH);
    tasks.spawn(dns::run(Arc::new(dns::SystemResolver), state.clone(), refresh, publish, served.clone()));
    tasks.spawn(dns::feed_world(names.clone(), world.clone()));

    let derived = derived_settings(config, &zone)?;
    let (derived_ahead, asks) = DerivedAhead::new(store.clone(), leaders.clone(), leadership.clone());
    tasks.spawn(leadership.clone().while_leading(stop.clone(), {
        let (leaders, state) = (leaders.clone(), state.clone());
        move |term| derive::run(leaders.clone(), state.clone(), derived.clone(), asks.clone(), term)
    }));
    let bootstrap_admin = config.api_server.authn.tokens.bootstrap_admin_token;
    // A store that forgets would have every token refused after a restart.
    let work_dir = PathBuf::from(&config.general.work_dir);
    let kept = move || (!remembers).then(|| Kept::in_work_dir(&work_dir));
    tasks.spawn(leadership.clone().while_leading(stop.clone(), {
        let (leaders, state) = (leaders.clone(), state.clone());
        move |term| keys::run(leaders.clone(), state.clone(), bootstrap_admin, kept(), term)
    }));

    let (insights, events) = mpsc::channel(INSIGHT_QUEUE);
    let settings = InsightSettings {
        instance: instance.clone(),
        flush_interval: config.xds_server.dataplane_status_flush_interval.to_std(),
        keep: usize::try_from(config.metrics.dataplane.subscription_limit).unwrap_or_default(),
    };
    tasks.spawn(insights::run(store.clone(), state.clone(), settings, events, served.clone()));

    let auth = match config.dp_server.authn.dp_proxy.kind.as_str() {
        "none" => ProxyAuthenticator::None,
        _ => ProxyAuthenticator::DpToken(Verifier::for_dataplanes(config)?),
    };
    let prepare_site = site.clone();
    let connector = Arc::new(Connector {
        state: state.clone(),
        store: store.clone(),
        auth,
        instance: instance.clone(),
        prepare: Arc::new(move |dataplane, stored| {
            admit::write(&prepare_site, &dataplane, stored).map_err(|e| e.to_string())
        }),
        deregistration_delay: config.xds_server.dataplane_deregistration_delay.to_std(),
        handover: handover.clone(),
        stop: stop.clone(),
        tasks: tasks.clone(),
        brought: Arc::new(Mutex::new(HashSet::new())),
    });
    let hds = health_checks(config, &connector, metrics, &tasks);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let ads = Arc::new(Ads {
        connector,
        world: world.clone(),
        leases: Arc::new(Leases::default()),
        remembered: Arc::new(Remembered::default()),
        insights,
        admission: Arc::new(Semaphore::new(cores * ADMITTED_PER_CORE)),
        grace_until: (!remembers).then(|| Instant::now() + GRACE),
        metrics: metrics.xds.clone(),
        instance: instance.clone(),
        tasks: tasks.clone(),
    });
    let age = config.runtime.universal.dataplane_cleanup_age.to_std();
    tasks.spawn(leadership.clone().while_leading(stop.clone(), {
        let (leaders, state) = (leaders.clone(), state.clone());
        move |term| cleanup::run(leaders.clone(), state.clone(), age, term)
    }));
    if remembers {
        let (gone, patience) = match shared {
            Some(Shared { gone, absence, cut_off }) => {
                tasks.spawn(handover.clone().run(cut_off, handover::SHUT, stop.clone()));
                (Gone::Told(gone), absence.removal)
            }
            None => (Gone::Others { than: instance.clone() }, GRACE),
        };
        tasks.spawn(leadership.clone().while_leading(stop.clone(), {
            let (leaders, state, leases) = (leaders, state.clone(), ads.leases.clone());
            move |term| returning::run(leaders.clone(), state.clone(), leases.clone(), gone.clone(), patience, term)
        }));
    }
    let metric = metrics.leader.clone();
    tasks.spawn(leadership.tell(
        stop.clone(),
        Arc::new(move |leads| {
            metric.set(leads.into());
        }),
    ));
    let boot = BootSettings {
        site: site.clone(),
        skip_everything: config.defaults.skip_tenant_resources,
        skip_mesh: config.defaults.skip_mesh_creation,
        skip_hostname_generators: config.defaults.skip_hostname_generators,
    };
    let store = Arc::new(derived_ahead);
    Ok(Parts { site, store, state, ads, hds, world, names, boot, admin_ca, plan, instance, available, tasks })
}

fn health_checks(
    config: &Config,
    connector: &Arc<Connector>,
    metrics: &Metrics,
    tasks: &TaskTracker,
) -> Option<Arc<Hds>> {
    let hds = &config.dp_server.hds;
    if !hds.enabled {
        return None;
    }
    let check = &hds.check_defaults;
    let settings = HdsSettings {
        report_interval: hds.interval,
        timeout: check.timeout,
        interval: check.interval,
        no_traffic_interval: check.no_traffic_interval,
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
        admin_port: config.bootstrap_server.params.admin_port,
    };
    let watched = Arc::new(Watched::default());
    tasks.spawn(watched.clone().follow(&connector.state));
    Some(Arc::new(Hds {
        connector: connector.clone(),
        watched,
        leases: Leases::default(),
        settings,
        metrics: metrics.hds.clone(),
        tasks: tasks.clone(),
    }))
}

/// What this version can run.
fn supported(config: &Config) -> anyhow::Result<()> {
    if config.mode() == Some(Mode::Global) {
        bail!("mode \"global\" is not in this version: run a zone (KUMA_MODE=zone, the default)");
    }
    if config.environment() == Some(Environment::Kubernetes) {
        bail!("environment \"kubernetes\" is not in this version: use KUMA_ENVIRONMENT=universal, the default");
    }
    Ok(())
}

fn internal_cidrs(config: &Config) -> Vec<CidrText> {
    let split = |text: &String| {
        let (address, length) = text.split_once('/')?;
        Some(CidrText { address: address.into(), length: length.parse().ok()? })
    };
    config.ipam.known_internal_cidrs.iter().filter_map(split).collect()
}

fn derived_settings(config: &Config, zone: &Arc<str>) -> anyhow::Result<reconcile::Settings> {
    let cidr = &config.ipam.mesh_service.cidr;
    let enabled = |path: &str| config.core_resources.enabled.iter().any(|e| e == path);
    Ok(reconcile::Settings {
        zone: zone.clone(),
        environment: labels::Environment::UNIVERSAL.name,
        generate_services: !config.mesh_service.generation_interval.is_zero() && enabled("meshservices"),
        generate_workloads: !config.runtime.universal.workload.generation_interval.is_zero() && enabled("workloads"),
        settle: config.mesh_service.generation_interval.to_std().min(SETTLE),
        grace_period: config.mesh_service.deletion_grace_period.to_std(),
        service_range: cidr
            .parse()
            .with_context(|| format!("ipam.meshService.cidr {cidr:?} is not an IPv4 network"))?,
    })
}

/// Hands changes to the planning thread, and the admin CA to the renderer when it is there.
async fn feed_world(state: StateHandle, world: WorldHandle, admin_ca: Arc<AdminCa>, stop: CancellationToken) {
    let mut changes = state.subscribe();
    let key = Key::new(Kind::GlobalSecret, "", ADMIN_CA_SECRET);
    loop {
        let batch = tokio::select! {
            batch = changes.next() => batch,
            () = stop.cancelled() => return,
        };
        let Some(batch) = batch else { return };
        if !admin_ca.is_set()
            && let Some(secret) = batch.state.get(&key).and_then(|r| r.spec::<GlobalSecret>().cloned())
        {
            match admin_ca.set(secret.data.expose()) {
                // Proxies that came before get their certificates now.
                Ok(()) => drop(world.rerender().await),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "admin listeners of proxies get no certificates");
                }
            }
        }
        if world.changed((*batch.state).clone(), batch.changes).await.is_err() {
            return;
        }
    }
}

/// What the REST API works with.
///
/// # Errors
/// Keys of the configuration that cannot be read.
pub fn api(config: &Config, parts: &Parts) -> anyhow::Result<Arc<ApiContext>> {
    let inspect = EnvoyAdmin {
        plans: OfflineInspect { settings: parts.plan.clone(), names: parts.names.clone() },
        ca: parts.admin_ca.clone(),
        default_port: config.bootstrap_server.params.admin_port,
    };
    let context = ApiContext::of(config, &parts.instance, parts.store.clone(), parts.state.clone(), Arc::new(inspect))?;
    Ok(Arc::new(context))
}

/// What bootstraps of proxies are made from.
pub fn bootstraps(config: &Config, parts: &Parts, certificate: Arc<ServedCertificate>) -> Bootstraps {
    let params = &config.bootstrap_server.params;
    let settings = BootstrapSettings {
        admin_address: params.admin_address.clone(),
        admin_port: params.admin_port,
        admin_unix_socket: params.envoy_admin_unix_socket,
        admin_access_log_path: params.admin_access_log_path.clone(),
        xds_host: params.xds_host.clone(),
        xds_port: params.xds_port,
        xds_connect_timeout: params.xds_connect_timeout,
        xds_max_receive_message_bytes: params.xds_grpc_max_receive_message_bytes,
        reloadable_tokens: config.dp_server.authn.enable_reloadable_tokens,
        token_required: parts.ads.connector.auth.wants_credential(),
        hds: config.dp_server.hds.enabled,
    };
    Bootstraps { state: parts.state.clone(), connector: parts.ads.connector.clone(), settings, certificate }
}
