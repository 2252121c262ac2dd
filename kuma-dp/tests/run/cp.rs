//! A control plane that knows one answer: it hands out a bootstrap for a real Envoy and remembers what it was asked.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::Engine as _;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::dp::{Dp, eventually};

/// Makes the bootstrap from the request.
pub(crate) type Answer = dyn Fn(&Value) -> Response<Full<Bytes>> + Send + Sync;

/// The fake control plane; it serves until the test's runtime ends.
pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<VecDeque<Value>>>,
}

impl ControlPlane {
    /// Plain HTTP.
    pub(crate) async fn http(answer: impl Fn(&Value) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(answer)).await
    }

    /// TLS with a self-signed certificate for `localhost`, which is its own CA; returns its PEM as well.
    pub(crate) async fn https(
        answer: impl Fn(&Value) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> (Self, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::start(Some(acceptor), Arc::new(answer)).await, certificate.pem())
    }

    async fn start(tls: Option<TlsAcceptor>, answer: Arc<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(VecDeque::new()));
        let seen = requests.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, answer, seen) = (tls.clone(), answer.clone(), seen.clone());
                tokio::spawn(async move {
                    let handler = |request: Request<Incoming>| {
                        let (answer, seen) = (answer.clone(), seen.clone());
                        async move {
                            assert_eq!(request.uri().path(), "/bootstrap");
                            assert_eq!(request.headers()["accept"], "application/json");
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            let body: Value = serde_json::from_slice(&body).unwrap();
                            let response = answer(&body);
                            seen.lock().unwrap().push_back(body);
                            response
                        }
                    };
                    match tls {
                        None => kuma_dp::http::serve(stream, handler).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                kuma_dp::http::serve(stream, handler).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn https_url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The oldest request not taken yet, waited for.
    pub(crate) async fn request(&self, from: &Dp) -> Value {
        eventually(|| from.log(), async || self.requests.lock().unwrap().pop_front()).await
    }
}

/// A 200 with `bootstrap` for a Dataplane on loopback.
pub(crate) fn bootstrap(bootstrap: &Value) -> Response<Full<Bytes>> {
    // JSON is YAML.
    let bootstrap = base64::engine::general_purpose::STANDARD.encode(bootstrap.to_string());
    let body = json!({
        "bootstrap": bootstrap,
        "kumaSidecarConfiguration": {"networking": {"address": "127.0.0.1"}, "metrics": {"aggregate": null}}
    });
    Response::new(Full::from(body.to_string()))
}

/// Another status.
pub(crate) fn refusal(status: u16, text: &'static str) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::from(text)).unwrap()
}

/// A bootstrap as a control plane would make it for `request`, with one listener that says "hello" on `port`.
pub(crate) fn envoy(request: &Value, port: u16) -> Value {
    let work_dir = request["workdir"].as_str().unwrap();
    json!({
        "node": {"id": "default.web", "cluster": "web"},
        "admin": {"address": {"pipe": {"path": format!("{work_dir}/kuma-envoy-admin.sock"), "mode": 384}}},
        "staticResources": {"listeners": [
            hello("hello", &json!({"socketAddress": {"address": "127.0.0.1", "portValue": port}}), "/", "hello")
        ]}
    })
}

/// A listener that answers `path` with `body`, as dynamic configuration is served.
pub(crate) fn hello(name: &str, address: &Value, path: &str, body: &str) -> Value {
    let tagged = json!([{"header": {"key": "etag", "value": "abc"}}]);
    json!({"name": name, "address": address, "filterChains": [{"filters": [{
        "name": "envoy.filters.network.http_connection_manager",
        "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "statPrefix": name,
            "routeConfig": {"virtualHosts": [{"name": name, "domains": ["*"], "routes": [{
                "match": {"path": path},
                "directResponse": {"status": 200, "body": {"inlineString": body}},
                "responseHeadersToAdd": tagged
            }]}]},
            "httpFilters": [{
                "name": "envoy.filters.http.router",
                "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
            }]
        }
    }]}]})
}
