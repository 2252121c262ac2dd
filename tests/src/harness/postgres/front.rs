//! TLS for a server that was built without: what clients meet on its port, in the words of PostgreSQL.
//!
//! A client asks whether it may use TLS, is told yes, and shakes hands; or it begins with the handshake at once. What
//! it sends then goes to the server's socket. A client that does not ask for TLS is turned away, as by `hostssl`.
//! The server does not know of TLS, so it offers no channel binding.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{self, TcpStream, UnixStream},
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

/// Where the code of the protocol's version stands: may I use TLS?
const TLS_REQUEST: u32 = 80_877_103;
/// The same for GSSAPI.
const GSSAPI_REQUEST: u32 = 80_877_104;
/// The first byte of a handshake.
const HANDSHAKE: u8 = 0x16;
/// Longer than any first packet.
const LONGEST: u32 = 10_000;

/// A listener with TLS; it stops when dropped, and so do its connections.
#[derive(Debug)]
pub(super) struct Front {
    port: u16,
    _stop: oneshot::Sender<()>,
}

impl Front {
    /// Listens on a port of loopback, on behalf of the server whose socket for this port lies in the folder.
    pub(super) fn start(config: Arc<ServerConfig>, folder: &Path) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = folder.join(format!(".s.PGSQL.{port}"));
        let (stop, stopped) = oneshot::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    // It is dropped, not sent.
                    _ = stopped => {}
                    () = accept(listener, TlsAcceptor::from(config), server) => {}
                }
            });
        });
        Self { port, _stop: stop }
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, server: PathBuf) {
    let listener = net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let (tls, server) = (tls.clone(), server.clone());
        // Clients that hang up, or that the handshake turns away, are what tests are about.
        tokio::spawn(async move { serve(client, &tls, &server).await.ok() });
    }
}

async fn serve(mut client: TcpStream, tls: &TlsAcceptor, server: &Path) -> io::Result<()> {
    client.set_nodelay(true)?;
    if let Some(length) = begins_without_tls(&mut client).await? {
        return refuse(client, length).await;
    }
    let mut client = match tls.accept(client).into_fallible().await {
        Ok(client) => client,
        Err((_, mut client)) => {
            // Closing while there is something unread resets the connection, and the client may not see the reason.
            client.shutdown().await?;
            tokio::io::copy(&mut client, &mut tokio::io::sink()).await?;
            return Ok(());
        }
    };
    let mut server = UnixStream::connect(server).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Answers what comes before a handshake; the length of the packet if a client begins without TLS.
async fn begins_without_tls(client: &mut TcpStream) -> io::Result<Option<u32>> {
    let mut first = [0];
    client.peek(&mut first).await?;
    if first == [HANDSHAKE] {
        return Ok(None);
    }
    loop {
        let (length, code) = (client.read_u32().await?, client.read_u32().await?);
        match code {
            TLS_REQUEST => {
                client.write_all(b"S").await?;
                return Ok(None);
            }
            GSSAPI_REQUEST => client.write_all(b"N").await?,
            _ => return Ok(Some(length)),
        }
    }
}

/// Tells a client without TLS that there is no place for it.
async fn refuse(mut client: TcpStream, length: u32) -> io::Result<()> {
    let mut rest = vec![0; length.saturating_sub(8).min(LONGEST) as usize];
    client.read_exact(&mut rest).await?;
    let mut fields = Vec::new();
    for (kind, value) in [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', "28000"),
        (b'M', "no pg_hba.conf entry for host \"127.0.0.1\", no encryption"),
    ] {
        fields.push(kind);
        fields.extend(value.as_bytes());
        fields.push(0);
    }
    fields.push(0);
    client.write_u8(b'E').await?;
    client.write_u32(fields.len() as u32 + 4).await?;
    client.write_all(&fields).await?;
    client.shutdown().await
}
