//! Fills in what the configuration leaves to the machine: the work directory, the way proxies authenticate, where the
//! certificate is, the address of this instance.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use super::{Config, Environment, StoreType};

/// Name of the server certificate in the work directory.
pub const CERT_FILE: &str = "kuma-cp.crt";
/// Name of its key in the work directory.
pub const KEY_FILE: &str = "kuma-cp.key";

/// What has to be known about the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Home directory of the user, from `HOME`.
    pub home: Option<PathBuf>,
    /// Addresses of all network interfaces, in the order in which the system lists them.
    pub addresses: Vec<IpAddr>,
}

/// Why the configuration cannot be completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutoError {
    /// No work directory is set and there is no home directory.
    #[error(
        "there is no work directory: set KUMA_GENERAL_WORK_DIR to a directory that the control plane may write to, or set HOME"
    )]
    NoWorkDir,
    /// Every address is a loopback address, and there may be other instances.
    #[error(
        "there is no non-loopback IP address for other instances to reach this one at: set KUMA_INTER_CP_CATALOG_INSTANCE_ADDRESS"
    )]
    NoAddress,
}

/// Where the certificate of the servers comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerCertificate {
    /// The user names the files.
    Given,
    /// Ours, in the work directory: used when it is there, made when it is not.
    Own(PathBuf),
}

/// Completes `config`. Nothing is written: the caller makes the certificate where [`ServerCertificate::Own`] says so,
/// before it uses the paths.
pub fn complete(config: &mut Config, machine: &Machine) -> Result<ServerCertificate, AutoError> {
    if config.general.work_dir.is_empty() {
        let home = machine.home.as_deref().filter(|h| !h.as_os_str().is_empty()).ok_or(AutoError::NoWorkDir)?;
        config.general.work_dir = home.join(".kuma").display().to_string();
    }

    let kubernetes = config.environment() == Some(Environment::Kubernetes);
    if config.store.kind.is_empty() {
        config.store.kind = if kubernetes { StoreType::Kubernetes } else { StoreType::Sqlite }.as_str().into();
    }
    if config.store.sqlite.dir.is_empty() {
        config.store.sqlite.dir.clone_from(&config.general.work_dir);
    }
    let by_environment = |universal: &str| if kubernetes { "serviceAccountToken" } else { universal }.to_owned();
    let authn = &mut config.dp_server.authn;
    if authn.dp_proxy.kind.is_empty() {
        authn.dp_proxy.kind = by_environment("dpToken");
    }
    if authn.zone_proxy.kind.is_empty() {
        authn.zone_proxy.kind = by_environment("zoneToken");
    }

    let certificate = if config.general.tls_cert_file.is_empty() {
        let dir = Path::new(&config.general.work_dir).to_owned();
        config.general.tls_cert_file = dir.join(CERT_FILE).display().to_string();
        config.general.tls_key_file = dir.join(KEY_FILE).display().to_string();
        ServerCertificate::Own(dir)
    } else {
        ServerCertificate::Given
    };
    copy_tls(config);

    if config.bootstrap_server.params.xds_port == 0 {
        // A checked port is in range.
        config.bootstrap_server.params.xds_port = u32::try_from(config.dp_server.port).unwrap_or_default();
    }
    if config.inter_cp.catalog.instance_address.is_empty() {
        let outside = machine.addresses.iter().find(|a| !a.is_loopback()).copied();
        // What is kept in memory has one instance, which nobody has to reach: it also runs without a network.
        let alone = matches!(StoreType::from_name(&config.store.kind), Some(StoreType::Sqlite | StoreType::Memory));
        let address = outside.or(alone.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))).ok_or(AutoError::NoAddress)?;
        config.inter_cp.catalog.instance_address = address.to_string();
    }
    Ok(certificate)
}

/// Servers without a certificate take the general one, and what the general section limits is limited everywhere.
fn copy_tls(config: &mut Config) {
    let general = config.general.clone();
    macro_rules! server {
        (limits: $server:expr) => {
            if !general.tls_min_version.is_empty() {
                $server.tls_min_version.clone_from(&general.tls_min_version);
            }
            if !general.tls_max_version.is_empty() {
                $server.tls_max_version.clone_from(&general.tls_max_version);
            }
            if !general.tls_cipher_suites.is_empty() {
                $server.tls_cipher_suites.clone_from(&general.tls_cipher_suites);
            }
        };
        ($server:expr) => {
            if $server.tls_cert_file.is_empty() {
                $server.tls_cert_file.clone_from(&general.tls_cert_file);
                $server.tls_key_file.clone_from(&general.tls_key_file);
            }
            server!(limits: $server);
        };
    }
    server!(config.multizone.global.kds);
    server!(config.diagnostics);
    server!(config.dp_server);
    server!(config.api_server.https);
    server!(config.monitoring_assignment_server);
    server!(limits: config.inter_cp.server);
}
