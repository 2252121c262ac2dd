//! The listener from which kuma-dp polls its configuration: Envoy answers with bodies that are part of the routes, and
//! with 304 to a client that names the hash of what it has.

use kuma_core::{
    ir::{DynamicConfig, HeaderCondition, HeaderTest, Own},
    sockets,
};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    address, listener, matcher,
    proto::{
        core::{DataSource, data_source::Specifier},
        listener::Listener,
        route::{DirectResponseAction, Route, RouteConfiguration, route::Action, route_match::PathSpecifier},
    },
    route,
};
use crate::filters::{HttpFilters, NetworkFilters, NetworkSlot};

/// Name of the listener, and beginning of the names of its routes.
const NAME: &str = "system_dynamicconfig";

/// One configuration that is polled.
struct Served {
    /// What it is called; its path is this behind a slash.
    name: &'static str,
    /// Compact JSON.
    body: String,
}

/// The listener; none if nothing is to be polled.
pub(super) fn render(unit: &DynamicConfig, own: &Own) -> Option<Listener> {
    let served: Vec<Served> = unit.dns.as_ref().map(|dns| Served::new("dns", dns)).into_iter().collect();
    let longest = served.iter().map(|s| s.body.len()).max()?;
    let routes = RouteConfiguration {
        virtual_hosts: vec![listener::any_host(NAME, served.iter().flat_map(Served::routes).collect())],
        max_direct_response_body_size_bytes: Some(longest as u32),
        ..Default::default()
    };
    let mut manager = listener::connection_manager(NAME, HttpFilters::default(), routes);
    let families = if unit.ipv6 { 2 } else { 1 };
    manager.internal_address_config = Some(listener::internal_ranges(listener::LOOPBACK.into_iter().take(families)));
    let filters = NetworkFilters::only(NetworkSlot::ConnectionManager, &manager);
    let socket = address::pipe(&sockets::dynamic_config(&own.work_dir));
    Some(Listener { stat_prefix: NAME.to_owned(), ..listener::single_chain(NAME, socket, filters) })
}

impl Served {
    fn new(name: &'static str, body: &impl Serialize) -> Self {
        // Texts, numbers and maps with text keys: writing them to memory cannot fail.
        Self { name, body: serde_json::to_string(body).unwrap_or_default() }
    }

    /// "You have it already" for who names the hash, else the body with its hash.
    fn routes(&self) -> [Route; 2] {
        let hash = hex(&Sha256::digest(&self.body));
        let has_it = HeaderCondition { name: "If-None-Match".into(), value: HeaderTest::Exact(hash.as_str().into()) };
        let mut not_modified = self.route(304, None);
        not_modified.name.push_str("_not_modified");
        if let Some(matches) = &mut not_modified.r#match {
            matches.headers.push(matcher::header(&has_it));
        }
        let mut whole = self.route(200, Some(&self.body));
        whole.response_headers_to_add.push(route::header("Etag", &hash));
        [not_modified, whole]
    }

    fn route(&self, status: u32, body: Option<&str>) -> Route {
        let body = body
            .map(|text| DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), ..Default::default() });
        let action = Action::DirectResponse(DirectResponseAction { status, body, ..Default::default() });
        Route {
            name: format!("{NAME}_{}", self.name),
            ..route::simple(PathSpecifier::Path(format!("/{}", self.name)), action)
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push_str(&format!("{byte:02x}"));
    }
    out
}
