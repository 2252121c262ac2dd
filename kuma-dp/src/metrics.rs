//! The metrics endpoint on a Unix socket: what Envoy counts, after what the bootstrap names besides, as one Prometheus text.
//!
//! `/meshmetric` and every other path answer alike: filtering, merging and relabelling by MeshMetric are not built yet.

use std::{
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Response, StatusCode,
    body::{Body, Frame},
    header,
};
use tokio::{
    net::UnixListener,
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bootstrap::request::ScrapeTarget,
    envoy::admin::Admin,
    http::{self, Limits, Peer},
};

const MOST_SCRAPES: usize = 16;
const TARGET_LIMITS: Limits =
    Limits { connect: Duration::from_secs(2), total: Duration::from_secs(10), body: 16 * 1024 * 1024 };
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is scraped.
#[derive(Debug)]
pub struct Sources {
    /// Envoy, last.
    pub admin: Admin,
    /// From the bootstrap, first.
    pub targets: Vec<ScrapeTarget>,
}

/// Binds the socket at `path` anew.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    http::clear_socket(path)?;
    UnixListener::bind(path)
}

/// Serves until `stop`.
pub async fn serve(listener: UnixListener, sources: Arc<Sources>, stop: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MOST_SCRAPES));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(slot)) = (accepted, slots.clone().try_acquire_owned()) else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let sources = sources.clone();
        tokio::spawn(async move {
            http::serve(stream, |_| scrape(sources.clone())).await;
            drop(slot);
        });
    }
}

async fn scrape(sources: Arc<Sources>) -> Response<Pieces> {
    let envoy = sources.admin.stats().await;
    if let Err(error) = &envoy {
        tracing::debug!(%error, "no statistics from Envoy");
    }
    let status =
        if envoy.is_err() && sources.targets.is_empty() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        for target in &sources.targets {
            match scrape_target(target).await {
                Ok(text) => {
                    if sender.send(tidy(&text)).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, target = target.name, "cannot scrape"),
            }
        }
        // Frame by frame: the statistics of a large mesh are never held here as a whole.
        let Ok(mut envoy) = envoy else { return };
        while let Some(Ok(frame)) = envoy.response.body_mut().frame().await {
            if let Ok(data) = frame.into_data()
                && sender.send(data).await.is_err()
            {
                return;
            }
        }
    });
    let mut response = Response::new(Pieces(receiver));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(CONTENT_TYPE));
    response
}

async fn scrape_target(target: &ScrapeTarget) -> anyhow::Result<Bytes> {
    let address = format!("{}:{}", target.address, target.port);
    let peer = Peer::Tcp(address.parse().map_err(|e| anyhow::anyhow!("{address:?} is not an address: {e}"))?);
    let response = http::send(&peer, http::get(&target.path), TARGET_LIMITS).await?;
    anyhow::ensure!(response.status() == StatusCode::OK, "status {}", response.status());
    Ok(response.into_body())
}

/// One body among several: no `# EOF` of its own, one newline at the end.
fn tidy(body: &Bytes) -> Bytes {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_end_matches('\n');
    let text = text.strip_suffix("# EOF").unwrap_or(text).trim_end_matches('\n');
    Bytes::from(if text.is_empty() { String::new() } else { format!("{text}\n") })
}

/// A body that comes through a channel.
struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use hyper::{Request, body::Incoming};
    use tokio::net::TcpListener;

    use super::*;

    /// Serves `body` for every request.
    async fn somebody(body: &'static str) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let answer = |_: Request<Incoming>| async move { Response::new(Full::from(body)) };
                http::serve(listener.accept().await.unwrap().0, answer).await;
            }
        });
        address
    }

    async fn scraped(sources: Sources) -> (u16, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mh.sock");
        let stop = CancellationToken::new();
        tokio::spawn(serve(bind(&path).unwrap(), Arc::new(sources), stop.clone()));
        let response = http::send(&Peer::Unix(path), http::get("/meshmetric"), TARGET_LIMITS).await.unwrap();
        stop.cancel();
        (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn everything_is_one_text_and_what_fails_is_left_out() {
        let application = somebody("# TYPE a counter\na 1\n# EOF\n\n").await;
        let target = |name: &str, port| ScrapeTarget {
            name: name.into(),
            address: "127.0.0.1".into(),
            port,
            path: "/metrics".into(),
        };
        let gone = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
        let sources = Sources {
            admin: Admin::new(Some(Peer::Tcp(somebody("envoy_server_live 1\n").await))),
            targets: vec![target("gone", gone), target("application", application.port())],
        };
        assert_eq!(scraped(sources).await, (200, "# TYPE a counter\na 1\nenvoy_server_live 1\n".into()));
    }

    #[tokio::test]
    async fn nothing_at_all_is_an_error() {
        let sources = Sources { admin: Admin::new(None), targets: Vec::new() };
        assert_eq!(scraped(sources).await, (503, String::new()));
    }
}
