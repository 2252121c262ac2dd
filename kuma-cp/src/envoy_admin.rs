//! Asks the Envoy of a proxy through its admin listener: over TLS, with the certificate that the listener asks for.
//!
//! Only fixed paths are asked for, so that an address in a Dataplane cannot make the control plane a client of anything
//! else.

mod redact;

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use kuma_core::{
    plan::{Names, NodeFacts},
    registry::Kind,
    resource::{Key, Resource},
    resources::{Dataplane, DataplaneInsight},
    state::MeshState,
};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

pub use redact::redact;

use crate::{
    api::{AdminAnswer, AdminView, Inspect, InspectError, OfflineInspect},
    dp_server::admin_ca::AdminCa,
};

/// Longest time for an answer.
const WITHIN: Duration = Duration::from_secs(10);
/// Longest answer in bytes. The dump of a proxy with 10,000 clusters has about 50 MB.
const MAX_ANSWER: usize = 256 << 20;
/// Name of the socket of Envoy's admin API in the work directory of a kuma-dp.
const SOCKET: &str = "kuma-envoy-admin.sock";

/// Answers about proxies that this control plane can reach.
pub struct EnvoyAdmin {
    /// Plans for `_config`, and addresses of hosts.
    pub plans: OfflineInspect,
    /// Issues the certificate that admin listeners ask for.
    pub ca: Arc<AdminCa>,
    /// Admin port of proxies that name none.
    pub default_port: u32,
}

/// Where the admin API of a proxy is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Its admin listener.
    Listener(IpAddr, u16),
    /// The API itself, on this host.
    Loopback(IpAddr, u16),
    /// Its socket, on this host.
    Socket(Box<Path>),
}

#[async_trait]
impl Inspect for EnvoyAdmin {
    fn config(&self, state: &MeshState, dataplane: &Resource<Dataplane>, shadow: bool) -> Result<Value, InspectError> {
        self.plans.config(state, dataplane, shadow)
    }

    async fn admin(
        &self,
        state: &MeshState,
        dataplane: &Resource<Dataplane>,
        view: AdminView,
    ) -> Result<AdminAnswer, InspectError> {
        let meta = &dataplane.meta;
        let names = self.plans.names.borrow().clone();
        let place = place(state, dataplane, &names, self.default_port).map_err(|e| {
            InspectError::Unreachable(format!(
                "the Envoy of {} in mesh {} has no admin address: {e}",
                meta.name, meta.mesh
            ))
        })?;
        let asked = async {
            let body = match tokio::time::timeout(WITHIN, self.ask(&place, &path(view))).await {
                Ok(body) => body?,
                Err(_) => bail!("no answer within {} seconds", WITHIN.as_secs()),
            };
            Ok(match view {
                AdminView::ConfigDump { .. } => AdminAnswer { body: redact(&body)?, json: true },
                AdminView::Stats { json, .. } | AdminView::Clusters { json } => AdminAnswer { body, json },
            })
        };
        asked.await.map_err(|error: anyhow::Error| {
            InspectError::Failed(format!("the Envoy of {} in mesh {} at {place:?}: {error:#}", meta.name, meta.mesh))
        })
    }
}

impl EnvoyAdmin {
    async fn ask(&self, place: &Place, path: &str) -> anyhow::Result<Vec<u8>> {
        match place {
            Place::Listener(address, port) => {
                let tls = self.ca.client().context("the Envoy admin CA is not there yet, try again")?;
                let stream = TcpStream::connect((*address, *port)).await?;
                let connector = tokio_rustls::TlsConnector::from(tls);
                let stream = connector.connect(ServerName::from(*address), stream).await?;
                get(stream, path).await
            }
            Place::Loopback(address, port) => get(TcpStream::connect((*address, *port)).await?, path).await,
            Place::Socket(file) => get(UnixStream::connect(file).await?, path).await,
        }
    }
}

/// What Envoy serves a view under.
fn path(view: AdminView) -> String {
    let (path, parameters) = match view {
        AdminView::ConfigDump { include_eds } => ("/config_dump", vec![(include_eds, "include_eds")]),
        AdminView::Stats { json, used_only } => ("/stats", vec![(json, "format=json"), (used_only, "usedonly")]),
        AdminView::Clusters { json } => ("/clusters", vec![(json, "format=json")]),
    };
    let parameters: Vec<&str> = parameters.into_iter().filter_map(|(set, text)| set.then_some(text)).collect();
    if parameters.is_empty() { path.to_owned() } else { format!("{path}?{}", parameters.join("&")) }
}

/// A proxy whose address is that of its admin API has no admin listener; its API is asked itself, if it is on this host.
fn place(
    state: &MeshState,
    dataplane: &Resource<Dataplane>,
    names: &Names,
    default_port: u32,
) -> anyhow::Result<Place> {
    let networking = dataplane.spec().networking.as_ref().context("it has no networking")?;
    let meta = &dataplane.meta;
    let insight = state.get(&Key::new(Kind::DataplaneInsight, meta.mesh.clone(), meta.name.clone()));
    let metadata = insight.and_then(|i| i.spec::<DataplaneInsight>()).and_then(|i| i.metadata.as_ref());
    let node = metadata.map(NodeFacts::from_metadata).unwrap_or_default();
    let declared = networking.admin.as_ref().map_or(0, |a| a.port);
    let port = [declared, node.admin_port.into(), default_port].into_iter().find(|p| *p != 0).unwrap_or_default();
    let port = u16::try_from(port)?;
    ensure!(port != 0, "its admin API is switched off");
    let host = networking.address.as_str();
    let host = names.0.get(host).map_or(host, |ip| ip);
    let address: IpAddr = host.parse().with_context(|| format!("the address of {host} is not known"))?;
    if !address.is_loopback() {
        return Ok(Place::Listener(address, port));
    }
    let socket = Path::new(&*node.admin_socket);
    // The path is the proxy's word: nothing but the socket of a kuma-dp is ever opened.
    if socket.is_absolute() && socket.file_name().is_some_and(|name| name == SOCKET) {
        return Ok(Place::Socket(socket.into()));
    }
    Ok(Place::Loopback(address, port))
}

async fn get<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, path: &str) -> anyhow::Result<Vec<u8>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get(path).header(hyper::header::HOST, "envoy").body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        ensure!(status.is_success(), "Envoy answered {path} with {status}");
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok(body.map_err(|e| anyhow::anyhow!("{e}"))?.to_bytes().to_vec())
    };
    // The connection lives as long as the exchange; both end when the caller loses patience.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests;
