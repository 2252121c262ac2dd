//! A small HTTP/1.1 client that repeats nothing: a request that fails is a failed request.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long any step of a request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Whom to ask.
#[derive(Clone, Debug)]
pub enum Peer {
    /// By address and port.
    Tcp(SocketAddr),
    /// By the path of a socket.
    Unix(PathBuf),
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Path> for Peer {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body, taken for UTF-8.
    pub body: String,
    /// After how many seconds to ask again, as the server says.
    pub retry_after: Option<String>,
}

/// A client that keeps its connection as long as the server does.
pub struct Client {
    peer: Peer,
    stream: Option<BufReader<Box<dyn Stream>>>,
}

impl Client {
    /// A client that has no connection yet.
    pub fn new(peer: impl Into<Peer>) -> Self {
        Self { peer: peer.into(), stream: None }
    }

    /// Sends one request and reads the whole answer. After an error the next request uses a new connection.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, String> {
        let reused = self.stream.is_some();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().map_err(|error| format!("cannot connect: {error}"))?,
        };
        let told = |what: &str, error: std::io::Error| {
            format!("{what} on a {} connection: {error}", if reused { "reused" } else { "new" })
        };
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: mesh.test\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let socket = stream.get_mut();
        // A server that refuses a body may answer and close while it is still being sent.
        let written = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(body));
        let (answer, stays) = match read(&mut stream) {
            Ok(read) => read,
            Err(error) => return Err(told("no answer", written.err().unwrap_or(error))),
        };
        if stays && written.is_ok() {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> std::io::Result<BufReader<Box<dyn Stream>>> {
        let stream: Box<dyn Stream> = match &self.peer {
            Peer::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, TIMEOUT)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
            Peer::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                Box::new(stream)
            }
        };
        Ok(BufReader::new(stream))
    }
}

/// One GET over a connection of its own.
pub fn get(peer: impl Into<Peer>, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    Client::new(peer).send("GET", path, headers, b"")
}

/// The answer, and whether the connection stays open.
fn read(stream: &mut BufReader<Box<dyn Stream>>) -> std::io::Result<(Answer, bool)> {
    let bad = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(bad("closed before an answer"));
    }
    let status = line.split_whitespace().nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| bad("no status"))?;
    let (mut length, mut chunked, mut stays, mut retry_after) = (None, false, true, None);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(bad("closed within the head of an answer"));
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match (name.to_ascii_lowercase().as_str(), value.trim().to_ascii_lowercase().as_str()) {
            ("content-length", value) => length = Some(value.parse::<usize>().map_err(|_| bad("no length"))?),
            ("transfer-encoding", "chunked") => chunked = true,
            ("connection", "close") => stays = false,
            ("retry-after", value) => retry_after = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| bad("a chunk without size"))?;
            let before = body.len();
            body.resize(before + size, 0);
            stream.read_exact(&mut body[before..])?;
            stream.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = length {
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
    } else if status != 204 {
        stays = false;
        stream.read_to_end(&mut body)?;
    }
    Ok((Answer { status, body: String::from_utf8_lossy(&body).into_owned(), retry_after }, stays))
}
