//! The command line: flags, help texts, and how flags lie over the configuration.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use kuma_core::duration::GoDuration;

use crate::config::{Config, env::parse_bool};

/// kuma-dp runs beside a service: it starts the Envoy that carries the service's traffic, keeps it configured and
/// healthy, and drains it before it stops.
#[derive(Debug, Parser)]
#[command(name = "kuma-dp", disable_version_flag = true, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to log.
    #[command(flatten)]
    pub log: LogFlags,
}

/// What kuma-dp can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start Envoy for a data plane proxy and look after it
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunFlags>),
    /// Wait until the data plane proxy is ready
    #[command(after_help = WAIT_EXAMPLES)]
    Wait(WaitFlags),
    /// Print the version
    Version(VersionFlags),
}

const RUN_EXAMPLES: &str = "\
Examples:
  A service on this machine, its Dataplane in a file, the control plane on the same machine
  (its CA and a token are found in $KUMA_LOCAL_DIR, else $XDG_RUNTIME_DIR/kuma, else ~/.kuma/local):
    kuma-dp run --dataplane-file=backend.yaml

  A control plane elsewhere:
    kuma-dp run --cp-address=https://cp.example.com:5678 --ca-cert-file=ca.crt \\
      --dataplane-file=backend.yaml --dataplane-token-file=backend.token

  One file for many instances, filled in by variables:
    kuma-dp run -d backend.yaml -v name=backend-2 -v address=10.0.0.2

  A Dataplane that was created in the control plane before:
    kuma-dp run --name=backend-1 --mesh=default

  Traffic redirected by rules of `kumactl install transparent-proxy`, which this release does not bring (use Kuma's):
    kuma-dp run -d client.yaml --transparent-proxy

Every setting also has an environment variable, for example KUMA_CONTROL_PLANE_URL; a flag wins over it.
Envoy is looked for beside kuma-dp, then in PATH; --binary-path decides alone.";

const WAIT_EXAMPLES: &str = "\
Examples:
  kuma-dp wait --url http://localhost:9902/ready
  kuma-dp wait --unix-socket /run/kuma-dp/kuma-envoy-admin.sock --timeout 30s";

/// How much to log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What an operator wants to know.
    #[default]
    Info,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// The same word as on the command line; Envoy knows it as well.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// How to log.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogFlags {
    /// Log level
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_level: LogLevel,
    /// File to log to; empty logs to standard error
    #[arg(long, global = true, value_name = "PATH")]
    pub log_output_path: Option<PathBuf>,
    /// How many rotated log files are kept; 0 keeps all
    #[arg(long, global = true, default_value_t = 1000, value_name = "N")]
    pub log_max_retained_files: usize,
    /// Size of a log file in megabytes before it is rotated; 0 never rotates
    #[arg(long, global = true, default_value_t = 100, value_name = "MB")]
    pub log_max_size: u64,
    /// Days that rotated log files are kept; 0 keeps them for ever
    #[arg(long, global = true, default_value_t = 30, value_name = "DAYS")]
    pub log_max_age: u64,
}

