//! One of several instances leads.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use kuma_core::store::{Store, StoreError};
use kuma_cp::stores::postgres::{
    Fence, Target,
    lock::{Absence, Contender, LEADER},
};
use tests::harness::{postgres::Database, relay::Relay};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::scene::{create, database, open, settings, stored, team, workload};

/// Longer than any takeover.
const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Instance {
    leads: watch::Receiver<bool>,
    pub(crate) gone: watch::Receiver<BTreeSet<Arc<str>>>,
    cut_off: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Instance {
    pub(crate) fn start(database: &Database, name: &str) -> Self {
        Self::start_with(database, name, Absence::of(&settings(database)))
    }

    fn start_with(database: &Database, name: &str, absence: Absence) -> Self {
        let (leads, channel) = watch::channel(false);
        let (gone, absent) = watch::channel(BTreeSet::new());
        let target = Target::new(&settings(database));
        let (cut_off, is_cut_off) = watch::channel(false);
        let contender = Contender { target, lock: LEADER.into(), instance: name.into(), absence, leads, gone, cut_off };
        let stop = CancellationToken::new();
        let task = tokio::spawn(contender.run(stop.clone()));
        Self { leads: channel, gone: absent, cut_off: is_cut_off, stop, task }
    }

    pub(crate) async fn becomes(&self, leads: bool) {
        let mut told = self.leads.clone();
        let waited = tokio::time::timeout(LONG, told.wait_for(|now| *now == leads)).await;
        assert!(waited.is_ok(), "it does not become {leads}");
    }

    fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// As if its process had been killed.
    pub(crate) fn die(&self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn one_leads_and_another_follows_when_it_ends() {
    let database = database();
    open(&database).await;
    let a = Instance::start(&database, "a");
    a.becomes(true).await;
    let b = Instance::start(&database, "b");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(a.leads() && !b.leads(), "the lock of a live holder stays where it is");
    a.stop.cancel();
    a.task.await.unwrap();
    let ended = Instant::now();
    b.becomes(true).await;
    println!("after an orderly end the next one leads in {:?}", ended.elapsed());
    assert_eq!(database.sql("SELECT name, owner FROM locks"), format!("{LEADER}|b"));
    b.stop.cancel();
    b.task.await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM locks"), "0", "nobody has to wait for it");
}

#[tokio::test]
async fn a_holder_that_died_is_replaced() {
    let database = database();
    open(&database).await;
    let a = Instance::start(&database, "a");
    a.becomes(true).await;
    let others = [Instance::start(&database, "b"), Instance::start(&database, "c")];
    tokio::time::sleep(Duration::from_secs(1)).await;
    a.die();
    let died = Instant::now();
    while others.iter().all(|other| !other.leads()) {
        assert!(died.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("after a death the next one leads in {:?}", died.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(others.iter().filter(|other| other.leads()).count(), 1);
}

/// A leader of Kuma 3.0 has the lock: it is left alone while it shows signs of life.
#[tokio::test]
async fn a_leader_of_another_program_is_respected() {
    let database = database();
    open(&database).await;
    database.sql(&format!("INSERT INTO locks VALUES ('{LEADER}', nextval('locks_rvn'), NULL, 'theirs')"));
    let ours = Instance::start(&database, "ours");
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!ours.leads());
        database.sql("UPDATE locks SET record_version_number = nextval('locks_rvn') WHERE owner = 'theirs'");
    }
    ours.becomes(true).await;
    // It comes back to life and finds another number than its own.
    assert_eq!(database.sql("SELECT owner FROM locks"), "ours");
}

/// Whoever leads no more cannot write what only a leader writes, whatever it believes.
#[tokio::test]
async fn a_stale_leader_writes_nothing() {
    let database = database();
    let store = open(&database).await;
    let fence = |instance: &str| Fence { lock: LEADER.into(), instance: instance.into() };
    let (a, b) = (store.fenced(fence("a")), store.fenced(fence("b")));
    let early = a.write(vec![create(&workload("early", "1"))]).await;
    assert!(matches!(early, Err(StoreError::Fenced)), "{early:?}");
    database.sql(&format!("INSERT INTO locks VALUES ('{LEADER}', 1, NULL, 'a')"));
    stored(&a, create(&workload("x", "1"))).await;
    database.sql("UPDATE locks SET record_version_number = 2, owner = 'b'");
    let writes = [
        a.write(vec![create(&workload("stale", "1"))]),
        b.write(vec![create(&workload("fresh", "1"))]),
        store.write(vec![create(&workload("free", "1"))]),
    ];
    let outcomes = futures::future::join_all(writes).await;
    // Also behind one that may, in the same transaction.
    let writes = [b.write(vec![create(&workload("behind", "1"))]), a.write(vec![create(&workload("stale", "1"))])];
    let [behind, stale] = <[_; 2]>::try_from(futures::future::join_all(writes).await).unwrap();
    assert!(behind.is_ok() && stale.is_err(), "{behind:?} {stale:?}");
    assert!(matches!(outcomes[0], Err(StoreError::Fenced)), "{outcomes:?}");
    assert!(outcomes[1].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert_eq!((team(&store, "stale").await, team(&store, "early").await), (None, None));
    assert_eq!(database.sql("SELECT string_agg(name, ' ' ORDER BY name) FROM resources"), "behind free fresh x");
}

/// A leader that the database is out of reach for leads no more before another one does, both within 30 s; and it knows
/// that it is cut off before others take it for gone.
#[tokio::test]
async fn a_leader_that_is_cut_off_yields() {
    let database = database();
    open(&database).await;
    let relay = Relay::start(0, database.address);
    let absence =
        Absence { hand_over: Duration::from_secs(2), gone: Duration::from_secs(6), removal: Duration::from_secs(1) };
    let cut = Instance::start_with(&database.at(relay.address()), "cut", absence);
    cut.becomes(true).await;
    let other = Instance::start_with(&database, "other", absence);
    tokio::time::sleep(Duration::from_secs(1)).await;
    relay.set_blackhole(true);
    let since = Instant::now();
    let mut lost = cut.leads.clone();
    let yields = lost.wait_for(|leads| !leads);
    tokio::select! {
        biased;
        yielded = yields => assert!(yielded.is_ok()),
        () = other.becomes(true) => panic!("two lead at a time"),
    }
    println!("without the database the leader yields within {:.2?}", since.elapsed());
    other.becomes(true).await;
    assert!(since.elapsed() < Duration::from_secs(30));
    println!("the next one leads {:.2?} after the cut", since.elapsed());
    let (mut cut_off, mut gone) = (cut.cut_off.clone(), other.gone.clone());
    let knows = cut_off.wait_for(|cut_off| *cut_off);
    let is_gone = gone.wait_for(|gone| gone.contains("cut"));
    tokio::select! {
        biased;
        known = knows => assert!(known.is_ok()),
        _ = is_gone => panic!("others take it for gone before it knows"),
    }
    assert!(tokio::time::timeout(LONG, gone.wait_for(|gone| gone.contains("cut"))).await.is_ok());
    relay.set_blackhole(false);
    assert!(tokio::time::timeout(LONG, cut_off.wait_for(|cut_off| !cut_off)).await.is_ok());
    assert!(tokio::time::timeout(LONG, gone.wait_for(BTreeSet::is_empty)).await.is_ok(), "it is back");
    assert!(other.leads() && !cut.leads());
}

/// The leader learns which instances are not there any more.
#[tokio::test]
async fn instances_that_are_gone_are_told() {
    let database = database();
    open(&database).await;
    database.sql(
        "INSERT INTO kuma_instances VALUES ('dead', now() - interval '2 minutes'), ('old', now() - interval '91 days')",
    );
    let a = Instance::start(&database, "a");
    let mut gone = a.gone.clone();
    let told = tokio::time::timeout(LONG, gone.wait_for(|gone| !gone.is_empty())).await;
    assert_eq!(*told.unwrap().unwrap(), BTreeSet::from(["dead".into()]));
}
