//! Addresses of the DNS names that Dataplanes carry instead of an IP address.
//!
//! Follows the Dataplanes, asks DNS for each name as long as somebody carries it, and publishes the whole map whenever
//! an answer changed it: plans and previews read it. While DNS fails, the last known answer stays. Without such names
//! nothing is asked and nothing wakes up.

mod book;
#[cfg(test)]
mod tests;

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use kuma_core::{plan::Names, registry::Kind, resources::Dataplane};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use self::book::{Answer, Book, News};
use crate::{state::StateHandle, world::WorldHandle};

/// Longest wait for an answer.
const WITHIN: Duration = Duration::from_secs(5);
/// Questions at one time.
const QUESTIONS: usize = 16;
/// After the first change of the map, answers to other questions are waited for as long: a start with many names is one
/// change, and not one per name.
const TOGETHER: Duration = Duration::from_millis(50);

/// Somebody who knows addresses.
#[async_trait]
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of a host.
    ///
    /// # Errors
    /// Why there are none, as far as it is known.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// What this machine uses: DNS, `/etc/hosts` and whatever else it is configured to ask.
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|at| at.ip()).collect())
    }
}

/// Keeps the addresses up to date until `stop`. Every name is asked for every `refresh`.
pub async fn run(
    resolver: Arc<dyn Resolver>,
    state: StateHandle,
    refresh: Duration,
    published: watch::Sender<Arc<Names>>,
    stop: CancellationToken,
) {
    let mut changes = state.subscribe();
    let mut book = Book::new(refresh);
    let mut lookups: JoinSet<Answer> = JoinSet::new();
    let slots = Arc::new(Semaphore::new(QUESTIONS));
    let mut publish_at: Option<Instant> = None;
    loop {
        let (ask_at, told_at) = (book.next(), publish_at);
        tokio::select! {
            batch = changes.next() => {
                let Some(batch) = batch else { return };
                for change in batch.changes.iter().filter(|c| c.key.kind == Kind::Dataplane) {
                    let spec = change.now.as_ref().and_then(|r| r.spec::<Dataplane>());
                    book.carries(&change.key, spec.map(hosts).unwrap_or_default(), Instant::now());
                }
            }
            // A lookup that panicked has no answer; nothing of ours panics there.
            Some(answer) = lookups.join_next() => {
                let news = answer.ok().and_then(|answer| book.answered(answer, Instant::now()));
                news.iter().for_each(tell);
            }
            () = at(ask_at) => {}
            () = at(told_at) => {}
            () = stop.cancelled() => return,
        }
        let now = Instant::now();
        for host in book.take_due(now) {
            lookups.spawn(ask(resolver.clone(), slots.clone(), host));
        }
        publish_at = if !book.changed() {
            None
        } else if lookups.is_empty() || publish_at.is_some_and(|at| at <= now) {
            published.send_replace(book.take());
            None
        } else {
            publish_at.or(Some(now + TOGETHER))
        };
    }
}

/// Hands published maps to the planning thread, until the one or the other is gone.
pub async fn feed_world(mut names: watch::Receiver<Arc<Names>>, world: WorldHandle) {
    while names.changed().await.is_ok() {
        let now = names.borrow_and_update().clone();
        if world.names(now).await.is_err() {
            return;
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn ask(resolver: Arc<dyn Resolver>, slots: Arc<Semaphore>, host: Arc<str>) -> Answer {
    // The semaphore is never closed.
    let _slot = slots.acquire().await;
    let found = match timeout(WITHIN, resolver.lookup(&host)).await {
        Ok(Ok(found)) => smallest(&found).ok_or_else(|| "it has no address".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} seconds", WITHIN.as_secs())),
    };
    Answer { host, found }
}

/// Of several addresses the one that sorts first as text: whatever order an answer has, it is the same.
fn smallest(found: &[IpAddr]) -> Option<Arc<str>> {
    found.iter().map(IpAddr::to_string).min().map(Into::into)
}

/// The names in the places of a Dataplane where an address is resolved.
fn hosts(dataplane: &Dataplane) -> Vec<Arc<str>> {
    let networking = dataplane.networking.iter();
    let places = networking
        .flat_map(|n| std::iter::once(&n.address).chain(n.listeners.iter().map(|listener| &listener.address)));
    places.filter(|host| !host.is_empty() && host.parse::<IpAddr>().is_err()).map(|host| host.as_str().into()).collect()
}

/// Writes to the log what has changed about a name.
fn tell(news: &News) {
    match news {
        News::Found { host, address, before: None } => {
            tracing::info!(%host, %address, "the address of a Dataplane is found");
        }
        News::Found { host, address, before: Some(before) } => {
            tracing::info!(%host, %address, %before, "the address of a Dataplane has changed");
        }
        News::Back { host, address } => {
            tracing::info!(%host, %address, "the address of a Dataplane is found again");
        }
        News::Lost { host, address, error } => {
            tracing::warn!(%host, %address, error, "the address of a Dataplane is not found any more, its last one stays");
        }
        News::Missing { host, error } => {
            tracing::warn!(%host, error, "the address of a Dataplane is not found: it takes no part in the mesh until it is");
        }
    }
}