/// Flags of `run`. A flag that is not given leaves environment and defaults as they are.
#[derive(Clone, Debug, Default, Args)]
pub struct RunFlags {
    /// Address of the control plane's data plane server [default: https://localhost:5678]
    #[arg(long, value_name = "URL")]
    pub cp_address: Option<String>,
    /// File with the CA that signed the control plane's certificate
    #[arg(long, value_name = "PATH")]
    pub ca_cert_file: Option<String>,
    /// Do not verify the control plane's certificate (for trying things out)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool, value_name = "BOOL")]
    pub skip_verify: Option<bool>,
    /// Mesh that the data plane belongs to
    #[arg(long, value_name = "NAME")]
    pub mesh: Option<String>,
    /// Name of the data plane
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Type of the proxy; there is only "dataplane"
    #[arg(long, value_name = "TYPE")]
    pub proxy_type: Option<String>,
    /// How long connections may finish after SIGTERM [default: 30s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub drain_time: Option<GoDuration>,
    /// Envoy executable [default: beside kuma-dp, then in PATH]
    #[arg(long, value_name = "PATH")]
    pub binary_path: Option<String>,
    /// Directory for generated files and sockets [default: a temporary one, removed at the end]
    #[arg(long, value_name = "PATH")]
    pub work_dir: Option<String>,
    /// Number of Envoy's worker threads; 0 takes it from the CPU set [default: 0]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// File with the data plane token (made by `kumactl generate dataplane-token`)
    #[arg(long, value_name = "PATH")]
    pub dataplane_token_file: Option<String>,
    /// The data plane token itself
    #[arg(long, value_name = "TOKEN")]
    pub dataplane_token: Option<String>,
    /// Dataplane resource as YAML or JSON text
    #[arg(long, value_name = "TEXT")]
    pub dataplane: Option<String>,
    /// File with the Dataplane resource (YAML or JSON); "-" reads standard input
    #[arg(long, short = 'd', value_name = "PATH")]
    pub dataplane_file: Option<String>,
    /// Variable for {{ }} in the Dataplane resource, as key=value; repeatable
    #[arg(long, short = 'v', value_name = "KEY=VALUE", value_parser = parse_variables)]
    pub dataplane_var: Vec<Variables>,
    /// Envoy's log level: trace, debug, info, warning, error, critical, off [default: that of kuma-dp]
    #[arg(long, value_name = "LEVEL")]
    pub envoy_log_level: Option<String>,
    /// Envoy's log level per component, as in "upstream:debug,connection:trace"
    #[arg(long, value_name = "LEVELS")]
    pub envoy_component_log_level: Option<String>,
    /// Certificate for scraping Envoy's metrics over TLS
    #[arg(long, value_name = "PATH")]
    pub metrics_cert_path: Option<String>,
    /// Key of that certificate
    #[arg(long, value_name = "PATH")]
    pub metrics_key_path: Option<String>,
    /// Bind outbound listeners to their real addresses
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool, value_name = "BOOL")]
    pub bind_outbounds: Option<bool>,
    /// Run the embedded DNS server [default: true]
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool, value_name = "BOOL")]
    pub dns_enabled: Option<bool>,
    /// Port of the embedded DNS server [default: 15053, another one if that is taken]
    #[arg(long, value_name = "PORT")]
    pub dns_proxy_port: Option<u32>,
    /// The host's traffic is redirected here (by Kuma's `kumactl install transparent-proxy` with defaults; this release has no such command)
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_bool, value_name = "BOOL")]
    pub transparent_proxy: Option<bool>,
    /// Configuration given to Kuma's `kumactl install transparent-proxy`; "-" reads standard input; repeatable
    #[arg(long, value_name = "PATH")]
    pub transparent_proxy_config: Vec<String>,
}

/// Flags of `wait`.
#[derive(Clone, Debug, Args)]
pub struct WaitFlags {
    /// How often to ask
    #[arg(long, default_value = "1s", value_name = "DURATION")]
    pub check_frequency: GoDuration,
    /// When to give up
    #[arg(long, default_value = "180s", value_name = "DURATION")]
    pub timeout: GoDuration,
    /// How long one request may take
    #[arg(long, default_value = "500ms", value_name = "DURATION")]
    pub request_timeout: GoDuration,
    /// What to ask, on this machine
    #[arg(long, default_value = "http://localhost:9901/ready", value_name = "URL")]
    pub url: String,
    /// Ask /ready over this Unix socket instead
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PATH")]
    pub unix_socket: String,
}

/// Flags of `version`.
#[derive(Clone, Debug, Args)]
pub struct VersionFlags {
    /// Print how it was built as well
    #[arg(long, short = 'a')]
    pub detailed: bool,
}

/// The pairs of one `--dataplane-var`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(pub Vec<(String, String)>);

/// One `key=value`, whose value may hold commas, or several separated by commas.
fn parse_variables(text: &str) -> Result<Variables, String> {
    let parts: Vec<&str> = if text.matches('=').count() == 1 { vec![text] } else { text.split(',').collect() };
    let pairs = parts.into_iter().map(|part| match part.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err(format!("{part:?} must be formatted as key=value")),
    });
    Ok(Variables(pairs.collect::<Result<_, _>>()?))
}

