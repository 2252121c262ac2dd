//! A TCP relay in front of a server, for faults of the network between: connections of some processes wait, answers
//! come late or not at all, everything is reset.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc::linger,
    sys::socket::{setsockopt, sockopt::Linger},
};

/// Bytes that are passed on in one piece.
const PIECE: usize = 16 * 1024;
/// Pieces that are under way in one direction of one connection, at most.
const UNDER_WAY: usize = 1024;
/// How often a thread that cannot write looks whether it still has to.
const LOOK: Duration = Duration::from_millis(100);

/// A running relay; stopped when dropped, connections that stand go on until one of their ends closes.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    held: Mutex<Vec<i32>>,
    /// Sockets of clients that were let through since the last call of `hold`.
    passed: Mutex<Vec<String>>,
    faults: Mutex<Faults>,
    /// The faults, or a connection, are not what they were.
    changed: Condvar,
    connections: Mutex<Vec<Weak<Connection>>>,
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Faults {
    is_blackhole: bool,
    latency: Duration,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: OnceLock<TcpStream>,
    is_reset: AtomicBool,
}

impl Relay {
    /// Listens on a port of loopback; 0 stands for one that is free.
    pub fn start(port: u16, target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            held: Mutex::default(),
            passed: Mutex::default(),
            faults: Mutex::default(),
            changed: Condvar::new(),
            connections: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if theirs.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let connection =
                    Arc::new(Connection { client, server: OnceLock::new(), is_reset: AtomicBool::new(false) });
                let mut connections = theirs.connections.lock().unwrap();
                connections.retain(|other| other.strong_count() > 0);
                connections.push(Arc::downgrade(&connection));
                let shared = theirs.clone();
                thread::spawn(move || relay(&shared, &connection));
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on new connections go to this server, as a load balancer has it when another one has failed.
    pub fn set_target(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// From now on new connections of these processes wait.
    pub fn hold(&self, pids: Vec<i32>) {
        *self.shared.held.lock().unwrap() = pids;
        self.shared.passed.lock().unwrap().clear();
    }

    /// Nobody has to wait any more.
    pub fn release(&self) {
        self.shared.held.lock().unwrap().clear();
    }

    /// Whether this process has a connection that was made since the last call of [`Self::hold`].
    pub fn has_let_through(&self, pid: i32) -> bool {
        self.shared.passed.lock().unwrap().iter().any(|inode| owns(pid, inode))
    }

    /// From now on what the server says reaches its clients so much later, on all connections.
    pub fn set_latency(&self, latency: Duration) {
        self.shared.faults.lock().unwrap().latency = latency;
        self.shared.changed.notify_all();
    }

    /// Whether nothing comes through, in either direction, and nobody is told: new connections seem to be accepted.
    /// What was sent meanwhile arrives when that is over.
    pub fn set_blackhole(&self, is_blackhole: bool) {
        self.shared.faults.lock().unwrap().is_blackhole = is_blackhole;
        self.shared.changed.notify_all();
    }

    /// Ends all connections at once with a reset at both ends; how many. New ones are as good as before.
    pub fn reset_all(&self) -> usize {
        let connections: Vec<_> = self.shared.connections.lock().unwrap().drain(..).collect();
        let count = connections.iter().filter_map(Weak::upgrade).map(|connection| connection.reset()).count();
        // Under the lock, so that nobody is between looking and going to sleep.
        drop(self.shared.faults.lock().unwrap());
        self.shared.changed.notify_all();
        count
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.release();
        *self.shared.faults.lock().unwrap() = Faults::default();
        self.shared.changed.notify_all();
        // Wakes the listener, which then goes away.
        drop(TcpStream::connect(self.address));
    }
}

impl Connection {
    fn is_reset(&self) -> bool {
        self.is_reset.load(Ordering::Relaxed)
    }

    /// Has its sockets reset the connection when they are closed, and wakes the threads that then close them.
    fn reset(&self) {
        self.is_reset.store(true, Ordering::Relaxed);
        for socket in [Some(&self.client), self.server.get()].into_iter().flatten() {
            setsockopt(socket, Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
            // The other side may have closed it before.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }

    /// Copies one direction until an end closes, and then closes the other one.
    fn pass(&self, shared: &Shared, mut from: &TcpStream, to: &TcpStream, is_answer: bool) {
        let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(UNDER_WAY);
        thread::scope(|scope| {
            scope.spawn(move || {
                for (arrived, piece) in receiver {
                    if !shared.comes_through(self, arrived, is_answer) || self.write(to, &piece).is_err() {
                        break;
                    }
                }
                if shared.comes_through(self, Instant::now(), is_answer) {
                    // Either of them may be gone already.
                    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                }
            });
            let mut piece = vec![0; PIECE];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                if self.is_reset() || sender.send((Instant::now(), piece[..length].to_vec())).is_err() {
                    break;
                }
            }
            drop(sender);
        });
    }

    fn write(&self, mut to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.is_reset() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Waits as long as the faults of the moment demand of something that arrived then; false after a reset.
    fn comes_through(&self, connection: &Connection, arrived: Instant, is_answer: bool) -> bool {
        let mut faults = self.faults.lock().unwrap();
        loop {
            if connection.is_reset() {
                return false;
            }
            let late =
                if is_answer { (arrived + faults.latency).duration_since(Instant::now()) } else { Duration::ZERO };
            faults = if faults.is_blackhole {
                self.changed.wait(faults).unwrap()
            } else if late > Duration::ZERO {
                self.changed.wait_timeout(faults, late).unwrap().0
            } else {
                return true;
            };
        }
    }
}

fn relay(shared: &Shared, connection: &Connection) {
    let client = &connection.client;
    let Ok(ends) = client.peer_addr().and_then(|peer| Ok((peer, client.local_addr()?))) else { return };
    let inode = inode(ends);
    let is_held = || shared.held.lock().unwrap().iter().any(|pid| inode.as_ref().is_some_and(|i| owns(*pid, i)));
    while is_held() && !connection.is_reset() {
        thread::sleep(Duration::from_millis(20));
    }
    if !shared.comes_through(connection, Instant::now(), false) {
        return;
    }
    let target = *shared.target.lock().unwrap();
    // A server that is away looks like one that hangs up.
    let Ok(server) = TcpStream::connect(target) else { return };
    let server = connection.server.get_or_init(|| server);
    for socket in [client, server] {
        // Either of them may be gone already.
        let _ = (socket.set_nodelay(true), socket.set_write_timeout(Some(LOOK)));
    }
    if connection.is_reset() {
        connection.reset();
    }
    shared.passed.lock().unwrap().extend(inode);
    thread::scope(|scope| {
        scope.spawn(|| connection.pass(shared, client, server, false));
        connection.pass(shared, server, client, true);
    });
}

/// The kernel's number of the socket that is bound and connected like this.
fn inode((local, remote): (SocketAddr, SocketAddr)) -> Option<String> {
    let port = |text: &str| u16::from_str_radix(text.rsplit(':').next()?, 16).ok();
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ends = (port(fields.get(1)?)?, port(fields.get(2)?)?);
        (ends == (local.port(), remote.port())).then(|| fields.get(9).map(ToString::to_string))?
    })
}

/// Whether a process has this socket open.
fn owns(pid: i32, inode: &str) -> bool {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let socket = format!("socket:[{inode}]");
    links.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| link.to_str() == Some(&socket))
}
