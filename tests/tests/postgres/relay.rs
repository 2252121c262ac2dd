//! Faults of the network, seen from a client of a server that is well.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use tests::harness::{postgres::Postgres, relay::Relay};

/// May I use TLS? A server that was built without answers `N`.
const QUESTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// The same for GSSAPI, which may come before.
const FIRST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

fn client(relay: &Relay) -> TcpStream {
    let socket = TcpStream::connect(relay.address()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

/// What the server answers, or how waiting for it ended.
fn ask(mut socket: &TcpStream, question: [u8; 8]) -> Result<u8, ErrorKind> {
    let mut answer = [0];
    let asked = socket.write_all(&question).and_then(|()| socket.read_exact(&mut answer));
    asked.map(|()| answer[0]).map_err(|error| error.kind())
}

#[test]
fn databases_are_reached_through_a_relay() {
    let server = Postgres::shared();
    let relay = Relay::start(0, server.address());
    let database = server.fresh_database().at(relay.address());
    assert_eq!(database.try_sql_as_owner("SELECT 5").unwrap(), "5");
}

#[test]
fn answers_come_later_by_the_latency() {
    let relay = Relay::start(0, Postgres::shared().address());
    let socket = client(&relay);
    assert_eq!(ask(&socket, FIRST), Ok(b'N'));
    relay.set_latency(Duration::from_millis(300));
    let begin = Instant::now();
    assert_eq!(ask(&client(&relay), QUESTION), Ok(b'N'));
    assert!(begin.elapsed() >= Duration::from_millis(300), "{:?}", begin.elapsed());
    // Whoever waits when it ends waits no longer.
    relay.set_latency(Duration::from_hours(1));
    let waiting = client(&relay);
    (&waiting).write_all(&QUESTION).unwrap();
    waiting.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert_eq!((&waiting).read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    relay.set_latency(Duration::ZERO);
    waiting.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!((&waiting).read(&mut [0]).unwrap(), 1);
}

#[test]
fn a_blackhole_swallows_everything_and_tells_nobody() {
    let relay = Relay::start(0, Postgres::shared().address());
    let (old, patience) = (client(&relay), Some(Duration::from_millis(300)));
    assert_eq!(ask(&old, FIRST), Ok(b'N'));
    relay.set_blackhole(true);
    let new = client(&relay);
    for socket in [&old, &new] {
        socket.set_read_timeout(patience).unwrap();
        assert_eq!(ask(socket, QUESTION), Err(ErrorKind::WouldBlock), "no answer, and no end");
    }
    relay.set_blackhole(false);
    for mut socket in [&old, &new] {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = [0];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer, *b"N", "what was sent has arrived");
    }
}

#[test]
fn connections_are_reset_also_within_a_blackhole_and_new_ones_work() {
    let relay = Relay::start(0, Postgres::shared().address());
    for is_blackhole in [false, true] {
        let old = client(&relay);
        assert_eq!(ask(&old, FIRST), Ok(b'N'));
        relay.set_blackhole(is_blackhole);
        assert_eq!(relay.reset_all(), 1);
        assert_eq!((&old).read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        relay.set_blackhole(false);
        assert_eq!(ask(&client(&relay), QUESTION), Ok(b'N'));
        // The one before is gone as soon as its client is.
        assert!(relay.reset_all() <= 1);
    }
}
