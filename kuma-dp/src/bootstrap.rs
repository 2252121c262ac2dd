//! Fetches Envoy's bootstrap from the control plane: one POST, repeated while that can help, with words for what went wrong.

pub mod address;
pub mod request;
pub mod stats;
pub mod tls;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, header};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;

use self::{
    address::{AddressError, CpAddress},
    request::{BadAnswer, Bootstrap, BootstrapRequest},
    tls::{Trust, TrustError},
};
use crate::http::{self, HttpError};

/// For one try.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most characters of an answer that is no bootstrap.
const LONGEST_REASON: usize = 500;
/// Longest answer.
const LONGEST_ANSWER: usize = 8 * 1024 * 1024;

const NOT_FOUND: &str = "Dataplane entity not found. If you are running on Universal please create a Dataplane entity on \
kuma-cp before starting kuma-dp or pass it to kuma-dp run --dataplane-file=/file. If you are running on Kubernetes, please \
check the kuma-cp logs to determine why the Dataplane entity could not be created by the automatic sidecar injection.";

/// A try that failed.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// `--cp-address` is not usable.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The CA is not usable.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The control plane refuses the request as it is.
    #[error("Invalid request: {0}")]
    Refused(String),
    /// The control plane does not take the token.
    #[error("Invalid request: {0}")]
    Unproven(String),
    /// The control plane does not know the Dataplane (yet).
    #[error("{NOT_FOUND}")]
    NotFound,
    /// That is the port of the REST API.
    #[error(
        "there is no /bootstrap at {0}: that is the port of the REST API (5681 by default); \
         --cp-address needs the data plane server's (5678 by default)"
    )]
    WrongPort(String),
    /// The control plane has trouble of its own.
    #[error("unexpected status code: {status}{}", after_colon(.body))]
    Status {
        /// The status.
        status: StatusCode,
        /// What it says about it.
        body: String,
    },
    /// The name does not resolve.
    #[error("cannot resolve {host:?}, the host of --cp-address: {source}")]
    Resolve {
        /// As given.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody answers there.
    #[error("cannot reach the control plane at {authority}: {source}; is kuma-cp running, and is --cp-address right?")]
    Unreachable {
        /// `host:port`.
        authority: String,
        /// Why.
        source: std::io::Error,
    },
    /// TLS did not come about.
    #[error("no TLS with the control plane at {authority}: {reason}")]
    Tls {
        /// `host:port`.
        authority: String,
        /// In words.
        reason: String,
    },
    /// It took too long.
    #[error("the control plane at {0} did not answer within {TRY_TIMEOUT:?}")]
    Timeout(String),
    /// It hung up, or does not speak HTTP.
    #[error("the exchange with the control plane at {authority} failed: {source}{hint}")]
    Exchange {
        /// `host:port`.
        authority: String,
        /// Why.
        source: HttpError,
        /// What it may mean, or nothing.
        hint: &'static str,
    },
    /// 200 with something else.
    #[error(transparent)]
    Answer(#[from] BadAnswer),
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl TryError {
    /// Whether the same request may succeed later.
    pub const fn is_temporary(&self) -> bool {
        !matches!(self, Self::Address(_) | Self::Trust(_) | Self::Refused(_) | Self::Unproven(_))
    }
}

/// How often and how long to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between two tries.
    pub backoff: Duration,
    /// From the first try.
    pub total: Duration,
}

/// Everything that one try needs; made anew for each, as files may appear meanwhile.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Whom to trust.
    pub trust: Trust,
    /// What to ask.
    pub request: BootstrapRequest,
    /// A control plane of this machine left the token, and one that starts leaves another.
    pub renewable_token: bool,
}

/// Tries until there is a bootstrap, patience ends, or trying cannot help; `attempt` prepares each try, `failed_once` hears
/// of each that is not the last.
pub async fn fetch(
    url: &str,
    patience: Patience,
    mut attempt: impl FnMut() -> anyhow::Result<Attempt>,
    failed_once: impl Fn(&TryError),
) -> anyhow::Result<Bootstrap> {
    let address = CpAddress::parse(url).map_err(failed)?;
    let begin = Instant::now();
    loop {
        let attempt = attempt()?;
        let renewable_token = attempt.renewable_token;
        let error = match once(&address, attempt).await {
            Ok(bootstrap) => return Ok(bootstrap),
            Err(error) => error,
        };
        let token_may_change = renewable_token && matches!(error, TryError::Unproven(_));
        if !error.is_temporary() && !token_may_change {
            return Err(failed(error));
        }
        if begin.elapsed() + patience.backoff > patience.total {
            let tried = begin.elapsed().as_secs();
            return Err(failed(error).context(format!("no bootstrap after trying for {tried}s")));
        }
        tracing::warn!(%error, "no bootstrap from the control plane yet, trying again in {:?}", patience.backoff);
        failed_once(&error);
        tokio::time::sleep(patience.backoff).await;
    }
}

