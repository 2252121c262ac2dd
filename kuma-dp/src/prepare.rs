//! Everything that `run` decides before it talks to anybody: configuration, resource, Envoy, work directory.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use kuma_core::document::{self, Limits};

use crate::{
    cli::{LogLevel, RunFlags},
    config::{
        Config,
        sources::{self, Loaded},
    },
    dataplane::DataplaneResource,
    envoy::binary,
    host, local_trust,
    otel_env::{self, OtelEnv},
    token,
    transparent_proxy::TransparentProxy,
    work_dir::WorkDir,
};

/// What `run` does, with every decision made that needs no network.
#[derive(Debug)]
pub struct Plan {
    /// All sources together, names and paths filled in.
    pub config: Config,
    /// The resource, if it is given here.
    pub resource: Option<DataplaneResource>,
    /// Envoy's executable.
    pub envoy: PathBuf,
    /// Where files and sockets go.
    pub work_dir: WorkDir,
    /// Readiness port or none.
    pub readiness_port_is_explicit: bool,
    /// DNS port or none.
    pub dns_port_is_explicit: bool,
    /// Somebody wants to read Envoy's log at that level: show all of it. Also true when kuma-dp itself logs everything.
    pub envoy_log_level_is_explicit: bool,
    /// Where a control plane of this machine leaves its CA and a token.
    pub local_folders: Vec<PathBuf>,
    /// What the OTEL variables say.
    pub otel_env: OtelEnv,
    /// Runs in a Kubernetes pod.
    pub in_pod: bool,
    /// `HOST_IP`, if set.
    pub host_ip: Option<String>,
}

