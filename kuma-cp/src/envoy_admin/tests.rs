use kuma_core::{
    meta::Meta,
    resource::{AnyResource, NoStatus},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use xds_gen::render::units::AdminIssuer;

use super::*;
use crate::{dp_server::admin_ca, state::StateHandle};

fn dataplane(networking: Value) -> Resource<Dataplane> {
    let spec = serde_json::from_value(json!({"networking": networking})).unwrap();
    AnyResource::new(Meta::new("default", "web-1", Default::default()), Dataplane { ..spec }, NoStatus {})
        .typed()
        .unwrap()
}

fn connected(metadata: Value) -> StateHandle {
    let spec = DataplaneInsight { metadata: Some(metadata), ..DataplaneInsight::default() };
    let insight = AnyResource::new(Meta::new("default", "web-1", Default::default()), spec, NoStatus {});
    StateHandle::of([insight])
}

fn place_of(networking: Value, metadata: Value) -> anyhow::Result<Place> {
    place(&connected(metadata).current(), &dataplane(networking), &Names::default(), 9901)
}

#[test]
fn places() {
    let at = |port| Place::Listener("10.0.0.1".parse().unwrap(), port);
    let remote = json!({"address": "10.0.0.1"});
    assert_eq!(place_of(remote.clone(), json!({})).unwrap(), at(9901));
    assert_eq!(place_of(remote.clone(), json!({"dataplane.admin.port": "1000"})).unwrap(), at(1000));
    let socket = "/tmp/x/kuma-envoy-admin.sock";
    let metadata = json!({"dataplane.admin.port": "1000", "dataplane.admin.socketPath": socket});
    assert_eq!(place_of(json!({"address": "10.0.0.1", "admin": {"port": 2}}), metadata.clone()).unwrap(), at(2));
    let local = json!({"address": "127.0.0.1"});
    assert_eq!(place_of(local.clone(), metadata).unwrap(), Place::Socket(Path::new(socket).into()));
    let foreign = json!({"dataplane.admin.socketPath": "/run/docker.sock"});
    assert_eq!(place_of(local, foreign).unwrap(), Place::Loopback("127.0.0.1".parse().unwrap(), 9901));
    assert!(place_of(json!({"address": "web.example"}), json!({})).is_err());
}

#[test]
fn paths() {
    assert_eq!(path(AdminView::ConfigDump { include_eds: false }), "/config_dump");
    assert_eq!(path(AdminView::ConfigDump { include_eds: true }), "/config_dump?include_eds");
    assert_eq!(path(AdminView::Stats { json: true, used_only: true }), "/stats?format=json&usedonly");
    assert_eq!(path(AdminView::Clusters { json: false }), "/clusters");
}

#[test]
fn tokens_do_not_leave() {
    let secret = json!({"key": "authorization", "value": "secret"});
    let dump = json!({"configs": [
        {"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump",
         "bootstrap": {"a": [{"initial_metadata": [secret]}], "b": {"initialMetadata": [{"key": "k", "rawValue": "secret"}]}}},
        {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "value": "kept"},
    ]});
    let text = String::from_utf8(redact(dump.to_string().as_bytes()).unwrap()).unwrap();
    assert!(!text.contains("secret") && text.contains("authorization") && text.contains("kept"), "{text}");
    assert_eq!(text.matches("[redacted]").count(), 2);
}

/// A server with the certificate and the demands of an admin listener.
async fn listener(ca: &AdminCa) -> std::net::SocketAddr {
    let own = kuma_core::ir::Own { address: "127.0.0.1".into(), ..kuma_core::ir::Own::default() };
    let tls = ca.issue(&own).unwrap();
    use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&tls.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(&tls.certificate_chain).unwrap()],
            PrivateKeyDer::from_pem_slice(&tls.private_key).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        let mut head = [0; 1024];
        let length = stream.read(&mut head).await.unwrap();
        let line = String::from_utf8_lossy(&head[..length]).lines().next().unwrap_or_default().to_owned();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{line}", line.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    address
}

#[tokio::test]
async fn the_listener_is_asked_with_the_certificate_it_wants() {
    let ca = AdminCa::default();
    assert!(ca.client().is_none());
    ca.set(admin_ca::make_ca().unwrap().as_bytes()).unwrap();
    let address = listener(&ca).await;
    let admin = EnvoyAdmin { plans: OfflineInspect::default(), ca: Arc::new(ca), default_port: 9901 };
    let place = Place::Listener(address.ip(), address.port());
    let body = admin.ask(&place, "/stats?usedonly").await.unwrap();
    assert_eq!(String::from_utf8(body).unwrap(), "GET /stats?usedonly HTTP/1.1");
}
