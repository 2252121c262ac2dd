//! The access log streamer: Envoy writes log records into a named pipe, kuma-dp sends each to the TCP address that it names.
//!
//! Records are lines: `{"address": "host:port", "message": …}`, or `host:port;text` in the old form. A log server that is away or
//! slow costs records, never memory and never Envoy's time: every queue is bounded, and what does not fit is counted and told.

mod delivery;
mod losses;

use std::{io, path::Path, time::Duration};

use nix::{errno::Errno, sys::stat::Mode};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    time::{Instant, Interval},
};
use tokio_util::sync::CancellationToken;

use delivery::Router;

/// Longer lines are dropped.
const LONGEST_LINE: usize = 256 * 1024;
const REPORT_EVERY: Duration = Duration::from_secs(30);
/// For what is on its way when the end comes.
pub const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// One record.
#[derive(Debug, PartialEq, Eq)]
struct LogRecord {
    address: String,
    message: Vec<u8>,
}

/// Makes the pipe anew, for this user only: what it carries are other people's requests, and what is written into it goes out in
/// our name. To be done before Envoy starts, which would make a plain file of that name.
pub fn create_pipe(path: &Path) -> io::Result<()> {
    crate::http::clear_socket(path)?;
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Ok(())
}

/// Reads the pipe at `path` until `stop` or an error, and delivers what is on its way then, for at most [`LAST_PATIENCE`].
///
/// `stop` is to come after the end of Envoy, which writes its last records when it ends.
pub async fn stream(path: &Path, stop: CancellationToken) -> io::Result<()> {
    // Open for writing as well: then there is no end of file when Envoy closes its end, and the next Envoy finds a reader.
    let mut pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
    let mut lines = Lines::default();
    let mut router = Router::default();
    let report = tokio::time::interval(REPORT_EVERY);
    let outcome = read(&mut pipe, &mut lines, &mut router, report, &stop).await;
    let deadline = Instant::now() + LAST_PATIENCE;
    if outcome.is_ok() {
        read_rest(&pipe, &mut lines, &mut router, deadline).await;
    }
    router.finish(deadline).await;
    outcome
}

async fn read(
    pipe: &mut pipe::Receiver,
    lines: &mut Lines,
    router: &mut Router,
    mut report: Interval,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = report.tick() => {
                router.report();
                continue;
            }
            length = pipe.read(&mut buffer) => length?,
        };
        lines.push(&buffer[..length], |line| router.send(line.and_then(parse)));
    }
}

/// Takes what is in the pipe, without waiting for more.
async fn read_rest(pipe: &pipe::Receiver, lines: &mut Lines, router: &mut Router, deadline: Instant) {
    let mut buffer = vec![0; 16 * 1024];
    // An Envoy that still lives could go on for ever.
    while Instant::now() < deadline {
        // Asks the pipe itself: the runtime may not have heard yet that there is something to read.
        match nix::unistd::read(pipe, &mut buffer) {
            Ok(length @ 1..) => lines.push(&buffer[..length], |line| router.send(line.and_then(parse))),
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => return,
        }
        // Otherwise nobody would empty the queues meanwhile.
        tokio::task::yield_now().await;
    }
}

/// Cuts bytes into lines, without their end.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
    too_long: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut take: impl FnMut(Option<&[u8]>)) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            if self.partial.len() + text.len() > LONGEST_LINE {
                self.too_long = true;
                self.partial = Vec::new();
            } else if !self.too_long {
                self.partial.extend_from_slice(text);
            }
            if ended {
                take((!self.too_long).then_some(&*self.partial));
                self.partial.clear();
                self.too_long = false;
            }
        }
    }
}

