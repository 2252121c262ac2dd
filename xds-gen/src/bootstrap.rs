//! The bootstrap of a proxy: what kuma-dp asks of the control plane, whether it gets an answer, and the Envoy
//! configuration that the answer carries.
//!
//! [`answer`] decides and renders. It looks at nothing but its arguments; whoever serves `POST /bootstrap` hands in
//! the request, the certificate in use and a view of the stored resources.

mod document;
mod refusal;
mod request;

use kuma_core::{
    document::{Limits, Part},
    duration::GoDuration,
    json::{self, DecodeFault},
    registry::Kind,
    resource::Resource,
    resources::Dataplane,
    sockets,
};
use serde_json::{Value, json};
use x509_parser::pem::parse_x509_pem;

use self::document::{Admin, Credential, Input};
pub use self::{
    refusal::BootstrapRefusal,
    request::{BootstrapRequest, EnvoyVersion, KumaDpVersion, MetricsResources, ProxyVersions, SpireResources},
};

/// The one type of proxy.
const DATAPLANE: &str = "dataplane";

/// Settings of the control plane that shape every bootstrap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapSettings {
    /// Address of Envoy's admin API when it is a port.
    pub admin_address: String,
    /// Port of the admin API of Dataplanes that name none; 0: no admin API.
    pub admin_port: u32,
    /// The admin API is a Unix socket in the work directory of kuma-dp, where there is one.
    pub admin_unix_socket: bool,
    /// File of the admin API's access log.
    pub admin_access_log_path: String,
    /// Host at which proxies find the control plane; empty: the one that the request was sent to.
    pub xds_host: String,
    /// Port at which proxies find it.
    pub xds_port: u32,
    /// Connect timeout of the static clusters.
    pub xds_connect_timeout: GoDuration,
    /// Largest message that Google's gRPC client takes, in bytes.
    pub xds_max_receive_message_bytes: u32,
    /// Envoy reads its token from the file, again and again, where kuma-dp names one.
    pub reloadable_tokens: bool,
    /// A proxy has to show a token.
    pub token_required: bool,
    /// Envoy offers itself for health checks.
    pub hds: bool,
}

impl Default for BootstrapSettings {
    fn default() -> Self {
        Self {
            admin_address: "127.0.0.1".to_owned(),
            admin_port: 9901,
            admin_unix_socket: true,
            admin_access_log_path: "/dev/null".to_owned(),
            xds_host: String::new(),
            xds_port: 5678,
            xds_connect_timeout: GoDuration::from_secs(1),
            xds_max_receive_message_bytes: 4_194_304,
            reloadable_tokens: false,
            token_required: true,
            hds: true,
        }
    }
}

impl BootstrapSettings {
    /// The host at which a proxy finds the control plane, given the `Host` header of its request. Whoever serves
    /// looks it up for [`Door::ipv4_only`].
    pub fn host<'a>(&'a self, header: &'a str) -> &'a str {
        if self.xds_host.is_empty() { without_port(header) } else { &self.xds_host }
    }
}

/// The door that the request came through.
#[derive(Clone, Copy, Debug)]
pub struct Door<'a> {
    /// The `Host` header, with or without port.
    pub host: &'a str,
    /// The host is a DNS name that resolves, and to IPv4 addresses only.
    pub ipv4_only: bool,
    /// The certificate that the server shows now and its issuers, PEM.
    pub chain_pem: &'a str,
    /// Names and addresses that the certificate is for.
    pub sans: &'a [String],
}

/// What is stored, as far as a bootstrap asks.
pub trait Stored {
    /// Is there a Mesh of this name?
    fn has_mesh(&self, name: &str) -> bool;
    /// The Dataplane of this mesh and name.
    fn dataplane(&self, mesh: &str, name: &str) -> Option<Resource<Dataplane>>;
}

/// A bootstrap, and what kuma-dp wants to know beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct BootstrapResponse {
    /// Envoy's configuration as protobuf JSON.
    pub envoy: Value,
    /// `networking.address` of the Dataplane.
    pub address: String,
    /// The admin API was to be a socket, but without a work directory it became a port: worth a warning.
    pub admin_socket_missed: bool,
}

impl BootstrapResponse {
    /// The configuration as YAML: the answer to those who accept anything, `text/x-yaml`.
    pub fn to_yaml(&self) -> String {
        // Quoted throughout, so that no reader takes a token or a port in metadata for anything but text.
        let options = serde_saphyr::ser_options! { quote_all: true };
        // A JSON value has neither keys nor values that YAML lacks.
        serde_saphyr::to_string_with_options(&self.envoy, options).unwrap_or_else(|_| self.envoy.to_string())
    }

    /// The envelope for those who accept exactly `application/json`.
    pub fn to_json(&self) -> Value {
        json!({
            "bootstrap": document::base64(self.to_yaml().as_bytes()),
            "kumaSidecarConfiguration": {
                "metrics": { "aggregate": null },
                "networking": { "address": self.address },
            },
        })
    }
}

