//! `POST /bootstrap`: a kuma-dp asks for the configuration that its Envoy starts with.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use kuma_core::{
    registry::Kind,
    resource::{Key, Resource},
    resources::Dataplane,
    state::MeshState,
};
use tonic::{Code, Status};
use xds_gen::bootstrap::{BootstrapRequest, BootstrapSettings, Door, Stored, answer};

use super::connect::Connector;
use crate::{state::StateHandle, tls::ServedCertificate};

/// Largest request, in bytes: a Dataplane and some metadata.
const MAX_BODY: usize = 1 << 20;
/// How long a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the endpoint needs.
pub struct Bootstraps {
    /// Where Dataplanes and Meshes are looked up.
    pub state: StateHandle,
    /// Who may be whom.
    pub connector: Arc<Connector>,
    /// What shapes every bootstrap.
    pub settings: BootstrapSettings,
    /// The certificate of this port, as it is now.
    pub certificate: Arc<ServedCertificate>,
}

/// The route.
pub fn router(bootstraps: Arc<Bootstraps>) -> Router {
    // The method is not looked at, as clients of all versions expect.
    Router::new().route("/bootstrap", any(serve)).layer(DefaultBodyLimit::max(MAX_BODY)).with_state(bootstraps)
}

async fn serve(
    State(bootstraps): State<Arc<Bootstraps>>,
    headers: HeaderMap,
    uri: http::Uri,
    request: Request,
) -> Response {
    let body = match tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => body,
        Ok(Err(refusal)) => return refusal.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let Ok(request) = serde_json::from_slice::<BootstrapRequest>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    // HTTP/2 has the host in the request's target.
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .map(str::to_owned)
        .or_else(|| uri.authority().map(ToString::to_string))
        .unwrap_or_default();
    let (chain, sans) = (bootstraps.certificate.chain_pem(), bootstraps.certificate.names());
    let looked_up = ipv4_only(bootstraps.settings.host(&host)).await;
    let door = Door { host: &host, ipv4_only: looked_up, chain_pem: &chain, sans: &sans };
    let state = bootstraps.state.current();
    let refused = |status: StatusCode, body: String| {
        tracing::info!(mesh = request.mesh, proxy = request.name, reason = body, "no bootstrap for a proxy");
        (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
    };
    match answer(&request, &door, &bootstraps.settings, &Known(&state)) {
        Ok(response) => {
            if let Err(status) = prove(&bootstraps.connector, &request, &state) {
                return refused(http_status(status.code()), status.message().to_owned());
            }
            if response.admin_socket_missed {
                tracing::warn!(
                    mesh = request.mesh,
                    proxy = request.name,
                    "the proxy has no work directory: its Envoy admin API is a port"
                );
            }
            let json = headers.get(header::ACCEPT).is_some_and(|a| a == "application/json");
            if json {
                axum::Json(response.to_json()).into_response()
            } else {
                ([(header::CONTENT_TYPE, "text/x-yaml")], response.to_yaml()).into_response()
            }
        }
        Err(refusal) => {
            refused(StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), refusal.body())
        }
    }
}

/// What discovery would turn away is turned away here already: kuma-dp tells its user why and ends, while an Envoy that
/// is refused tries again for ever. A token that Envoy reads by itself, from a file, may be another one by then.
fn prove(connector: &Connector, request: &BootstrapRequest, state: &MeshState) -> Result<(), Status> {
    let proxy = (request.mesh.as_str().into(), request.name.as_str().into());
    let text = Some(request.dataplane_resource.as_str()).filter(|text| !text.is_empty());
    let stored = state.get(&Key::new(Kind::Dataplane, request.mesh.as_str(), request.name.as_str()));
    connector.prove(&request.dataplane_token, &proxy, text, stored).map(drop)
}

fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// A name that resolves to IPv4 addresses alone; `localhost` and addresses do not count.
async fn ipv4_only(host: &str) -> bool {
    if host.is_empty() || host == "localhost" || host.parse::<std::net::IpAddr>().is_ok() {
        return false;
    }
    let Ok(addresses) = tokio::net::lookup_host((host, 0)).await else { return false };
    let mut addresses = addresses.peekable();
    addresses.peek().is_some() && addresses.all(|a| a.is_ipv4())
}

struct Known<'a>(&'a MeshState);

impl Stored for Known<'_> {
    fn has_mesh(&self, name: &str) -> bool {
        self.0.get(&Key::new(Kind::Mesh, "", name)).is_some()
    }

    fn dataplane(&self, mesh: &str, name: &str) -> Option<Resource<Dataplane>> {
        self.0.find(mesh, name)
    }
}
