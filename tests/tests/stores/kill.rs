//! kill -9 of the process that writes.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use kuma_core::store::{Store, StoreError, Write};
use tests::harness::{postgres::Database, until};

use crate::scene::{create, database, key, open, update, workload};

const ROUNDS: u64 = 200;
/// Objects that are always written together.
const TOGETHER: [&str; 3] = ["left", "middle", "right"];
/// Variable with the address of the database, for the process that writes.
const WRITER: &str = "TEST_STORES_WRITER";

/// What was acknowledged is there; a batch is there whole or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_and_none_is_half_done() {
    let database = database();
    let store = open(&database).await;
    let (mut acknowledged, mut total, mut caught) = (0, 0, 0);
    let sessions = || database.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()");
    let without_writer = sessions();
    for round in 0..ROUNDS {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["kill::the_process_that_writes", "--exact", "--nocapture"])
            .env(WRITER, serde_json::to_string(&facts(&database)).unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        // It has begun to write; then some of its writes, spread over what each of them does.
        let begun = lines.by_ref().find_map(|line| number(&line, "done"));
        thread::sleep(Duration::from_micros(round * 137 % 20_000));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let mut tried = begun.unwrap_or(acknowledged);
        let mut done = tried;
        for line in lines {
            tried = number(&line, "try").unwrap_or(tried);
            if let Some(number) = number(&line, "done") {
                (done, total) = (number, total + 1);
            }
        }
        // What the server had already been told to commit may still become so.
        until("the session of the writer ends", || sessions() == without_writer);
        let labels = database.sql("SELECT DISTINCT labels->>'team' FROM resources");
        let stored: u64 = labels.parse().unwrap_or_else(|_| panic!("round {round}: half a batch is there: {labels}"));
        assert!((done..=tried.max(done)).contains(&stored), "round {round}: {stored} is not in {done}..={tried}");
        caught += u64::from(stored > done);
        acknowledged = stored;
    }
    // An instance that was there all the time has followed.
    crate::scene::shows(&store, TOGETHER[0], Some(&acknowledged.to_string())).await;
    println!("{ROUNDS} kills, {total} acknowledged writes, none lost; {caught} were kept before their answer");
    assert!(total > ROUNDS, "the writer was always killed before it wrote");
}

fn number(line: &str, word: &str) -> Option<u64> {
    line.strip_prefix(word)?.trim().parse().ok()
}

fn facts(database: &Database) -> [String; 4] {
    let Database { name, password, address, .. } = database;
    [name.clone(), password.clone(), address.ip().to_string(), address.port().to_string()]
}

/// Writes as fast as it can, in the process that is killed; nothing in any other.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_writes() {
    let Ok(facts) = std::env::var(WRITER) else { return };
    let [name, password, host, port]: [String; 4] = serde_json::from_str(&facts).unwrap();
    let settings = kuma_cp::config::Postgres {
        host,
        port: port.parse().unwrap(),
        user: name.clone(),
        password: password.as_str().into(),
        db_name: name,
        ..kuma_cp::config::Postgres::default()
    };
    let target = kuma_cp::stores::postgres::Target::new(&settings);
    let (store, _) = kuma_cp::stores::postgres::PostgresStore::open(target, jiff::Timestamp::now).await.unwrap();
    let say = |word: &str, number: u64| {
        let mut out = std::io::stdout().lock();
        out.write_all(format!("{word} {number}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let known = store.get(&key(TOGETHER[0])).await.unwrap();
    let mut count: u64 = known.map_or(0, |r| r.meta.label("team").unwrap().parse().unwrap());
    println!();
    loop {
        count += 1;
        let mut batch: Vec<Write> = Vec::new();
        for name in TOGETHER {
            let resource = workload(name, &count.to_string());
            let stored = store.get(&resource.key()).await.unwrap();
            batch.push(stored.map_or_else(|| create(&resource), |stored| update(&resource, stored.meta.version)));
        }
        say("try", count);
        match store.write(batch).await {
            Ok(_) => say("done", count),
            Err(error @ StoreError::Unavailable(_)) => panic!("{error}"),
            Err(error) => panic!("nobody else writes: {error}"),
        }
    }
}