fn parse(line: &[u8]) -> Option<LogRecord> {
    #[derive(Deserialize)]
    struct Wire {
        address: String,
        message: Value,
    }
    if line.first() == Some(&b'{') {
        let Wire { address, message } = serde_json::from_slice(line).ok()?;
        let message = match message {
            Value::String(text) => text.into_bytes(),
            other => {
                let mut text = other.to_string().into_bytes();
                text.push(b'\n');
                text
            }
        };
        return Some(LogRecord { address, message });
    }
    let (address, text) = std::str::from_utf8(line).ok()?.split_once(';')?;
    let message = format!("{text}\n").into_bytes();
    Some(LogRecord { address: address.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::{net::TcpListener, time::timeout};

    use super::*;

    fn message(line: &str) -> (String, String) {
        let record = parse(line.as_bytes()).unwrap();
        (record.address, String::from_utf8(record.message).unwrap())
    }

    #[test]
    fn records_come_in_three_forms() {
        let expect = |text: &str| ("logs:1234".to_owned(), text.to_owned());
        assert_eq!(message(r#"{"address":"logs:1234","message":"[time] GET\n"}"#), expect("[time] GET\n"));
        assert_eq!(message(r#"{"address":"logs:1234","message":{"a":1}}"#), expect("{\"a\":1}\n"));
        assert_eq!(message("logs:1234;old; text"), expect("old; text\n"));
        for line in ["", "nothing", "{\"address\":1}", "{"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn lines_are_put_together_and_bounded() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in [&b"on"[..], b"e\ntwo\n", &vec![b'x'; LONGEST_LINE], b"x", b"yz\nthree\n"] {
            lines.push(piece, |line| seen.push(line.map(<[u8]>::to_vec)));
        }
        let expected = [Some(b"one".to_vec()), Some(b"two".to_vec()), None, Some(b"three".to_vec())];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_pipe_is_private() {
        use std::os::unix::fs::{FileTypeExt, PermissionsExt};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("al.sock");
        create_pipe(&path).unwrap();
        let made = std::fs::metadata(&path).unwrap();
        assert!(made.file_type().is_fifo());
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn records_arrive_and_survive_a_writer_and_a_server_that_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("al.sock");
        create_pipe(&path).unwrap();
        let stop = CancellationToken::new();
        let streamer = tokio::spawn({
            let (path, stop) = (path.clone(), stop.clone());
            async move { stream(&path, stop).await }
        });
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let write = |text: &'static str| {
            let path = path.clone();
            // A writer of its own each time, as when Envoy is started again.
            tokio::task::spawn_blocking(move || {
                let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                pipe.write_all(format!("{{\"address\":\"{address}\",\"message\":\"{text}\"}}\n").as_bytes()).unwrap();
            })
        };
        let mut buffer = [0; 5];
        write("first").await.unwrap();
        let (mut client, _) = server.accept().await.unwrap();
        client.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"first");
        write("again").await.unwrap();
        client.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"again");

        drop(client);
        // What is written into a closed connection is lost; a later record dials again.
        let arrived = async {
            loop {
                write("later").await.unwrap();
                if let Ok(Ok((mut client, _))) = timeout(Duration::from_millis(50), server.accept()).await {
                    client.read_exact(&mut buffer).await.unwrap();
                    return buffer;
                }
            }
        };
        assert_eq!(&timeout(Duration::from_secs(10), arrived).await.unwrap(), b"later");
        stop.cancel();
        streamer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_envoy_writes_at_its_end_is_delivered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("al.sock");
        create_pipe(&path).unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        // It is told to end with records in the pipe that it has not seen yet.
        stop.cancel();
        let _reader = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for number in 0..300 {
            writeln!(writer, "{};{number}", server.local_addr().unwrap()).unwrap();
        }
        drop(writer);
        let read = async {
            let mut text = String::new();
            server.accept().await.unwrap().0.read_to_string(&mut text).await.unwrap();
            text
        };
        let (text, streamed) = tokio::join!(timeout(Duration::from_secs(10), read), stream(&path, stop));
        streamed.unwrap();
        let numbers: Vec<usize> = text.unwrap().lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    }
}