fn failed(error: impl Into<TryError>) -> anyhow::Error {
    anyhow::anyhow!("Failed to fetch Envoy bootstrap config. {}", error.into())
}

/// One request and its answer.
async fn once(address: &CpAddress, attempt: Attempt) -> Result<Bootstrap, TryError> {
    let response = tokio::time::timeout(TRY_TIMEOUT, ask(address, attempt)).await;
    let response = response.map_err(|_| TryError::Timeout(address.authority.clone()))??;
    judge(&address.authority, &response)
}

async fn ask(address: &CpAddress, attempt: Attempt) -> Result<Response<Bytes>, TryError> {
    let authority = &address.authority;
    let request = post(authority, &attempt.request);
    let exchange_failed = |source: HttpError| {
        let hint = if address.tls { "" } else { " (a server that speaks TLS wants https:// in --cp-address)" };
        TryError::Exchange { authority: authority.clone(), source, hint }
    };
    let stream = connect(address).await?;
    if !address.tls {
        return http::exchange(stream, request, LONGEST_ANSWER).await.map_err(exchange_failed);
    }
    let config = tls::client_config(&attempt.trust)?;
    let tls_failed = |reason: String| TryError::Tls { authority: authority.clone(), reason };
    let name = ServerName::try_from(address.host.clone()).map_err(|e| tls_failed(e.to_string()))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
        tls_failed(inner.map_or_else(|| error.to_string(), |e| tls::explain(e, &attempt.trust)))
    })?;
    http::exchange(stream, request, LONGEST_ANSWER).await.map_err(exchange_failed)
}

/// Connects to the first address of the host that answers.
async fn connect(address: &CpAddress) -> Result<TcpStream, TryError> {
    let resolve = |source| TryError::Resolve { host: address.host.clone(), source };
    let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await.map_err(resolve)?;
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no addresses");
    for candidate in found {
        match TcpStream::connect(candidate).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(TryError::Unreachable { authority: address.authority.clone(), source: last })
}

fn post(authority: &str, body: &BootstrapRequest) -> Request<Full<Bytes>> {
    // Serializing plain structs to memory cannot fail.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut request = http::post("/bootstrap");
    *request.body_mut() = Full::from(body);
    let json = header::HeaderValue::from_static("application/json");
    request.headers_mut().insert(header::ACCEPT, json.clone());
    request.headers_mut().insert(header::CONTENT_TYPE, json);
    if let Ok(host) = header::HeaderValue::from_str(authority) {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}

fn judge(authority: &str, response: &Response<Bytes>) -> Result<Bootstrap, TryError> {
    let body = String::from_utf8_lossy(response.body());
    match response.status() {
        StatusCode::OK => Ok(Bootstrap::parse(response.body())?),
        StatusCode::NOT_FOUND if body.is_empty() => Err(TryError::NotFound),
        StatusCode::NOT_FOUND if body.starts_with("404: Page Not Found") => {
            Err(TryError::WrongPort(authority.to_owned()))
        }
        StatusCode::UNAUTHORIZED if !body.trim().is_empty() => Err(TryError::Unproven(body.trim().to_owned())),
        status if status.is_client_error() && body.trim().is_empty() => Err(TryError::Refused(status.to_string())),
        status if status.is_client_error() => Err(TryError::Refused(body.trim().to_owned())),
        status => Err(TryError::Status { status, body: body.trim().chars().take(LONGEST_REASON).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, body: &str) -> TryError {
        let mut response = Response::new(Bytes::from(body.to_owned()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        judge("cp:5678", &response).unwrap_err()
    }

    #[test]
    fn answers_decide_whether_to_try_again() {
        for (status, body, temporary, text) in [
            (404, "", true, "Dataplane entity not found. If you are running on Universal please"),
            (404, "404: Page Not Found", true, "there is no /bootstrap at cp:5678"),
            (404, "404 page not found\n", false, "Invalid request: 404 page not found"),
            (422, "mesh: mesh \"zzz\" does not exist", false, "Invalid request: mesh: mesh \"zzz\" does not exist"),
            (400, "", false, "Invalid request: 400 Bad Request"),
            (401, "authentication failed: no", false, "Invalid request: authentication failed: no"),
            (500, "", true, "unexpected status code: 500 Internal Server Error"),
            (503, "not yet\n", true, "unexpected status code: 503 Service Unavailable: not yet"),
            (200, "hello", true, "the control plane's answer is not a bootstrap response"),
        ] {
            let error = verdict(status, body);
            assert_eq!(error.is_temporary(), temporary, "{status} {body}");
            assert!(error.to_string().starts_with(text), "{error}");
        }
    }
}
