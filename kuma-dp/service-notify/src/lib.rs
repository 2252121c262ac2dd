//! Tells a service manager (systemd, or one that speaks its protocol) how this process is doing: that it is ready, what it
//! does, that it still works, that it ends.
//!
//! The manager names a datagram socket in `NOTIFY_SOCKET`, a path or an abstract name that begins with `@`. Without the
//! variable nobody listens, and everything here does nothing. There is no thread: who works says so itself, so that
//! silence means what it seems to mean.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::{Mutex, PoisonError},
    time::Duration,
};

#[cfg(test)]
mod tests;

/// Variable that names the socket.
pub const SOCKET: &str = "NOTIFY_SOCKET";
/// Variable with the time in microseconds within which the manager wants to hear of us.
pub const WATCHDOG: &str = "WATCHDOG_USEC";
/// Variable with the process that [`WATCHDOG`] is meant for.
pub const WATCHDOG_PID: &str = "WATCHDOG_PID";

/// Between two reports when the manager does not ask for more.
const RARELY: Duration = Duration::from_secs(10);
/// A manager that does not read is not waited for longer.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Why nobody can be told.
#[derive(Debug, thiserror::Error)]
#[error("the service manager cannot be told how this process is doing: {SOCKET}={}: {cause}", .name.display())]
pub struct NotifyError {
    /// What the variable says.
    pub name: OsString,
    /// Why that is no use.
    pub cause: io::Error,
}

/// The way to the service manager, or to nobody.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<Manager>,
    watchdog: Option<Duration>,
    /// The last line, so that the same one is not sent again and again.
    status: Mutex<String>,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Notifier {
    /// Nobody listens.
    pub fn none() -> Self {
        Self::default()
    }

    /// As the environment says; `lookup` reads one variable.
    ///
    /// # Errors
    /// A name that is no socket's.
    pub fn new(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, NotifyError> {
        let Some(name) = lookup(SOCKET).filter(|name| !name.is_empty()) else { return Ok(Self::none()) };
        let manager = Manager::at(&name).map_err(|cause| NotifyError { name, cause })?;
        Ok(Self { manager: Some(manager), watchdog: watchdog(lookup), status: Mutex::default() })
    }

    /// Is there a manager?
    pub fn is_heard(&self) -> bool {
        self.manager.is_some()
    }

    /// How long the manager waits for [`Notifier::alive`] before it takes this process for dead.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// How often to report: three times within the patience of the manager, so that a late report is no death.
    pub fn interval(&self) -> Duration {
        self.watchdog.map_or(RARELY, |patience| (patience / 3).min(RARELY))
    }

    /// The start is over. `status` is one line for people.
    pub fn ready(&self, status: &str) {
        self.say("READY=1", status);
    }

    /// The end has begun, and may take as long as `within`.
    pub fn stopping(&self, within: Duration, status: &str) {
        self.say(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", within.as_micros()), status);
    }

    /// This process works.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// The start goes on, and will say so again within this time. Without it a manager gives up on a long start.
    pub fn starting(&self, within: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", within.as_micros()));
    }

    /// What this process does, in one line for people.
    pub fn status(&self, text: &str) {
        let text = one_line(text);
        if std::mem::replace(&mut *self.last(), text.clone()) != text {
            self.send(&format!("STATUS={text}"));
        }
    }

    fn say(&self, what: &str, status: &str) {
        let text = one_line(status);
        self.send(&format!("{what}\nSTATUS={text}"));
        *self.last() = text;
    }

    fn last(&self) -> std::sync::MutexGuard<'_, String> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &str) {
        if let Some(manager) = &self.manager {
            // A manager that is gone or stuck must not take this process with it.
            let _ = manager.socket.send_to_addr(message.as_bytes(), &manager.address);
        }
    }
}

impl Manager {
    fn at(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither an absolute path nor @name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self { socket, address })
    }
}

/// The patience of the manager, if it is this process that it watches.
fn watchdog(lookup: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| lookup(name).and_then(|text| text.to_str()?.parse::<u64>().ok());
    if lookup(WATCHDOG_PID).is_some() && number(WATCHDOG_PID) != Some(std::process::id().into()) {
        return None;
    }
    number(WATCHDOG).filter(|micros| *micros > 0).map(Duration::from_micros)
}

/// A line break would begin another message.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
