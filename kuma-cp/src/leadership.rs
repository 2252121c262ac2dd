//! Which of several control planes does what only one may do.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether this instance leads; follows it.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<bool>);

impl Leadership {
    /// Of an instance that has its store for itself.
    pub fn always() -> Self {
        // The receiver keeps the last value when the sender is gone.
        Self(watch::channel(true).1)
    }

    /// As this channel tells it.
    pub fn told_by(channel: watch::Receiver<bool>) -> Self {
        Self(channel)
    }

    /// Now.
    pub fn leads(&self) -> bool {
        *self.0.borrow()
    }

    /// Runs something whenever this instance leads, until `stop`. What it is handed is cancelled when the lead is lost; it
    /// ends then, and is started anew when the lead comes back.
    pub async fn while_leading<F>(mut self, stop: CancellationToken, run: impl Fn(CancellationToken) -> F)
    where
        F: Future<Output = ()>,
    {
        loop {
            let led = stop.run_until_cancelled(self.0.wait_for(|leads| *leads)).await.is_some_and(|led| led.is_ok());
            if !led {
                return;
            }
            let term = stop.child_token();
            let mut told = self.0.clone();
            let lost = async {
                // An error means that nobody takes it away any more.
                if told.wait_for(|leads| !*leads).await.is_err() {
                    std::future::pending::<()>().await;
                }
                term.cancel();
            };
            // Work that has nothing more to do waits for the next term.
            let work = async {
                run(term.clone()).await;
                term.cancelled().await;
            };
            tokio::pin!(work);
            tokio::select! {
                () = &mut work => {}
                () = lost => work.await,
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// Calls this with every change, and at once with what is.
    pub async fn tell(mut self, stop: CancellationToken, tell: Arc<dyn Fn(bool) + Send + Sync>) {
        loop {
            tell(*self.0.borrow_and_update());
            match stop.run_until_cancelled(self.0.changed()).await {
                Some(Ok(())) => {}
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_follows_the_lead() {
        let (lead, channel) = watch::channel(false);
        let (stop, begun, running) =
            (CancellationToken::new(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn({
            let (stop, begun, running) = (stop.clone(), begun.clone(), running.clone());
            Leadership::told_by(channel).while_leading(stop, move |term| {
                let (begun, running) = (begun.clone(), running.clone());
                async move {
                    begun.fetch_add(1, Ordering::SeqCst);
                    running.fetch_add(1, Ordering::SeqCst);
                    term.cancelled().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                }
            })
        });
        let settled = async || {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            (begun.load(Ordering::SeqCst), running.load(Ordering::SeqCst))
        };
        assert_eq!(settled().await, (0, 0));
        lead.send_replace(true);
        assert_eq!(settled().await, (1, 1));
        lead.send_replace(false);
        assert_eq!(settled().await, (1, 0));
        lead.send_replace(true);
        assert_eq!(settled().await, (2, 1));
        stop.cancel();
        task.await.unwrap();
        assert_eq!(settled().await, (2, 0));
    }

    #[tokio::test]
    async fn who_is_alone_leads() {
        assert!(Leadership::always().leads());
    }
}
