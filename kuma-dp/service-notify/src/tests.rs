//! Real sockets in the place of the manager.

use std::collections::HashMap;

use super::*;

struct Listener(UnixDatagram);

impl Listener {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self(socket)
    }

    fn heard(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }
}

fn notifier(variables: &[(&str, &str)]) -> Result<Notifier, NotifyError> {
    let variables: HashMap<_, _> = variables.iter().map(|(k, v)| ((*k).to_owned(), OsString::from(v))).collect();
    Notifier::new(|name| variables.get(name).cloned())
}

#[test]
fn a_path_and_an_abstract_name_are_spoken_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let name = format!("kuma-{}-{}", std::process::id(), dir.path().display());
    for (address, variable) in [
        (SocketAddr::from_pathname(&path).unwrap(), path.display().to_string()),
        (SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}")),
    ] {
        let listener = Listener::at(&address);
        let notifier = notifier(&[(SOCKET, &variable)]).unwrap();
        assert!(notifier.is_heard());
        notifier.starting(Duration::from_secs(3));
        assert_eq!(listener.heard().as_deref(), Some("EXTEND_TIMEOUT_USEC=3000000"));
        notifier.status("first\nsecond");
        assert_eq!(listener.heard().as_deref(), Some("STATUS=first second"), "a line break begins no message");
        notifier.ready("serving");
        assert_eq!(listener.heard().as_deref(), Some("READY=1\nSTATUS=serving"));
        notifier.status("serving");
        assert_eq!(listener.heard(), None, "nothing new is not said");
        notifier.alive();
        assert_eq!(listener.heard().as_deref(), Some("WATCHDOG=1"));
        notifier.stopping(Duration::from_millis(5), "bye");
        assert_eq!(listener.heard().as_deref(), Some("STOPPING=1\nEXTEND_TIMEOUT_USEC=5000\nSTATUS=bye"));
    }
}

#[test]
fn nobody_listens_and_a_bad_name_is_told() {
    for variables in [&[][..], &[(SOCKET, "")]] {
        let notifier = notifier(variables).unwrap();
        assert!(!notifier.is_heard());
        notifier.ready("unheard");
    }
    let error = notifier(&[(SOCKET, "vsock:2:1")]).unwrap_err().to_string();
    assert!(error.contains("NOTIFY_SOCKET=vsock:2:1: neither an absolute path nor @name"), "{error}");
    // A manager that went away is no reason to fail.
    notifier(&[(SOCKET, "/nonexistent/socket")]).unwrap().ready("unheard");
}

#[test]
fn the_patience_of_the_manager_counts_for_the_process_that_it_watches() {
    let own = std::process::id().to_string();
    let patience = |variables: &[(&str, &str)]| {
        notifier(&[&[(SOCKET, "/x")], variables].concat()).map(|n| (n.watchdog(), n.interval())).unwrap()
    };
    let (half, sixth) = (Duration::from_millis(1500), Duration::from_millis(500));
    assert_eq!(patience(&[(WATCHDOG, "1500000")]), (Some(half), sixth));
    assert_eq!(patience(&[(WATCHDOG, "1500000"), (WATCHDOG_PID, &own)]), (Some(half), sixth));
    assert_eq!(patience(&[(WATCHDOG, "1500000"), (WATCHDOG_PID, "1")]), (None, RARELY));
    assert_eq!(patience(&[(WATCHDOG, "600000000")]).1, RARELY, "the status is kept current all the same");
    for none in ["0", "x", ""] {
        assert_eq!(patience(&[(WATCHDOG, none)]), (None, RARELY));
    }
}
