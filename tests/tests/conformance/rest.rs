//! Asks the REST API in the process, as a client on the same host.

use std::net::SocketAddr;

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::connect_info::ConnectInfo,
    http::{Request, StatusCode},
};
use tower::ServiceExt;

/// Where the API thinks it listens.
pub(crate) const ADDRESS: &str = "127.0.0.1:5681";

/// Sends one request and reads the answer.
pub(crate) async fn ask(
    router: Router,
    method: &str,
    path: &str,
    json: Option<String>,
) -> Result<(StatusCode, String), String> {
    let mut request = Request::builder().method(method).uri(path).header("Host", ADDRESS);
    if json.is_some() {
        request = request.header("Content-Type", "application/json");
    }
    let mut request = request.body(Body::from(json.unwrap_or_default())).map_err(|e| e.to_string())?;
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40000))));
    let response = router.oneshot(request).await.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.map_err(|e| e.to_string())?;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
