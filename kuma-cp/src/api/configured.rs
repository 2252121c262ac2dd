//! The API that a configuration describes.

use std::{sync::Arc, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use kuma_core::{duration::GoDuration, store::Store};

use super::{About, ApiContext, ApiSettings, DEFAULT_MAX_BODY, Inspect, Site, companions::MeshDefaults};
use crate::{
    auth::{Access, ApiAuthenticator},
    config::Config,
    state::StateHandle,
    tls::Names,
    tokens::{StaticKeyError, Verifier},
    version,
};

impl ApiContext {
    /// Everything that the API needs of a control plane, from its configuration and its parts. `instance` is the id of
    /// this process.
    ///
    /// # Errors
    /// A public key of the configuration that is none.
    pub fn of(
        config: &Config,
        instance: &str,
        store: Arc<dyn Store>,
        state: StateHandle,
        inspect: Arc<dyn Inspect>,
    ) -> Result<Self, StaticKeyError> {
        let site = Site::of(config);
        Ok(Self {
            state,
            store,
            authenticator: ApiAuthenticator {
                localhost_is_admin: config.api_server.authn.localhost_is_admin,
                tokens: Verifier::for_users(config)?,
            },
            access: Access::new(config.access.fixed.clone()),
            issue_user_tokens: config.api_server.authn.tokens.enable_issuer,
            inspect,
            companions: Arc::new(MeshDefaults { site: site.labels.clone() }),
            settings: ApiSettings::of(config),
            about: About {
                hostname: Names::of_machine().hostname,
                version: version::VERSION.into(),
                instance_id: instance.into(),
                cluster_id: String::new(),
                gui: gui(config),
            },
            config: config.display().to_string(),
            now: Timestamp::now,
            site,
        })
    }
}

impl ApiSettings {
    /// The settings of a configuration. Times are told in the zone of this machine.
    pub fn of(config: &Config) -> Self {
        let api = &config.api_server;
        Self {
            base_path: api.base_path.clone(),
            read_only: api.read_only,
            cors_origins: api.cors_allowed_domains.clone(),
            unsafe_delete: config.store.unsafe_delete,
            gui_path: api.gui.base_path.clone(),
            max_body: DEFAULT_MAX_BODY,
            read_timeout: bound(api.read_timeout),
            write_timeout: bound(api.write_timeout),
            time_zone: TimeZone::system(),
            service_address: (config.dns_server.domain.clone(), config.dns_server.service_vip_port),
        }
    }
}

/// Zero is no bound.
fn bound(time: GoDuration) -> Duration {
    if time.is_zero() { Duration::MAX } else { time.to_std() }
}

/// Where the index says that the GUI is.
fn gui(config: &Config) -> String {
    let gui = &config.api_server.gui;
    match (gui.enabled, gui.root_url.as_str()) {
        (false, _) => String::new(),
        (true, "") => gui.base_path.clone(),
        (true, url) => url.to_owned(),
    }
}
