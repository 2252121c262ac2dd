//! All metrics of the control plane: names, labels and units.
//!
//! Every series carries the label `zone`. Code that has something to count holds the metric itself; what is a function
//! of state that somebody else holds is registered as a collector and computed when it is asked for.

use std::{
    fmt, fs,
    sync::{Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{
        counter::ConstCounter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use crate::{logging::LogControl, version};

pub mod discovery;
pub mod exact;
pub mod grpc;
pub mod health;
pub mod http;
pub mod objects;
pub mod planning;
pub mod store;

use discovery::DiscoveryMetrics;
use grpc::GrpcMetrics;
use health::HealthMetrics;
use http::HttpMetrics;
use planning::PlanningMetrics;
use store::StoreMetrics;

/// Type of the text that is served.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// 1 while this instance is the leader.
    pub leader: Gauge,
    /// Requests to the REST API.
    pub api_server: HttpMetrics,
    /// Requests to the data plane server, gRPC apart.
    pub dp_server: HttpMetrics,
    /// gRPC calls of the data plane server.
    pub grpc: GrpcMetrics,
    /// Streams of configuration.
    pub xds: DiscoveryMetrics,
    /// Streams of health checks.
    pub hds: HealthMetrics,
    /// Planning.
    pub planning: PlanningMetrics,
    /// What is asked of the store.
    pub store: StoreMetrics,
    info: Family<Vec<(String, String)>, Gauge>,
}

impl Metrics {
    /// `zone` is the name of the zone, or `Global`.
    pub fn new(zone: &str, log: &LogControl) -> Self {
        let mut registry = Registry::with_labels([("zone".into(), zone.to_owned().into())].into_iter());
        let leader = Gauge::default();
        let info = Family::default();
        registry.register("cp_info", "Static information about the CP instance", info.clone());
        registry.register("leader", "1 indicates that this instance is leader", leader.clone());
        registry.register("kuma_cp_log_lines", "Number of lines that were logged", log.lines());
        registry.register_collector(Box::new(Process));
        Self {
            leader,
            api_server: HttpMetrics::new(&mut registry, "api_server"),
            dp_server: HttpMetrics::new(&mut registry, "dp_server"),
            grpc: GrpcMetrics::new(&mut registry),
            xds: DiscoveryMetrics::new(&mut registry),
            hds: HealthMetrics::new(&mut registry),
            planning: PlanningMetrics::new(&mut registry),
            store: StoreMetrics::new(&mut registry),
            info,
            registry: Mutex::new(registry),
        }
    }

    /// Says which instance this is. The cluster is known some time after the start.
    pub fn set_info(&self, instance_id: &str, cluster_id: &str) {
        let labels = [
            ("product", version::PRODUCT),
            ("version", version::VERSION),
            ("git_tag", version::GIT_TAG),
            ("git_commit", version::GIT_COMMIT),
            ("build_date", version::BUILD_DATE),
            ("instance_id", instance_id),
            ("cluster_id", cluster_id),
        ];
        self.info.clear();
        self.info.get_or_create(&labels.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec()).set(1);
    }

    /// Adds metrics of another part of the control plane.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics as text.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        encode(&mut out, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(out)
    }
}

/// What the operating system says about this process, by the usual names.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut metric = |name: &str, help: &str, value: Option<f64>, counts: bool| {
            let Some(value) = value else { return Ok(()) };
            let (counter, gauge) = (ConstCounter::new(value), ConstGauge::new(value));
            let metric_type = if counts { counter.metric_type() } else { gauge.metric_type() };
            let encoder = encoder.encode_descriptor(name, help, None, metric_type)?;
            if counts { counter.encode(encoder) } else { gauge.encode(encoder) }
        };
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the program is in parentheses and may hold anything; what follows is numbered from 3.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or_else(Vec::new, |(_, rest)| rest.split(' ').collect());
        let field = |number: usize| fields.get(number - 3).and_then(|f| f.parse::<f64>().ok());
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().map_or(100.0, |t| t as f64);
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096.0, |p| p as f64);
        let cpu = field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks);
        metric("process_cpu_seconds", "User and system CPU time in seconds", cpu, true)?;
        let resident = field(24).map(|pages| pages * page);
        metric("process_resident_memory_bytes", "Resident memory in bytes", resident, false)?;
        metric("process_virtual_memory_bytes", "Virtual memory in bytes", field(23), false)?;
        let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64);
        metric("process_open_fds", "Number of open file descriptors", open, false)?;
        metric("process_max_fds", "Highest number of open file descriptors", max_files(), false)?;
        let booted = fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = booted.lines().find_map(|l| l.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        let started = booted.zip(field(22)).map(|(booted, after)| booted + after / ticks);
        metric("process_start_time_seconds", "Start of the process in seconds since 1970", started, false)
    }
}

fn max_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    limits.lines().find_map(|l| l.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}