/// Answers the request of a proxy: its bootstrap, or why it gets none.
pub fn answer(
    request: &BootstrapRequest,
    door: &Door<'_>,
    settings: &BootstrapSettings,
    stored: &dyn Stored,
) -> Result<BootstrapResponse, BootstrapRefusal> {
    let proxy_type = if request.proxy_type.is_empty() { DATAPLANE } else { &request.proxy_type };
    if proxy_type != DATAPLANE {
        return Err(BootstrapRefusal::ProxyType(proxy_type.to_owned()));
    }
    let credential = credential(request, settings);
    if settings.token_required && credential == Credential::None {
        return Err(BootstrapRefusal::TokenRequired);
    }
    let host = settings.host(door.host);
    if settings.xds_host.is_empty() && !door.sans.iter().any(|san| names_host(san, host)) {
        return Err(BootstrapRefusal::wrong_host(host, door.sans));
    }
    let dataplane = dataplane(request, stored)?;
    let ca = if request.ca_cert.is_empty() { door.chain_pem } else { &request.ca_cert };
    check_ca(ca)?;

    let networking = dataplane.spec().networking.as_ref();
    let own_port = networking.and_then(|n| n.admin).map(|admin| admin.port).filter(|port| *port != 0);
    let port = own_port.unwrap_or(settings.admin_port);
    let socket = settings.admin_unix_socket && !request.workdir.is_empty();
    let admin = (port != 0).then(|| Admin {
        address: &settings.admin_address,
        port,
        socket: socket.then(|| sockets::envoy_admin(&request.workdir)),
    });
    let input = Input {
        request,
        settings,
        workload: dataplane.meta.label("kuma.io/workload"),
        admin,
        host,
        ipv4_only: door.ipv4_only,
        ca,
        credential,
    };
    Ok(BootstrapResponse {
        envoy: document::render(&input),
        address: networking.map(|n| n.address.clone()).unwrap_or_default(),
        admin_socket_missed: settings.admin_unix_socket && port != 0 && !socket,
    })
}

/// How the proxy will prove who it is.
fn credential<'a>(request: &'a BootstrapRequest, settings: &BootstrapSettings) -> Credential<'a> {
    if settings.reloadable_tokens && !request.dataplane_token_path.is_empty() {
        Credential::File(&request.dataplane_token_path)
    } else if request.dataplane_token.is_empty() {
        Credential::None
    } else {
        Credential::Token(&request.dataplane_token)
    }
}

/// The Dataplane of the proxy: the one that it brings, else the one that is stored.
fn dataplane(request: &BootstrapRequest, stored: &dyn Stored) -> Result<Resource<Dataplane>, BootstrapRefusal> {
    if request.dataplane_resource.is_empty() {
        let found = stored.has_mesh(&request.mesh).then(|| stored.dataplane(&request.mesh, &request.name));
        return found.flatten().ok_or(BootstrapRefusal::NotFound);
    }
    let unreadable = BootstrapRefusal::UnreadableDataplane;
    // Nobody has proven anything yet: what this may cost is limited.
    let parsed = Part::whole(&request.dataplane_resource).parse(Limits::REQUEST);
    let document = parsed.map_err(|fault| unreadable(fault.to_string()))?.value;
    let kind = document["type"].as_str().unwrap_or_default();
    if kind != Kind::Dataplane.name() {
        return Err(unreadable(format!("its type is {kind:?}, not \"Dataplane\"")));
    }
    let received = json::from_rest(Kind::Dataplane, &document).map_err(|fault| match fault {
        DecodeFault::Malformed { cause, .. } => unreadable(cause),
        DecodeFault::Schema(violations) | DecodeFault::Semantic(violations) => {
            BootstrapRefusal::InvalidDataplane(violations)
        }
    })?;
    let Some(dataplane) = received.resource.typed::<Dataplane>() else {
        return Err(unreadable("it is of another kind".to_owned()));
    };
    let mesh = &dataplane.meta.mesh;
    if !stored.has_mesh(mesh) {
        return Err(BootstrapRefusal::UnknownMesh(mesh.to_string()));
    }
    let declares = dataplane.spec().networking.as_ref().is_some_and(|n| !n.outbound.is_empty());
    if declares && request.dataplane_config.is_some() {
        return Err(BootstrapRefusal::OutboundsWithTransparentProxy);
    }
    Ok(dataplane)
}

/// What servers are verified with has to be allowed to sign, as far as it says.
fn check_ca(pem: &str) -> Result<(), BootstrapRefusal> {
    let unreadable = |reason: String| BootstrapRefusal::UnreadableCa(reason);
    let (_, block) = parse_x509_pem(pem.as_bytes()).map_err(|e| unreadable(e.to_string()))?;
    let certificate = block.parse_x509().map_err(|e| unreadable(e.to_string()))?;
    match certificate.basic_constraints() {
        Ok(Some(constraints)) if !constraints.value.ca => Err(BootstrapRefusal::NotACa),
        Ok(_) => Ok(()),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// The host of a `Host` header; an IPv6 address without its brackets.
fn without_port(header: &str) -> &str {
    if let Some(rest) = header.strip_prefix('[') {
        return rest.split_once(']').map_or(header, |(host, _)| host);
    }
    match header.split_once(':') {
        Some((host, port)) if !port.contains(':') => host,
        _ => header,
    }
}

/// Whether a certificate for this name or address is good for the host.
fn names_host(san: &str, host: &str) -> bool {
    let wildcard = || {
        let (parent, (label, rest)) = (san.strip_prefix("*.")?, host.split_once('.')?);
        Some(!label.is_empty() && parent.eq_ignore_ascii_case(rest))
    };
    san.eq_ignore_ascii_case(host) || wildcard().unwrap_or(false)
}

#[cfg(test)]
mod tests;
