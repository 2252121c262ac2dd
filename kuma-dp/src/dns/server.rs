//! The sockets of the DNS server: takes queries, bounded in number, and sends back what [`names`](super::names) or a
//! nameserver says.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, RwLock},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    forward,
    names::{Names, Verdict, server_failure},
};

/// Queries under way at once; more are dropped, and clients ask again.
const MOST_QUERIES: usize = 256;
/// TCP clients at once; more wait in the kernel.
const MOST_CLIENTS: usize = 64;
/// Silence after which a TCP client is let go.
const IDLE: Duration = Duration::from_secs(10);
/// Queries are short.
const LONGEST_UDP_QUERY: usize = 4096;

/// The DNS server without its sockets. Cheap to share.
#[derive(Debug)]
pub struct DnsServer {
    names: RwLock<Arc<Names>>,
    servers: Vec<SocketAddr>,
    queries: Arc<Semaphore>,
    clients: Arc<Semaphore>,
}

impl DnsServer {
    /// Knows no names yet; asks `servers` for everything else.
    pub fn new(servers: Vec<SocketAddr>) -> Arc<Self> {
        Arc::new(Self {
            names: RwLock::default(),
            servers,
            queries: Arc::new(Semaphore::new(MOST_QUERIES)),
            clients: Arc::new(Semaphore::new(MOST_CLIENTS)),
        })
    }

    /// Replaces all names at once.
    pub fn set_names(&self, names: Names) {
        *self.names.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(names);
    }

    fn judge(&self, query: &[u8]) -> Verdict {
        let names = self.names.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        names.judge(query)
    }

    /// Serves UDP on `socket` until `stop`.
    pub async fn serve_udp(self: Arc<Self>, socket: std::net::UdpSocket, stop: CancellationToken) -> io::Result<()> {
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let mut buffer = vec![0; LONGEST_UDP_QUERY];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = socket.recv_from(&mut buffer) => received,
            };
            // An error here is about an earlier answer that could not be delivered.
            let Ok((length, client)) = received else { continue };
            let query = &buffer[..length];
            match self.judge(query) {
                Verdict::Answer(answer) => drop(socket.send_to(&answer, client).await),
                Verdict::Ignore => {}
                Verdict::Forward(size) => {
                    let Ok(slot) = self.queries.clone().try_acquire_owned() else { continue };
                    let (this, socket, query) = (self.clone(), socket.clone(), query.to_vec());
                    tokio::spawn(async move {
                        let answer = forward::over_udp(&this.servers, &query, size).await;
                        if let Some(answer) = or_failure(answer, &query) {
                            let _ = socket.send_to(&answer, client).await;
                        }
                        drop(slot);
                    });
                }
            }
        }
    }

    /// Serves TCP on `listener` until `stop`.
    pub async fn serve_tcp(
        self: Arc<Self>,
        listener: std::net::TcpListener,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let accept = async {
                let slot = self.clients.clone().acquire_owned().await;
                (slot, listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                accepted = accept => accepted,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let (this, stop) = (self.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    _ = this.serve_client(stream) => {}
                }
                drop(slot);
            });
        }
    }

    async fn serve_client(&self, mut stream: TcpStream) -> io::Result<()> {
        while let Some(query) = timeout(IDLE, forward::read_message(&mut stream)).await?? {
            let answer = match self.judge(&query) {
                Verdict::Answer(answer) => Some(answer),
                Verdict::Ignore => None,
                Verdict::Forward(_) => or_failure(forward::over_tcp(&self.servers, &query).await, &query),
            };
            let Some(answer) = answer else { break };
            timeout(IDLE, forward::write_message(&mut stream, &answer)).await??;
        }
        Ok(())
    }
}

fn or_failure(answer: io::Result<Vec<u8>>, query: &[u8]) -> Option<Vec<u8>> {
    answer.map_or_else(
        |error| {
            tracing::debug!(%error, "no nameserver answered");
            server_failure(query)
        },
        Some,
    )
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use hickory_proto::{
        op::{Message, Query, ResponseCode},
        rr::{Name, RData, Record, RecordType, rdata::A},
    };

    use super::*;
    use crate::{
        dynconf::{DnsConfig, DnsRecord},
        ports::Wish,
    };

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A server with one mesh name; the address serves both protocols.
    fn start(servers: Vec<SocketAddr>) -> SocketAddr {
        let wish = Wish { purpose: "DNS", setting: "--dns-proxy-port", port: 20_053, fixed: false };
        let (port, mut sockets) = wish.udp_and_tcp(&[HERE]).unwrap();
        let (udp, tcp) = sockets.remove(0);
        let server = DnsServer::new(servers);
        let record = DnsRecord { name: "web.mesh".into(), ips: vec!["241.0.0.7".into()] };
        server.set_names(Names::new(&DnsConfig { records: vec![record], ttl: 30, ..DnsConfig::default() }));
        tokio::spawn(server.clone().serve_udp(udp, CancellationToken::new()));
        tokio::spawn(server.serve_tcp(tcp, CancellationToken::new()));
        (HERE, port).into()
    }

    /// A nameserver that says 10.9.8.7 to everything; over UDP, or over TCP.
    async fn nameserver(over_tcp: bool) -> SocketAddr {
        let reply = |query: &[u8]| {
            let query = Message::from_vec(query).unwrap();
            let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
            let question = query.queries[0].clone();
            answer.answers = vec![Record::from_rdata(question.name().clone(), 60, RData::A(A::new(10, 9, 8, 7)))];
            answer.add_query(question);
            answer.to_vec().unwrap()
        };
        if over_tcp {
            let listener = TcpListener::bind((HERE, 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let query = forward::read_message(&mut stream).await.unwrap().unwrap();
                forward::write_message(&mut stream, &reply(&query)).await.unwrap();
            });
            return address;
        }
        let socket = UdpSocket::bind((HERE, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
            // A forged answer first: another id, so it must be passed over.
            let mut forged = reply(&buffer[..length]);
            forged[0] ^= 0xff;
            socket.send_to(&forged, client).await.unwrap();
            socket.send_to(&reply(&buffer[..length]), client).await.unwrap();
        });
        address
    }

    fn query(name: &str) -> Vec<u8> {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    }

    async fn ask_udp(server: SocketAddr, name: &str) -> Message {
        let answer = forward::over_udp(&[server], &query(name), 512).await.unwrap();
        Message::from_vec(&answer).unwrap()
    }

    #[tokio::test]
    async fn mesh_names_over_both_protocols() {
        let server = start(Vec::new());
        let expected = RData::A(A::new(241, 0, 0, 7));
        assert_eq!(ask_udp(server, "web.mesh.").await.answers[0].data, expected);
        let answer = forward::over_tcp(&[server], &query("WEB.mesh.")).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().answers[0].data, expected);
    }

    #[tokio::test]
    async fn other_names_go_to_the_next_nameserver_that_answers() {
        let dead = { std::net::UdpSocket::bind((HERE, 0)).unwrap().local_addr().unwrap() };
        let server = start(vec![dead, nameserver(false).await]);
        assert_eq!(ask_udp(server, "example.com.").await.answers[0].data, RData::A(A::new(10, 9, 8, 7)));
        let server = start(vec![nameserver(true).await]);
        let answer = forward::over_tcp(&[server], &query("example.com.")).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().answers[0].data, RData::A(A::new(10, 9, 8, 7)));
    }

    #[tokio::test]
    async fn without_a_nameserver_foreign_names_fail_at_once() {
        let answer = ask_udp(start(Vec::new()), "example.com.").await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(answer.queries[0].name().to_ascii(), "example.com.");
    }
}