/// Makes the plan. `lookup` reads one environment variable.
pub fn prepare(flags: &RunFlags, log_level: LogLevel, lookup: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Plan> {
    let Loaded { mut config, readiness_port_is_explicit, dns_port_is_explicit, binary_path_is_explicit } =
        sources::load(flags, lookup)?;
    config.validate()?;
    if config.dataplane.proxy_type != "dataplane" {
        bail!("invalid proxy type {:?}: there is only \"dataplane\"", config.dataplane.proxy_type);
    }
    let resource = read_resource(&mut config)?;
    config.dataplane_runtime.transparent_proxy = transparent_proxy(flags, &config)?;

    let runtime = &mut config.dataplane_runtime;
    let envoy_log_level_is_explicit = !runtime.envoy_log_level.is_empty() || log_level == LogLevel::Debug;
    if runtime.envoy_log_level.is_empty() {
        log_level.as_str().clone_into(&mut runtime.envoy_log_level);
    }
    if runtime.system_ca_path.is_empty() {
        host::system_ca().unwrap_or_default().clone_into(&mut runtime.system_ca_path);
    }
    runtime.ipv6_enabled &= host::has_ipv6();
    if runtime.resources.max_memory_bytes == 0 {
        runtime.resources.max_memory_bytes = host::memory_limit();
    }
    if config.control_plane.ca_cert.is_empty() && !config.control_plane.ca_cert_file.is_empty() {
        let path = &config.control_plane.ca_cert_file;
        config.control_plane.ca_cert = std::fs::read_to_string(path)
            .with_context(|| format!("could not read the control plane's CA certificate, --ca-cert-file {path}"))?;
    }
    let search_path = lookup("PATH");
    let envoy = binary::find(
        &config.dataplane_runtime.binary_path,
        binary_path_is_explicit,
        host::own_folder().as_deref(),
        search_path.as_deref().map(std::ffi::OsStr::new),
    )?;

    let work_dir = WorkDir::open(&config.dataplane_runtime.work_dir)?;
    settle_token(&mut config, &work_dir)?;
    tracing::debug!(
        configuration = serde_json::to_string(&config.redacted()).unwrap_or_default(),
        work_dir = %work_dir.path().display(),
        temporary = work_dir.is_temporary(),
        "effective configuration"
    );
    if config.application_probe_proxy_server.port > 0 {
        tracing::warn!(
            port = config.application_probe_proxy_server.port,
            "the application probe proxy (KUMA_APPLICATION_PROBE_PROXY_PORT) is not built yet: no probe is served there"
        );
    }
    let pipe_enabled = false; // Receiving telemetry is not built yet; see `run::features`.
    Ok(Plan {
        resource,
        envoy,
        work_dir,
        readiness_port_is_explicit,
        dns_port_is_explicit,
        envoy_log_level_is_explicit,
        local_folders: local_trust::folders(lookup),
        otel_env: otel_env::discover(pipe_enabled, lookup),
        in_pod: lookup("POD_NAME").is_some_and(|name| !name.is_empty()),
        host_ip: lookup("HOST_IP").filter(|ip| !ip.is_empty()),
        config,
    })
}

/// Reads the resource, if one is given, and takes mesh and name from it.
fn read_resource(config: &mut Config) -> anyhow::Result<Option<DataplaneResource>> {
    let runtime = &config.dataplane_runtime;
    if !runtime.has_resource() {
        return Ok(None);
    }
    let (from, text) = if runtime.resource_path.is_empty() {
        ("--dataplane".to_owned(), runtime.resource.clone())
    } else {
        read_input(&runtime.resource_path, "the Dataplane resource")?
    };
    let resource = DataplaneResource::parse(&text, &runtime.resource_vars, &from)?;
    for warning in &resource.warnings {
        tracing::warn!("the Dataplane resource in {from}: {warning}");
    }
    if !config.dataplane.name.is_empty() || !config.dataplane.mesh.is_empty() {
        bail!(
            "--name and --mesh cannot be specified when a dataplane definition is provided, mesh and name will be read \
             from the dataplane definition"
        );
    }
    config.dataplane.name.clone_from(&resource.name);
    config.dataplane.mesh.clone_from(&resource.mesh);
    Ok(Some(resource))
}

fn transparent_proxy(flags: &RunFlags, config: &Config) -> anyhow::Result<Option<TransparentProxy>> {
    if !flags.transparent_proxy.unwrap_or_default() && flags.transparent_proxy_config.is_empty() {
        return Ok(None);
    }
    let stdin_users = flags.transparent_proxy_config.iter().filter(|path| *path == "-").count()
        + usize::from(config.dataplane_runtime.resource_path == "-");
    if stdin_users > 1 {
        bail!("standard input can be read only once: \"-\" is given more than once");
    }
    let sources: Vec<_> = flags
        .transparent_proxy_config
        .iter()
        .map(|path| read_input(path, "the transparent proxy configuration"))
        .collect::<anyhow::Result<_>>()?;
    // Validated before: a port, or DNS is off and the number does not matter.
    let dns_port = u16::try_from(config.dns.proxy_port).unwrap_or_default();
    Ok(Some(TransparentProxy::load(&sources, config.dns.enabled, dns_port)?))
}

/// Where it comes from and the text; `-` is standard input.
fn read_input(path: &str, what: &str) -> anyhow::Result<(String, String)> {
    let from = if path == "-" { "standard input" } else { path };
    let failed = || format!("cannot read {what} from {from}");
    // One byte more than what is accepted: enough to tell that it is too much.
    let most = Limits::REQUEST.bytes as u64 + 1;
    let mut bytes = Vec::new();
    let read = if path == "-" {
        std::io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.with_context(failed)?;
    let text = document::text(&bytes, Limits::REQUEST).with_context(failed)?;
    Ok((from.to_owned(), text.to_owned()))
}

/// An inline token becomes a private file; a token in a file is looked at, so that a wrong one is noticed here.
fn settle_token(config: &mut Config, work_dir: &WorkDir) -> anyhow::Result<()> {
    let runtime = &mut config.dataplane_runtime;
    if !runtime.token.is_empty() {
        let path = work_dir.path().join(&config.dataplane.name);
        work_dir.write_private(&path, runtime.token.as_bytes())?;
        runtime.token_path = path.display().to_string();
    }
    if !runtime.token_path.is_empty() {
        token::read(Path::new(&runtime.token_path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "{type: Dataplane, mesh: shop, name: web-1, networking: {address: 127.0.0.1}}";

    fn with(flags: RunFlags, env: &'static [(&'static str, &'static str)]) -> anyhow::Result<Plan> {
        let flags = RunFlags { binary_path: Some("/bin/true".into()), ..flags };
        prepare(&flags, LogLevel::Info, &|name| env.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn mesh_and_name_come_from_the_resource_and_from_nowhere_else() {
        let inline = RunFlags { dataplane: Some(WEB.into()), ..RunFlags::default() };
        let plan = with(inline.clone(), &[]).unwrap();
        assert_eq!((plan.config.dataplane.mesh.as_str(), plan.config.dataplane.name.as_str()), ("shop", "web-1"));
        assert_eq!(plan.config.dataplane_runtime.envoy_log_level, "info");
        let error = with(inline, &[("KUMA_DATAPLANE_NAME", "other")]).unwrap_err().to_string();
        assert!(error.starts_with("--name and --mesh cannot be specified when a dataplane definition"), "{error}");
    }

    #[test]
    fn an_inline_token_becomes_a_private_file() {
        let token = "eyJhbGciOiJSUzI1NiJ9.e30.sig";
        let flags =
            RunFlags { dataplane: Some(WEB.into()), dataplane_token: Some(token.into()), ..RunFlags::default() };
        let plan = with(flags.clone(), &[]).unwrap();
        let path = plan.work_dir.path().join("web-1");
        assert_eq!(plan.config.dataplane_runtime.token_path, path.to_str().unwrap());
        assert_eq!(std::fs::read_to_string(path).unwrap(), token);
        let wrong = RunFlags { dataplane_token: Some("secret".into()), ..flags };
        assert!(with(wrong, &[]).unwrap_err().to_string().contains("not a JWT"));
    }

    #[test]
    fn the_transparent_proxy_is_on_only_by_flag() {
        let flags = RunFlags { dataplane: Some(WEB.into()), ..RunFlags::default() };
        assert_eq!(with(flags.clone(), &[]).unwrap().config.dataplane_runtime.transparent_proxy, None);
        let on = RunFlags { transparent_proxy: Some(true), ..flags };
        let env = &[("KUMA_DNS_PROXY_PORT", "25053")];
        let transparent = with(on, env).unwrap().config.dataplane_runtime.transparent_proxy.unwrap();
        assert_eq!(transparent.redirect.dns.port, 25053);
    }

    #[test]
    fn missing_files_are_named() {
        let missing = |flags: RunFlags| format!("{:#}", with(flags, &[]).unwrap_err());
        let ca = RunFlags {
            dataplane: Some(WEB.into()),
            ca_cert_file: Some("/nowhere/ca.crt".into()),
            ..RunFlags::default()
        };
        assert!(missing(ca).contains("--ca-cert-file /nowhere/ca.crt: No such file"));
        let file = RunFlags { dataplane_file: Some("/nowhere/dp.yaml".into()), ..RunFlags::default() };
        assert!(missing(file).contains("cannot read the Dataplane resource from /nowhere/dp.yaml: No such file"));
        let folder = RunFlags { dataplane_file: Some("/".into()), ..RunFlags::default() };
        assert!(missing(folder).contains("cannot read the Dataplane resource from /: Is a directory"));
        let proxy = RunFlags { proxy_type: Some("ingress".into()), dataplane: Some(WEB.into()), ..RunFlags::default() };
        assert!(missing(proxy).starts_with("invalid proxy type \"ingress\""));
    }
}
