//! A TCP relay in front of a server, which can hold back the connections of some processes.

use std::{
    fs, io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// A running relay; stopped when dropped, connections that stand go on until one of their ends closes.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    held: Mutex<Vec<i32>>,
    /// Sockets of clients that were let through since the last call of `hold`.
    passed: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Relay {
    /// Listens on a port of loopback.
    pub fn start(port: u16, target: SocketAddr) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listener = TcpListener::bind(address).unwrap();
        let shared = Arc::new(Shared {
            target,
            held: Mutex::default(),
            passed: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let theirs = shared.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if theirs.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = theirs.clone();
                thread::spawn(move || relay(&shared, &connection));
            }
        });
        Self { address, shared }
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
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.release();
        // Wakes the listener, which then goes away.
        drop(TcpStream::connect(self.address));
    }
}

fn relay(shared: &Shared, client: &TcpStream) {
    let Ok(ends) = client.peer_addr().and_then(|peer| Ok((peer, client.local_addr()?))) else { return };
    let inode = inode(ends);
    let is_held = || shared.held.lock().unwrap().iter().any(|pid| inode.as_ref().is_some_and(|i| owns(*pid, i)));
    while is_held() {
        thread::sleep(Duration::from_millis(20));
    }
    // A server that is away looks like one that hangs up.
    let Ok(server) = TcpStream::connect(shared.target) else { return };
    shared.passed.lock().unwrap().extend(inode);
    thread::scope(|scope| {
        scope.spawn(|| pass(client, &server));
        pass(&server, client);
    });
}

/// Copies until one end closes, and then closes the other one.
fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    // Either of them may be gone already.
    let _ = (from.set_nodelay(true), to.set_nodelay(true));
    let _ = io::copy(&mut from, &mut to);
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
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
