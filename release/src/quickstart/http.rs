//! One GET over a fresh connection: all that the quickstart asks of HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, which is taken for text.
    pub body: String,
}

/// Asks for `path`, and reads the whole answer within `patience`.
pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)], patience: Duration) -> Result<Answer> {
    let mut connection =
        TcpStream::connect_timeout(&address, patience).with_context(|| format!("connecting to {address}"))?;
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))?;
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    connection.write_all(request.as_bytes())?;
    // The end of the connection is the end of the answer: that is what `connection: close` asks for.
    let mut bytes = Vec::new();
    let read = connection.read_to_end(&mut bytes);
    match parse(&bytes) {
        Ok(answer) => Ok(answer),
        Err(_) if read.is_err() => bail!("{address} did not answer within {patience:?}"),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8]) -> Result<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("the answer ends within its head")?;
    let (head, rest) = bytes.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status =
        head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).context("the answer has no status")?;
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let rest = rest.get(4..).unwrap_or_default();
    let body = match header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        Some(length) => rest.get(..length).context("the answer is cut short")?.to_vec(),
        None if header("transfer-encoding") == Some("chunked") => unchunk(rest)?,
        None => rest.to_vec(),
    };
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").context("a chunk without size")?;
        let (line, after) = rest.split_at(end);
        let line = String::from_utf8_lossy(line);
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            return Ok(body);
        }
        let after = after.get(2..).unwrap_or_default();
        body.extend_from_slice(after.get(..size).context("the answer is cut short")?);
        rest = after.get(size + 2..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answer: &str) -> Result<(u16, String)> {
        parse(answer.as_bytes()).map(|answer| (answer.status, answer.body))
    }

    #[test]
    fn reads_the_three_ways_to_end_a_body() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").unwrap(), (200, "ab".into()));
        let chunked = "HTTP/1.1 404 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
        assert_eq!(body(chunked).unwrap(), (404, "abcde".into()));
        assert_eq!(body("HTTP/1.0 204 X\r\n\r\n").unwrap(), (204, String::new()));
    }

    #[test]
    fn refuses_a_cut_answer() {
        assert!(body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").is_err());
        assert!(body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc").is_err());
        assert!(body("HTTP/1.1 200").is_err());
    }
}
