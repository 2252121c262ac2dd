//! What the handlers need of the control plane.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{Timestamp, tz::TimeZone};
use kuma_core::{labels, resource::Resource, resources::Dataplane, state::MeshState, store::Store};
use serde_json::Value;

use super::{companions::MeshCompanions, query::Query};
use crate::{
    auth::{Access, ApiAuthenticator},
    config::{Config, Environment, Mode},
    state::StateHandle,
};

/// Everything that the API works with.
pub struct ApiContext {
    /// What is read.
    pub state: StateHandle,
    /// What is written.
    pub store: Arc<dyn Store>,
    /// Which control plane this is.
    pub site: Site,
    /// Who calls.
    pub authenticator: ApiAuthenticator,
    /// What they may do.
    pub access: Access,
    /// Whether `POST /tokens/user` is served; `apiServer.authn.tokens.enableIssuer`.
    pub issue_user_tokens: bool,
    /// Answers about single proxies that need planning, or their Envoy.
    pub inspect: Arc<dyn Inspect>,
    /// What is created together with a Mesh.
    pub companions: Arc<dyn MeshCompanions>,
    /// How the API is served.
    pub settings: ApiSettings,
    /// What `GET /` tells.
    pub about: About,
    /// The configuration as JSON text, passwords masked.
    pub config: String,
    /// The clock.
    pub now: fn() -> Timestamp,
}

/// Which control plane this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Zone or global.
    pub mode: Mode,
    /// Name of the zone.
    pub zone: Arc<str>,
    /// What labels depend on.
    pub labels: labels::Site,
    /// Namespace that `format=k8s` shows.
    pub system_namespace: String,
}

impl Site {
    /// A control plane of one zone, outside of Kubernetes and on its own.
    pub fn zone(name: impl Into<Arc<str>>) -> Self {
        let zone: Arc<str> = name.into();
        Self {
            mode: Mode::Zone,
            labels: labels::Site::zone(zone.clone()),
            zone,
            system_namespace: "kuma-system".into(),
        }
    }

    /// A global control plane. It has a zone name as well, which means nothing.
    pub fn global() -> Self {
        let labels = labels::Site {
            origin: "global",
            zone: None,
            environment: labels::Environment::UNIVERSAL,
            federated: false,
            any_origin: false,
        };
        Self { mode: Mode::Global, labels, ..Self::zone("default") }
    }

    /// The site that a configuration describes.
    pub fn of(config: &Config) -> Self {
        let zone: Arc<str> = config.multizone.zone.name.as_str().into();
        let mode = config.mode().unwrap_or(Mode::Zone);
        let mut site = match mode {
            Mode::Zone => Self::zone(zone),
            Mode::Global => Self::global(),
        };
        site.labels.federated = mode == Mode::Zone && !config.multizone.zone.global_address.is_empty();
        site.labels.any_origin = config.multizone.zone.disable_origin_label_validation;
        site.labels.environment = match config.environment().unwrap_or(Environment::Universal) {
            Environment::Universal => labels::Environment::UNIVERSAL,
            Environment::Kubernetes => labels::Environment::KUBERNETES,
        };
        site.system_namespace.clone_from(&config.store.kubernetes.system_namespace);
        site
    }
}

/// How the API is served.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Path below which everything is served, `/` at its front.
    pub base_path: String,
    /// No resource can be written.
    pub read_only: bool,
    /// Origins that may call from a browser; `.*` is any.
    pub cors_origins: Vec<String>,
    /// Delete Meshes and Zones that are in use.
    pub unsafe_delete: bool,
    /// Path of the GUI, `/gui`.
    pub gui_path: String,
    /// Longest body in bytes; a longer one is answered with 413.
    pub max_body: usize,
    /// Longest time for the body of a request to arrive.
    pub read_timeout: Duration,
    /// Longest time for an answer; 503 afterwards.
    pub write_timeout: Duration,
    /// Time zone of the times in answers.
    pub time_zone: TimeZone,
    /// `dnsServer.domain` and `dnsServer.serviceVipPort`, which the addresses of service insights are made of.
    pub service_address: (String, u32),
}

/// Ten MiB: room for the largest real policies many times over.
pub const DEFAULT_MAX_BODY: usize = 10 << 20;

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            base_path: "/".into(),
            read_only: false,
            cors_origins: Vec::new(),
            unsafe_delete: false,
            gui_path: "/gui".into(),
            max_body: DEFAULT_MAX_BODY,
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            time_zone: TimeZone::UTC,
            service_address: ("mesh".into(), 80),
        }
    }
}

/// What `GET /` tells about an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Name of the host.
    pub hostname: String,
    /// Version of this build.
    pub version: String,
    /// Id of this process.
    pub instance_id: String,
    /// Id of the cluster of control planes; empty while unknown.
    pub cluster_id: String,
    /// Where the GUI is; empty for none.
    pub gui: String,
}

/// What Envoy's admin interface can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminView {
    /// The configuration that Envoy has.
    ConfigDump {
        /// With endpoints.
        include_eds: bool,
    },
    /// Statistics.
    Stats {
        /// As JSON.
        json: bool,
        /// Only those that were ever written to.
        used_only: bool,
    },
    /// Clusters and the state of their endpoints.
    Clusters {
        /// As JSON.
        json: bool,
    },
}

/// An answer of Envoy's admin interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAnswer {
    /// The body, as Envoy sent it.
    pub body: Vec<u8>,
    /// JSON or text.
    pub json: bool,
}

/// Why there is no answer about a proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InspectError {
    /// The proxy, or what is known of its connection, is not there.
    #[error("not found")]
    NotFound,
    /// It cannot be reached from here.
    #[error("{0}")]
    Unreachable(String),
    /// It failed.
    #[error("{0}")]
    Failed(String),
}

/// Answers about single proxies.
#[async_trait]
pub trait Inspect: Send + Sync {
    /// The Envoy configuration of a proxy, computed: type URL to name to resource, as `_config` shows it. With `shadow`,
    /// policies that are only tried out count.
    fn config(&self, state: &MeshState, dataplane: &Resource<Dataplane>, shadow: bool) -> Result<Value, InspectError>;

    /// Asks the Envoy of a proxy.
    async fn admin(
        &self,
        state: &MeshState,
        dataplane: &Resource<Dataplane>,
        view: AdminView,
    ) -> Result<AdminAnswer, InspectError>;
}

/// Whether a request came over TLS; page links say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// The plain port.
    Http,
    /// The TLS port.
    Https,
}

impl Scheme {
    /// Its name in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What the handlers know of one request.
pub(super) struct Asked {
    /// The path as it came, for links.
    pub(super) path: String,
    /// Scheme and host, for links.
    pub(super) origin: String,
    pub(super) query: Query,
    pub(super) user: crate::auth::User,
    /// Pattern of the path.
    pub(super) pattern: String,
    /// The body; empty for methods without one.
    pub(super) body: bytes::Bytes,
    /// The state that answers.
    pub(super) state: Arc<MeshState>,
}

impl Asked {
    /// Link to the page that begins at `offset`.
    pub(super) fn page_link(&self, offset: usize) -> String {
        format!("{}{}?{}", self.origin, self.path, self.query.with("offset", offset.to_string()))
    }
}
