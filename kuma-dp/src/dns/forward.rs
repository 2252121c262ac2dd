//! Passes a query on to the host's nameservers, one after the other, over the protocol that it came by.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::names::question_of;

/// For one nameserver.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answer of the first of `servers` that gives one over UDP; at most `size` bytes of it.
pub async fn over_udp(servers: &[SocketAddr], query: &[u8], size: u16) -> io::Result<Vec<u8>> {
    let mut last = no_servers();
    for server in servers {
        match timeout(PATIENCE, ask_udp(*server, query, size)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// The answer of the first of `servers` that gives one over TCP.
pub async fn over_tcp(servers: &[SocketAddr], query: &[u8]) -> io::Result<Vec<u8>> {
    let mut last = no_servers();
    for server in servers {
        match timeout(PATIENCE, ask_tcp(*server, query)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn no_servers() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "no nameserver is configured on this host")
}

async fn ask_udp(server: SocketAddr, query: &[u8], size: u16) -> io::Result<Vec<u8>> {
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    // A port of its own per query, which the kernel draws, and an answer from this server only.
    let socket = UdpSocket::bind(local).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; usize::from(size)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(query, &buffer[..length]) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, query).await?;
    let answer = read_message(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if answers(query, &answer) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether `answer` has the id and the question of `query`. Some servers leave the question out when they refuse.
fn answers(query: &[u8], answer: &[u8]) -> bool {
    if answer.len() < 12 || answer[..2] != query[..2] || answer[2] & 0x80 == 0 {
        return false;
    }
    match (question_of(query), question_of(answer)) {
        (Some((_, asked)), Some((_, answered))) => asked == answered,
        _ => true,
    }
}

/// Reads one message with its length in front; `None` at a clean end.
pub async fn read_message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// Writes one message with its length in front, in one piece.
pub async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}
