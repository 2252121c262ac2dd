//! Delivers records: a bounded queue and a task with one connection for each address.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{LogRecord, losses::Losses};

const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection without records for this long is closed.
const IDLE: Duration = Duration::from_mins(10);
/// Records waiting for one address.
const QUEUE: usize = 1024;
/// Addresses at once.
const MOST_ADDRESSES: usize = 64;

/// Hands records to one task per address.
#[derive(Default)]
pub(super) struct Router {
    queues: HashMap<String, mpsc::Sender<Vec<u8>>>,
    tasks: JoinSet<()>,
    losses: Arc<Losses>,
    give_up: CancellationToken,
}

impl Router {
    /// Sends a record, or counts it as lost; `None` is one that cannot be understood. Never waits.
    pub(super) fn send(&mut self, record: Option<LogRecord>) {
        let Some(LogRecord { address, message }) = record else {
            self.losses.malformed();
            return;
        };
        self.queues.retain(|_, queue| !queue.is_closed());
        while self.tasks.try_join_next().is_some() {}
        if !self.queues.contains_key(&address) && self.queues.len() >= MOST_ADDRESSES {
            self.losses.add(&address, 1, format!("there are {MOST_ADDRESSES} other servers already"));
            return;
        }
        let queue = self.queues.entry(address.clone()).or_insert_with_key(|address| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            self.tasks.spawn(deliver(address.clone(), receiver, self.losses.clone(), self.give_up.clone()));
            sender
        });
        match queue.try_send(message) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.losses.add(&address, 1, "it is slow, its queue is full"),
            Err(TrySendError::Closed(_)) => self.losses.add(&address, 1, "its connection was just being closed"),
        }
    }

    /// Warns of lost records.
    pub(super) fn report(&self) {
        self.losses.report();
    }

    /// Delivers what is waiting, until `deadline`. What is left then is lost, and told.
    pub(super) async fn finish(mut self, deadline: Instant) {
        self.queues.clear();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            // The tasks count what they still have.
            self.give_up.cancel();
            while self.tasks.join_next().await.is_some() {}
        }
        self.report();
    }
}

/// Sends records to `address` over one connection, dialled anew after a failure with the next record. Ends when there is no
/// record for long, when no further one can come, and when `give_up` is cancelled.
async fn deliver(
    address: String,
    mut records: mpsc::Receiver<Vec<u8>>,
    losses: Arc<Losses>,
    give_up: CancellationToken,
) {
    let mut connection = None;
    while let Ok(Some(record)) = timeout(IDLE, records.recv()).await {
        let sent = tokio::select! {
            biased;
            sent = send(&mut connection, &address, &record) => sent,
            () = give_up.cancelled() => {
                let waiting = 1 + records.len() as u64;
                losses.add(&address, waiting, "they were not sent when kuma-dp had to end");
                return;
            }
        };
        if let Err(error) = sent {
            losses.add(&address, 1, error.to_string());
        }
    }
}

/// Sends one record. After a failure there is no connection any more.
async fn send(connection: &mut Option<TcpStream>, address: &str, record: &[u8]) -> io::Result<()> {
    let too_slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await.map_err(too_slow)??,
    };
    timeout(WRITE_TIMEOUT, stream.write_all(record)).await.map_err(too_slow)??;
    *connection = Some(stream);
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    fn record(address: &str, message: &[u8]) -> Option<LogRecord> {
        Some(LogRecord { address: address.to_owned(), message: message.to_vec() })
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_named_with_the_reason() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let mut router = Router::default();
        router.send(record(&gone, b"one\n"));
        router.send(record(&gone, b"two\n"));
        router.queues.clear();
        while router.tasks.join_next().await.is_some() {}
        let [(server, records, reason)] = &router.losses.servers()[..] else { panic!("{:?}", router.losses) };
        assert_eq!((server, *records), (&gone, 2));
        assert!(reason.contains("refused"), "{reason}");
    }

    #[tokio::test]
    async fn what_waits_is_delivered_at_the_end() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut router = Router::default();
        for _ in 0..QUEUE {
            router.send(record(&server.local_addr().unwrap().to_string(), b"line\n"));
        }
        let losses = router.losses.clone();
        let read = async {
            let mut text = String::new();
            server.accept().await.unwrap().0.read_to_string(&mut text).await.unwrap();
            text
        };
        let (text, ()) = tokio::join!(read, router.finish(Instant::now() + Duration::from_mins(1)));
        assert_eq!(text.lines().count(), QUEUE);
        assert_eq!(losses.servers(), []);
    }

    #[tokio::test]
    async fn what_cannot_be_delivered_in_time_is_counted() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let mut router = Router::default();
        // More than the buffers of a connection hold that nobody reads.
        for _ in 0..3 {
            router.send(record(&address, &vec![b'x'; 16 * 1024 * 1024]));
        }
        router.queues.clear();
        let (_connection, _) = server.accept().await.unwrap();
        router.give_up.cancel();
        while router.tasks.join_next().await.is_some() {}
        let [(server, records, reason)] = &router.losses.servers()[..] else { panic!("{:?}", router.losses) };
        assert_eq!((server, *records), (&address, 3));
        assert!(reason.contains("had to end"), "{reason}");
    }
}
