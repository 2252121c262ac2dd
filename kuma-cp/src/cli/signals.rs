//! Signals: the first asks to stop, the second does not wait for the end of it.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Listens from now on; the future ends the process at the second signal.
pub(super) fn watch(stop: CancellationToken) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Caught so that it does not end the process; it means nothing here.
    let mut user = signal(SignalKind::user_defined2())?;
    Ok(async move {
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = user.recv() => continue,
            }
            if stopping {
                tracing::info!(target: "kuma-cp", "second signal, not waiting any longer");
                std::process::exit(0);
            }
            tracing::info!(target: "kuma-cp", "received signal, stopping");
            stopping = true;
            stop.cancel();
        }
    })
}
