//! `kuma-dp wait`: asks until the data plane proxy says that it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, bail};
use hyper::{StatusCode, Uri};
use tokio::time::Instant;

use crate::{
    cli::WaitFlags,
    http::{self, Limits, Peer},
};

const LONGEST_BODY: usize = 64 * 1024;

/// Whom to ask, and for what.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    peers: Vec<Peer>,
    path: String,
}

impl Target {
    fn new(flags: &WaitFlags) -> anyhow::Result<Self> {
        if !flags.unix_socket.is_empty() {
            return Ok(Self { peers: vec![Peer::Unix(flags.unix_socket.clone().into())], path: "/ready".into() });
        }
        let uri: Uri = flags.url.parse().with_context(|| format!("--url {:?} is not a URL", flags.url))?;
        if uri.scheme_str() != Some("http") {
            bail!("--url {:?} must begin with http://", flags.url);
        }
        let v4 = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        let addresses = match uri.host() {
            Some("localhost") => vec![v4, v6],
            Some("127.0.0.1") => vec![v4],
            Some("::1" | "[::1]") => vec![v6],
            _ => bail!("--url {:?} must lead to this machine: localhost, 127.0.0.1 or ::1", flags.url),
        };
        let port = uri.port_u16().unwrap_or(80);
        let peers = addresses.into_iter().map(|ip| Peer::Tcp(SocketAddr::new(ip, port))).collect();
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        Ok(Self { peers, path })
    }

    /// What the last peer that was asked said, if that is not yet "ready".
    async fn problem(&self, limits: Limits) -> Option<String> {
        let mut problem = None;
        for peer in &self.peers {
            problem = match http::send(peer, http::get(&self.path), limits).await {
                Ok(response) if response.status() == StatusCode::OK => return None,
                Ok(response) => {
                    let body = String::from_utf8_lossy(response.body()).trim().to_owned();
                    Some(format!("{} {body}", response.status().as_u16()))
                }
                // A refused second family must not hide what the first one said.
                Err(error) if error.is_absent() && problem.is_some() => problem,
                Err(error) => Some(error.to_string()),
            };
        }
        problem
    }
}

/// Waits as `flags` say; an error when time is up.
pub async fn wait(flags: &WaitFlags) -> anyhow::Result<()> {
    let target = Target::new(flags)?;
    let frequency = flags.check_frequency.to_std().max(std::time::Duration::from_millis(1));
    let request_timeout = flags.request_timeout.to_std();
    let limits = Limits { connect: request_timeout, total: request_timeout, body: LONGEST_BODY };
    let deadline = Instant::now() + flags.timeout.to_std();
    let mut problem = "nothing was asked yet".to_owned();
    loop {
        let next = Instant::now() + frequency;
        if next > deadline {
            tokio::time::sleep_until(deadline).await;
            bail!("the data plane proxy was not ready within {}: {problem}", flags.timeout);
        }
        tokio::time::sleep_until(next).await;
        match target.problem(limits).await {
            None => {
                tracing::info!("the data plane proxy is ready");
                return Ok(());
            }
            Some(now) => {
                tracing::info!(answer = now, "the data plane proxy is not ready yet");
                problem = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use clap::Parser;
    use http_body_util::Full;
    use hyper::{Request, Response, body::Incoming};
    use tokio::net::TcpListener;

    use super::*;
    use crate::cli::{Cli, Command};

    fn flags(args: &[&str]) -> WaitFlags {
        match Cli::try_parse_from(["kuma-dp", "wait"].iter().chain(args)).unwrap().command {
            Command::Wait(flags) => flags,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_this_machine_is_asked() {
        let peers = |url| Target::new(&flags(&["--url", url])).map(|t| t.peers.len());
        assert_eq!(peers("http://localhost:9902/ready").unwrap(), 2);
        assert_eq!(peers("http://[::1]:9902/ready").unwrap(), 1);
        assert!(peers("http://10.0.0.1:9902/ready").unwrap_err().to_string().contains("this machine"));
        assert!(peers("https://localhost/ready").is_err());
        let socket = Target::new(&flags(&["--unix-socket", "/a.sock", "--url", "http://elsewhere"])).unwrap();
        assert_eq!(socket, Target { peers: vec![Peer::Unix("/a.sock".into())], path: "/ready".into() });
    }

    #[tokio::test]
    async fn waits_until_the_answer_is_ok() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://127.0.0.1:{}/ready", listener.local_addr().unwrap().port());
        let server = tokio::spawn(async move {
            for status in [503, 503, 200] {
                let answer = |_: Request<Incoming>| async move {
                    Response::builder().status(status).body(Full::<Bytes>::default()).unwrap()
                };
                http::serve(listener.accept().await.unwrap().0, answer).await;
            }
        });
        wait(&flags(&["--url", &url, "--check-frequency", "10ms"])).await.unwrap();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn gives_up_in_time_and_says_what_it_heard() {
        let gone = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
        let url = format!("http://127.0.0.1:{gone}/ready");
        let args = ["--url", &url, "--check-frequency", "20ms", "--timeout", "100ms"];
        let error = wait(&flags(&args)).await.unwrap_err().to_string();
        assert!(error.starts_with("the data plane proxy was not ready within 100ms: cannot connect"), "{error}");
    }
}
