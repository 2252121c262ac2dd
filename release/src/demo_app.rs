//! The applications of the quickstart, a hidden command: plain HTTP servers that know nothing of a mesh.
//!
//! A backend says which version it is, and takes its time on `/slow`. A frontend asks its upstream and tells what
//! came back. Written on threads and blocking sockets, since a handful of connections is all they ever see.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::quickstart::http;

/// How long a backend needs for `/slow`.
pub const SLOW: Duration = Duration::from_secs(1);

/// What a demo application is.
#[derive(Debug, Clone, clap::Args)]
pub struct App {
    /// What it calls itself in answers
    #[arg(long)]
    name: String,
    /// The address to serve on
    #[arg(long)]
    listen: SocketAddr,
    /// Ask this address for the answer instead of answering
    #[arg(long)]
    upstream: Option<SocketAddr>,
}

/// Serves until it is killed.
pub fn run(app: App) -> Result<()> {
    let listener = TcpListener::bind(app.listen).with_context(|| format!("cannot listen on {}", app.listen))?;
    eprintln!("{} listens on {}", app.name, listener.local_addr()?);
    for connection in listener.incoming() {
        let app = app.clone();
        match connection {
            Ok(connection) => drop(thread::spawn(move || serve(&app, &connection))),
            Err(error) => eprintln!("{}: cannot accept a connection: {error}", app.name),
        }
    }
    Ok(())
}

/// Answers requests until the client hangs up; a broken connection concerns nobody else.
fn serve(app: &App, connection: &TcpStream) {
    let mut reader = BufReader::new(connection);
    while let Ok(Some(request)) = Request::read(&mut reader) {
        let (status, body) = app.answer(&request);
        let reason = if status == 200 { "OK" } else { "Not OK" };
        let head = format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut out = connection;
        if out.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).is_err() {
            return;
        }
        if request.last {
            return;
        }
    }
}

impl App {
    fn answer(&self, request: &Request) -> (u16, String) {
        let Some(upstream) = self.upstream else {
            if request.path == "/slow" {
                thread::sleep(SLOW);
            }
            return (200, format!("{}\n", self.name));
        };
        let version = request.version.as_deref().map(|version| ("x-version", version));
        let started = Instant::now();
        match http::get(upstream, &request.path, version.as_slice(), Duration::from_secs(30)) {
            Ok(answer) => {
                let took = started.elapsed().as_secs_f32() * 1000.0;
                let text = answer.body.trim();
                (answer.status, format!("{} got {} in {took:.1} ms: {text}\n", self.name, answer.status))
            }
            Err(error) => (502, format!("{} cannot reach its upstream: {error:#}\n", self.name)),
        }
    }
}

/// The parts of a request that the demo looks at.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    path: String,
    /// The `x-version` header.
    version: Option<String>,
    /// Whether the client wants the connection closed.
    last: bool,
}

impl Request {
    /// The next request of a connection, its body skipped; `None` at the end.
    fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let path = line.split_whitespace().nth(1).unwrap_or("/").to_owned();
        let (mut version, mut length, mut last) = (None, 0u64, false);
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "x-version" => version = Some(value.trim().to_owned()),
                "connection" => last = value.trim().eq_ignore_ascii_case("close"),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
        Ok(Some(Self { path, version, last }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(name: &str, upstream: Option<SocketAddr>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap();
        let app = App { name: name.into(), listen, upstream };
        thread::spawn(move || {
            for connection in listener.incoming() {
                let app = app.clone();
                thread::spawn(move || serve(&app, &connection.unwrap()));
            }
        });
        listen
    }

    fn get(address: SocketAddr, path: &str) -> http::Answer {
        http::get(address, path, &[], Duration::from_secs(5)).unwrap()
    }

    #[test]
    fn a_backend_names_itself() {
        let backend = start("backend v1", None);
        assert_eq!(get(backend, "/").body, "backend v1\n");
        let started = Instant::now();
        assert_eq!(get(backend, "/slow").status, 200);
        assert!(started.elapsed() >= SLOW);
    }

    #[test]
    fn a_frontend_tells_what_its_upstream_said() {
        let frontend = start("frontend", Some(start("backend v2", None)));
        let answer = get(frontend, "/");
        assert!(answer.body.starts_with("frontend got 200 in "), "{}", answer.body);
        assert!(answer.body.ends_with(": backend v2\n"), "{}", answer.body);
    }

    #[test]
    fn a_frontend_without_upstream_answers_502() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(get(start("frontend", Some(free)), "/").status, 502);
    }

    #[test]
    fn requests_follow_each_other_on_a_connection() {
        let text = "POST /a HTTP/1.1\r\nContent-Length: 3\r\nX-Version: v2\r\n\r\nabcGET /b HTTP/1.1\r\nConnection: Close\r\n\r\n";
        let mut reader = text.as_bytes();
        let first = Request::read(&mut reader).unwrap();
        assert_eq!(first, Some(Request { path: "/a".into(), version: Some("v2".into()), last: false }));
        let second = Request::read(&mut reader).unwrap();
        assert_eq!(second, Some(Request { path: "/b".into(), version: None, last: true }));
        assert_eq!(Request::read(&mut reader).unwrap(), None);
    }
}
