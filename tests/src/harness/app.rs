//! Applications that know nothing of a mesh: small HTTP servers on threads of this process.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// How long `/slow` takes.
pub const SLOW: Duration = Duration::from_secs(1);

/// A running application; stopped when dropped.
#[derive(Debug)]
pub struct App {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    requests: AtomicUsize,
    connections: Mutex<Vec<TcpStream>>,
}

impl App {
    /// Answers every request with `name`, and `/slow` after [`SLOW`].
    pub fn start(name: &str, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let shared = Arc::new(Shared::default());
        let (theirs, name) = (shared.clone(), name.to_owned());
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                if theirs.stopped.load(Ordering::Relaxed) {
                    return;
                }
                // An application that answers in two packets would wait for acknowledgements.
                connection.set_nodelay(true).unwrap();
                theirs.connections.lock().unwrap().push(connection.try_clone().unwrap());
                let (shared, name) = (theirs.clone(), name.clone());
                thread::spawn(move || serve(&name, &shared, &connection));
            }
        });
        Self { address, shared }
    }

    /// Requests that it has seen.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Ends it as if its process were killed: nothing listens, all connections are cut.
    pub fn stop(&self) {
        if self.shared.stopped.swap(true, Ordering::Relaxed) {
            return;
        }
        // Wakes the listener, which then goes away.
        drop(TcpStream::connect(self.address));
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            // The other side may have closed it before.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(name: &str, shared: &Shared, connection: &TcpStream) {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    loop {
        line.clear();
        if !matches!(reader.read_line(&mut line), Ok(1..)) {
            return;
        }
        let path = line.split_whitespace().nth(1).unwrap_or("/").to_owned();
        // Requests of these tests have no body.
        while !line.trim().is_empty() {
            line.clear();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
        }
        shared.requests.fetch_add(1, Ordering::Relaxed);
        if path == "/slow" {
            thread::sleep(SLOW);
        }
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        let mut writer = connection;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
