//! Hands proxies over when this instance has been cut off from the store that it shares with others.
//!
//! It cannot tell a dead database from a cut network, nor whether another instance is better off. So it closes the
//! connections of its proxies, once, and lets nobody in for a moment: who can reach another instance goes there, and is
//! told of changes again; who cannot comes back here and stays. An Envoy without control plane goes on with what it has,
//! and without the store there is nothing new to tell it, so this costs nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// How long nobody is let in after the connections were closed. An Envoy tries again a few times meanwhile.
pub const SHUT: Duration = Duration::from_secs(10);

/// Tells servers and streams when to let go of their proxies. Of an instance that is never cut off if nothing runs it.
#[derive(Clone, Debug, Default)]
pub struct Handover(Arc<Mutex<CancellationToken>>);

impl Handover {
    /// What is cancelled when those that are there now have to go. While it is cancelled nobody is let in.
    pub fn term(&self) -> CancellationToken {
        // Only whole tokens are put here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows whether this instance is cut off, until `stop`. Nobody is let in for `shut`, or until it is not any more.
    pub async fn run(self, mut cut_off: watch::Receiver<bool>, shut: Duration, stop: CancellationToken) {
        let work = async {
            while cut_off.wait_for(|cut_off| *cut_off).await.is_ok() {
                tracing::warn!(
                    target: "dp-server",
                    "this control plane has been without its store for a while: proxies are sent to another one, if they \
                     can reach any"
                );
                self.term().cancel();
                // An error means that nobody tells any more, which is the end.
                let _ = tokio::time::timeout(shut, cut_off.wait_for(|cut_off| !cut_off)).await;
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = CancellationToken::new();
                if cut_off.wait_for(|cut_off| !cut_off).await.is_err() {
                    return;
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }
}

/// Why a stream is closed, or not opened.
pub(super) fn handed_over() -> Status {
    Status::unavailable("this control plane has been without its store for a while, connect to another one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn proxies_are_sent_away_once_per_absence() {
        let (tell, cut_off) = watch::channel(false);
        let (handover, stop) = (Handover::default(), CancellationToken::new());
        let running = tokio::spawn(handover.clone().run(cut_off, SHUT, stop.clone()));
        let after = async |time: u64| {
            tokio::time::sleep(Duration::from_millis(time)).await;
            handover.term().is_cancelled()
        };
        let first = handover.term();
        assert!(!after(60_000).await);
        tell.send_replace(true);
        assert!(after(1).await && first.is_cancelled());
        assert!(after(9_000).await);
        assert!(!after(1_100).await, "who cannot go elsewhere is let in");
        assert!(!after(600_000).await, "and stays");
        tell.send_replace(false);
        assert!(!after(1).await);
        tell.send_replace(true);
        assert!(after(1).await, "another absence");
        tell.send_replace(false);
        assert!(!after(1).await, "the store is back");
        stop.cancel();
        running.await.unwrap();
    }
}