impl RunFlags {
    /// Lays the given flags over `config`; those about the transparent proxy are handled apart.
    pub fn apply(&self, config: &mut Config) {
        let Self {
            cp_address,
            ca_cert_file,
            skip_verify,
            mesh,
            name,
            proxy_type,
            drain_time,
            binary_path,
            work_dir,
            concurrency,
            dataplane_token_file,
            dataplane_token,
            dataplane,
            dataplane_file,
            dataplane_var,
            envoy_log_level,
            envoy_component_log_level,
            metrics_cert_path,
            metrics_key_path,
            bind_outbounds,
            dns_enabled,
            dns_proxy_port,
            transparent_proxy: _,
            transparent_proxy_config: _,
        } = self;
        let runtime = &mut config.dataplane_runtime;
        over(&mut config.control_plane.url, cp_address.as_ref());
        over(&mut config.control_plane.ca_cert_file, ca_cert_file.as_ref());
        over(&mut config.control_plane.tls_skip_verify, skip_verify.as_ref());
        over(&mut config.dataplane.mesh, mesh.as_ref());
        over(&mut config.dataplane.name, name.as_ref());
        over(&mut config.dataplane.proxy_type, proxy_type.as_ref());
        over(&mut config.dataplane.drain_time, drain_time.as_ref());
        over(&mut runtime.binary_path, binary_path.as_ref());
        over(&mut runtime.work_dir, work_dir.as_ref());
        over(&mut runtime.concurrency, concurrency.as_ref());
        over(&mut runtime.token_path, dataplane_token_file.as_ref());
        over(&mut runtime.token, dataplane_token.as_ref());
        over(&mut runtime.resource, dataplane.as_ref());
        over(&mut runtime.resource_path, dataplane_file.as_ref());
        runtime.resource_vars.extend(dataplane_var.iter().flat_map(|v| v.0.clone()));
        over(&mut runtime.envoy_log_level, envoy_log_level.as_ref());
        over(&mut runtime.envoy_component_log_level, envoy_component_log_level.as_ref());
        over(&mut runtime.metrics.cert_path, metrics_cert_path.as_ref());
        over(&mut runtime.metrics.key_path, metrics_key_path.as_ref());
        over(&mut runtime.bind_outbounds, bind_outbounds.as_ref());
        over(&mut config.dns.enabled, dns_enabled.as_ref());
        over(&mut config.dns.proxy_port, dns_proxy_port.as_ref());
    }
}

fn over<T: Clone>(field: &mut T, flag: Option<&T>) {
    if let Some(value) = flag {
        field.clone_from(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_flags(args: &[&str]) -> RunFlags {
        let args = ["kuma-dp", "run"].iter().chain(args);
        match Cli::try_parse_from(args).unwrap().command {
            Command::Run(flags) => *flags,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_service_unit_calls_what_there_is() {
        let unit = include_str!("../../release/assets/systemd/kuma-dp@.service");
        let commands: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
        let [command] = commands[..] else { panic!("{commands:?}") };
        let words: Vec<_> = command.split(' ').collect();
        assert_eq!(words[..2], ["/opt/kuma/bin/kuma-dp", "run"]);
        let flags = run_flags(&words[2..]);
        assert_eq!(flags.dataplane_file.as_deref(), Some("/etc/kuma/dataplanes/%i.yaml"));
        assert_eq!(flags.dataplane_token_file.as_deref(), Some("%d/token"));
    }

    #[test]
    fn booleans_work_bare_and_with_a_value() {
        assert_eq!(run_flags(&["--transparent-proxy"]).transparent_proxy, Some(true));
        assert_eq!(run_flags(&["--dns-enabled=false"]).dns_enabled, Some(false));
        assert_eq!(run_flags(&[]).bind_outbounds, None);
    }

    #[test]
    fn variables_come_one_by_one_or_as_a_list() {
        let flags = run_flags(&["-v", "name=web", "--dataplane-var", "a=1,b=2", "-v", "tags=x,y"]);
        let mut config = Config::defaults();
        flags.apply(&mut config);
        let pairs = [("a", "1"), ("b", "2"), ("name", "web"), ("tags", "x,y")];
        let expected = pairs.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(config.dataplane_runtime.resource_vars.into_iter().collect::<Vec<_>>(), expected);
        assert!(Cli::try_parse_from(["kuma-dp", "run", "-v", "novalue"]).is_err());
    }

    #[test]
    fn log_flags_are_understood_after_the_command() {
        let cli = Cli::try_parse_from(["kuma-dp", "version", "--log-level", "debug"]).unwrap();
        assert_eq!(cli.log.log_level, LogLevel::Debug);
    }
}
