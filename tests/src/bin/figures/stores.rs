//! The stores, each below a control plane as it ships: how fast they write, how a large one reads, and how it starts.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;
use tests::harness::{
    PATIENCE, http,
    http::Client,
    mesh::Mesh,
    postgres::{Postgres, Settings},
};

use crate::{footprint::resident, sample::Sample, table::Row};

/// Most objects in one answer.
const PAGE: usize = 1_000;
/// Dataplanes that are stored.
const OBJECTS: usize = 10_000;
/// Clients that write at the same time.
const WRITERS: usize = 16;
/// Writes one after the other.
const ALONE: usize = 200;
const LISTS: usize = 5;
/// Writes that another instance is asked for.
const FOLLOWED: usize = 100;
const RESTARTS: usize = 3;

/// All figures of all stores.
pub(crate) fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    for store in ["memory", "sqlite"] {
        let mesh = Mesh::start_with(&[("KUMA_STORE_TYPE", store)]);
        rows.extend(of(store, mesh, None));
    }
    // As it runs outside of tests: every commit waits for the disk.
    let server = Postgres::start_with(Settings::default().durable());
    let database = server.fresh_database().migrated();
    let environment = database.environment();
    let settings: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    rows.extend(of("postgres", Mesh::start_with(&settings), Some(&settings)));
    rows
}

fn of(store: &str, mut mesh: Mesh, shared: Option<&[(&str, &str)]>) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |figure: &str, measured: String, bound: &'static str| {
        println!("  {store}: {figure}: {measured}");
        rows.push(Row::new(format!("{store}: {figure}"), measured, bound));
    };
    row("PUT, one client", one_by_one(&mesh).to_string(), "");
    row("PUT, 16 clients", many(&mesh), "");
    let list = |_| {
        let begin = Instant::now();
        for offset in (0..OBJECTS).step_by(PAGE) {
            let path = format!("/meshes/default/dataplanes?size={PAGE}&offset={offset}");
            let answer = mesh.rest("GET", &path, b"").unwrap();
            assert!(answer.status == 200 && answer.body.len() > PAGE * 100, "{}", answer.body);
        }
        begin.elapsed()
    };
    row("list of 10,000, ten pages", (0..LISTS).map(list).collect::<Sample>().to_string(), "");
    row("memory with 10,000 Dataplanes", resident(mesh.cp().pid()), "");
    if let Some(settings) = shared {
        row("PUT until another instance shows it", followed(&mesh, settings).to_string(), "");
    }
    if store != "memory" {
        let again = |_| {
            mesh.cp().kill();
            let begin = Instant::now();
            mesh.start_cp_only();
            let port = mesh.setting("KUMA_DIAGNOSTICS_SERVER_PORT").parse::<u16>().unwrap();
            let ready = std::net::SocketAddr::from(([127, 0, 0, 1], port));
            while http::get(ready, "/ready", &[]).map_or(true, |answer| answer.status != 200) {
                assert!(begin.elapsed() < PATIENCE, "kuma-cp is not ready");
                thread::sleep(Duration::from_millis(1));
            }
            let took = begin.elapsed();
            assert_eq!(mesh.rest("GET", &path("many", OBJECTS - 1), b"").unwrap().status, 200);
            took
        };
        row("kill -9, exec to ready with 10,000", (0..RESTARTS).map(again).collect::<Sample>().to_string(), "2 s");
    }
    rows
}

fn path(prefix: &str, nth: usize) -> String {
    format!("/meshes/default/dataplanes/{prefix}-{nth}")
}

fn put(client: &mut Client, prefix: &str, nth: usize) {
    let dataplane = json!({
        "type": "Dataplane", "mesh": "default", "name": format!("{prefix}-{nth}"),
        "networking": {
            "address": format!("10.{}.{}.{}", nth >> 16 & 255, nth >> 8 & 255, nth & 255),
            "inbound": [{"name": "http", "port": 8080, "protocol": "http"}],
        },
    });
    let headers = [("content-type", "application/json")];
    let answer = client.send("PUT", &path(prefix, nth), &headers, dataplane.to_string().as_bytes()).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.body);
}

fn one_by_one(mesh: &Mesh) -> Sample {
    let mut client = Client::new(mesh.api);
    let once = |nth| {
        let begin = Instant::now();
        put(&mut client, "alone", nth);
        begin.elapsed()
    };
    (0..ALONE).map(once).collect()
}

/// `1234 a second; each median 9.1 ms, worst 20.0 ms of 10000`
fn many(mesh: &Mesh) -> String {
    let (next, times) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(OBJECTS)));
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                let mut client = Client::new(mesh.api);
                loop {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= OBJECTS {
                        return;
                    }
                    let begin = Instant::now();
                    put(&mut client, "many", nth);
                    times.lock().unwrap().push(begin.elapsed());
                }
            });
        }
    });
    let rate = OBJECTS as f64 / begin.elapsed().as_secs_f64();
    let each: Sample = times.into_inner().unwrap().into_iter().collect();
    format!("{rate:.0} a second; each {each}")
}

/// From the request at one instance until another one answers with what it wrote.
fn followed(mesh: &Mesh, settings: &[(&str, &str)]) -> Sample {
    let port = tests::harness::ports::free_port();
    let text = port.to_string();
    let mut all = settings.to_vec();
    all.push(("KUMA_API_SERVER_HTTP_PORT", &text));
    let (_process, _) = mesh.another_cp(&all);
    let api = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let begin = Instant::now();
    while http::get(api, &path("many", 0), &[]).map_or(true, |answer| answer.status != 200) {
        assert!(begin.elapsed() < PATIENCE, "the other instance does not answer");
        thread::sleep(Duration::from_millis(5));
    }
    let (mut here, mut there) = (Client::new(mesh.api), Client::new(api));
    let once = |nth| {
        let begin = Instant::now();
        put(&mut here, "followed", nth);
        while there.send("GET", &path("followed", nth), &[], b"").unwrap().status != 200 {
            assert!(begin.elapsed() < PATIENCE, "the other instance does not show it");
        }
        begin.elapsed()
    };
    (0..FOLLOWED).map(once).collect()
}
