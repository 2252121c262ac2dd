//! The lock of the leader, a row of the table `locks`, by the protocol of Kuma 3.0: no clock is compared with another.
//!
//! The row carries a number that its holder replaces again and again. Who sees a number stand still for a while takes the
//! row, if it still has that number; a holder that finds another number leads no more. A session of its own is used, so
//! that a long write does not cost the lead.
//!
//! On the same session every instance shows that it is there, in a table of our own: so the leader knows which ones have
//! gone, and with them the streams of their proxies.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kuma_core::duration::GoDuration;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::{connect::Target, said};
use crate::config;

/// The lock that all control planes of a database compete for.
pub const LEADER: &str = "kuma-cp-lock";
/// Between two signs of life of the holder.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A holder that could not show a sign of life for this long has lost, and says so to itself before others do.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Others take the lock when its number has stood still for this long.
const LEASE: Duration = Duration::from_secs(3);
/// How often they look.
const LOOK: Duration = Duration::from_millis(500);
/// After an error, before the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// Longest time between two signs of presence.
const PRESENCE: Duration = Duration::from_secs(5);
/// Who has gone is remembered for this long, in seconds: longer than all control planes of a mesh are ever off, since what
/// is left of its proxies is only looked for while it is known to be gone. That takes a short row each.
const REMEMBERED: f64 = 90.0 * 86_400.0;

/// What follows when an instance is out of reach of the database, and when. The others cannot tell whether it is dead or
/// cut off, nor can it; so it goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// After so long it sends its proxies to others.
    pub hand_over: Duration,
    /// After so long it counts as gone.
    pub gone: Duration,
    /// So long after it began to count as gone, what its proxies had brought is removed.
    pub removal: Duration,
}

impl Absence {
    /// As a configuration says.
    pub fn of(settings: &config::Postgres) -> Self {
        let or = |given: GoDuration, seconds| {
            if given.is_zero() { Duration::from_secs(seconds) } else { given.to_std() }
        };
        Self {
            hand_over: or(settings.hand_over_after, 30),
            gone: or(settings.gone_after, 60),
            removal: or(settings.remove_after, 60),
        }
    }

    /// Between two signs of presence: several of them are missing before anything follows.
    fn presence(&self) -> Duration {
        PRESENCE.min(self.hand_over / 4)
    }
}

/// One instance that competes for a lock.
pub struct Contender {
    /// Where the lock is.
    pub target: Target,
    /// Its name.
    pub lock: Arc<str>,
    /// Id of this instance.
    pub instance: Arc<str>,
    /// When it counts as gone.
    pub absence: Absence,
    /// Told whether this instance holds it.
    pub leads: watch::Sender<bool>,
    /// Told which other instances have gone. Only true while this instance leads.
    pub gone: watch::Sender<BTreeSet<Arc<str>>>,
    /// Told whether this instance has been unable to show that it is there for [`Absence::hand_over`].
    pub cut_off: watch::Sender<bool>,
}

impl Contender {
    /// Competes until `stop`; then the lock is given back, so that another instance leads at once.
    pub async fn run(self, stop: CancellationToken) {
        let seen = watch::Sender::new(Instant::now());
        tokio::select! {
            () = self.compete(&seen, &stop) => {}
            () = self.watch(seen.subscribe()) => {}
        }
    }

    /// Follows when this instance was last seen; never ends.
    async fn watch(&self, mut seen: watch::Receiver<Instant>) {
        loop {
            let since = *seen.borrow_and_update();
            let is_late = tokio::time::timeout_at(since + self.absence.hand_over, seen.changed()).await.is_err();
            self.cut_off.send_if_modified(|known| std::mem::replace(known, is_late) != is_late);
            if is_late && seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn compete(&self, seen: &watch::Sender<Instant>, stop: &CancellationToken) {
        let mut client = None;
        while !stop.is_cancelled() {
            let outcome = self.term(&mut client, seen, stop).await;
            if self.leads.send_replace(false) && !stop.is_cancelled() {
                tracing::warn!(target: "kuma-cp.leader", instance = %self.instance, "this instance leads no more");
            }
            if let Err(error) = outcome {
                tracing::debug!(target: "kuma-cp.leader", "the lock of the leader is out of reach: {error:#}");
                client = None;
                stop.run_until_cancelled(sleep(PAUSE)).await;
            }
        }
    }

    /// From waiting for the lock to its loss.
    async fn term(
        &self,
        session: &mut Option<Client>,
        seen: &watch::Sender<Instant>,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let client = match session {
            Some(client) => client,
            None => session.insert(self.target.connect().await?.0),
        };
        let Some(waited) = stop.run_until_cancelled(self.acquire(client, seen)).await else { return Ok(()) };
        let mut number = waited?;
        self.leads.send_replace(true);
        tracing::info!(target: "kuma-cp.leader", instance = %self.instance, "this instance leads");
        let mut sign = Instant::now();
        let mut shown = None;
        loop {
            self.show(client, &mut shown, seen).await?;
            if stop.run_until_cancelled(sleep(HEARTBEAT)).await.is_none() {
                // Work that only a leader may do has ended or is refused from here on.
                self.leads.send_replace(false);
                let release = "DELETE FROM locks WHERE name = $1 AND record_version_number = $2";
                timeout(HEARTBEAT, client.execute(release, &[&&*self.lock, &number])).await??;
                return Ok(());
            }
            let renew = "UPDATE locks SET record_version_number = nextval('locks_rvn')
                WHERE name = $1 AND record_version_number = $2 RETURNING record_version_number";
            let left = PATIENCE.saturating_sub(sign.elapsed());
            match timeout(left, client.query_opt(renew, &[&&*self.lock, &number])).await {
                Ok(Ok(Some(row))) => (number, sign) = (row.get(0), Instant::now()),
                // Somebody took it.
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => anyhow::bail!("{}", said(&error)),
                Err(_) => anyhow::bail!("it did not answer in time"),
            }
        }
    }

    /// Waits for the lock; its number.
    async fn acquire(&self, client: &Client, here: &watch::Sender<Instant>) -> anyhow::Result<i64> {
        // (number, since when)
        let mut seen: Option<(i64, Instant)> = None;
        let mut shown = None;
        loop {
            self.show(client, &mut shown, here).await?;
            let look = "SELECT record_version_number FROM locks WHERE name = $1";
            let row = self.ask(client.query_opt(look, &[&&*self.lock])).await?;
            let taken = match row.map(|row| row.get::<_, Option<i64>>(0)) {
                None => {
                    let insert = "INSERT INTO locks (name, record_version_number, owner)
                        VALUES ($1, nextval('locks_rvn'), $2) ON CONFLICT (name) DO NOTHING
                        RETURNING record_version_number";
                    self.ask(client.query_opt(insert, &[&&*self.lock, &&*self.instance])).await?
                }
                Some(Some(number)) if seen.is_none_or(|(before, _)| before != number) => {
                    seen = Some((number, Instant::now()));
                    None
                }
                Some(Some(_)) if seen.is_some_and(|(_, since)| since.elapsed() < LEASE) => None,
                Some(number) => {
                    let take = "UPDATE locks SET record_version_number = nextval('locks_rvn'), owner = $2
                        WHERE name = $1 AND record_version_number IS NOT DISTINCT FROM $3
                        RETURNING record_version_number";
                    self.ask(client.query_opt(take, &[&&*self.lock, &&*self.instance, &number])).await?
                }
            };
            if let Some(row) = taken {
                return Ok(row.get(0));
            }
            sleep(LOOK).await;
        }
    }

    /// Shows that this instance is there, when it is time to, and looks who is not.
    async fn show(
        &self,
        client: &Client,
        shown: &mut Option<Instant>,
        seen: &watch::Sender<Instant>,
    ) -> anyhow::Result<()> {
        if shown.is_some_and(|at| at.elapsed() < self.absence.presence()) {
            return Ok(());
        }
        let here = "INSERT INTO kuma_instances (id, seen) VALUES ($1, now())
            ON CONFLICT (id) DO UPDATE SET seen = now()";
        // The database may see it at any moment from now on.
        let now = Instant::now();
        self.ask(client.execute(here, &[&&*self.instance])).await?;
        *shown = Some(now);
        seen.send_replace(now);
        if *self.leads.borrow() {
            let forget = "DELETE FROM kuma_instances WHERE seen < now() - $1 * interval '1 second'";
            self.ask(client.execute(forget, &[&REMEMBERED])).await?;
            let look = "SELECT id FROM kuma_instances WHERE seen < now() - $1 * interval '1 second'";
            let rows = self.ask(client.query(look, &[&self.absence.gone.as_secs_f64()])).await?;
            let gone: BTreeSet<Arc<str>> = rows.iter().map(|row| row.get::<_, &str>(0).into()).collect();
            self.gone.send_if_modified(|known| std::mem::replace(known, gone.clone()) != gone);
        }
        Ok(())
    }

    async fn ask<T>(&self, question: impl Future<Output = Result<T, tokio_postgres::Error>>) -> anyhow::Result<T> {
        timeout(self.target.patience(), question).await?.map_err(|error| anyhow::anyhow!("{}", said(&error)))
    }
}
