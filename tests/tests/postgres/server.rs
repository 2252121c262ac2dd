//! One server: databases, ends and beginnings.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tests::harness::{
    postgres::{Postgres, Settings},
    process::{children, is_alive},
    until,
};

/// Makes this executable the process that the last test kills.
const VICTIM: &str = "KUMA_TEST_POSTGRES_VICTIM";

#[test]
fn a_database_belongs_to_a_user_who_sees_no_other() {
    let (one, two) = (Postgres::shared().fresh_database(), Postgres::shared().fresh_database());
    one.try_sql_as_owner("CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)").unwrap();
    assert_eq!(one.sql("SELECT n, n * 2 FROM t ORDER BY n"), "1|2\n2|4");
    assert_eq!(one.try_sql_as_owner("SELECT usesuper FROM pg_user WHERE usename = current_user").unwrap(), "f");
    let missing = two.try_sql("SELECT * FROM t").unwrap_err();
    assert!(missing.contains("relation \"t\" does not exist"), "{missing}");
    let mut stranger = one.clone();
    stranger.password = "guessed".to_owned();
    let refused = stranger.try_sql_as_owner("SELECT 1").unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
}

#[test]
fn statements_end_at_the_first_that_fails() {
    let database = Postgres::shared().fresh_database();
    let error = database.try_sql("CREATE TABLE t (n int); SELECT 1 / 0; DROP TABLE t").unwrap_err();
    assert!(error.contains("division by zero"), "{error}");
    assert_eq!(database.sql("SELECT count(*) FROM t"), "0");
}

#[test]
fn connections_are_counted_and_cut() {
    let database = Postgres::shared().fresh_database();
    let client = database.clone();
    let sleeper = thread::spawn(move || client.try_sql_as_owner("SELECT pg_sleep(60)"));
    until("a connection", || database.connections() == 1);
    assert_eq!(database.cut_connections(), 1);
    let error = sleeper.join().unwrap().unwrap_err();
    assert!(error.contains("terminating connection due to administrator command"), "{error}");
}

#[test]
fn what_was_committed_survives_a_restart_and_kill_9() {
    let server = Postgres::start();
    let (database, address) = (server.create_database("kept"), server.address());
    database.try_sql_as_owner("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    server.restart();
    database.sql("INSERT INTO t VALUES (2)");
    let pids = children(server.pid().unwrap());
    assert!(pids.len() > 3, "a server has helpers: {pids:?}");
    server.kill();
    assert!(!pids.iter().any(|pid| is_alive(*pid)));
    let error = database.try_sql_as_owner("SELECT 1").unwrap_err();
    assert!(error.contains("Connection refused"), "{error}");
    server.start_again();
    assert_eq!(server.address(), address);
    assert_eq!(database.try_sql_as_owner("SELECT n FROM t ORDER BY n").unwrap(), "1\n2");
    assert!(server.log().contains("database system was not properly shut down"), "{}", server.log());
}

#[test]
fn a_paused_server_says_nothing_until_it_goes_on() {
    let server = Postgres::start();
    let database = server.fresh_database();
    server.pause();
    let (sender, receiver) = mpsc::channel();
    let client = thread::spawn(move || sender.send(database.try_sql_as_owner("SELECT 7")));
    assert_eq!(receiver.recv_timeout(Duration::from_millis(500)), Err(mpsc::RecvTimeoutError::Timeout));
    server.resume();
    client.join().unwrap().unwrap();
    assert_eq!(receiver.recv().unwrap(), Ok("7".to_owned()));
    // It can be stopped while it is paused, too.
    server.pause();
    server.stop();
}

#[test]
fn a_server_has_the_settings_that_it_was_given() {
    let settings = Settings::default().durable().set("max_connections", "7").set("cluster_name", "it's");
    let server = Postgres::start_with(settings);
    let shown = |name: &str| server.sql(&format!("SHOW {name}"));
    assert_eq!([shown("fsync"), shown("max_connections"), shown("server_encoding")], ["on", "7", "UTF8"]);
    assert_eq!(server.sql("SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'postgres'"), "b|C.UTF-8");
    assert_eq!(shown("cluster_name"), "it's");
    server.set("log_min_duration_statement", "10s");
    until("the new value", || shown("log_min_duration_statement") == "10s");
}

#[test]
fn a_server_ends_with_its_test_process_even_while_it_is_paused() {
    if env::var_os(VICTIM).is_some() {
        let server = Postgres::start();
        server.pause();
        println!("\n{VICTIM} {} {}", server.pid().unwrap(), server.socket_folder().display());
        thread::sleep(Duration::from_mins(10));
    }
    let name = "server::a_server_ends_with_its_test_process_even_while_it_is_paused";
    let mut victim = Command::new(env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).find_map(|line| line.strip_prefix(VICTIM).map(str::to_owned)).unwrap();
    let (pid, folder) = said.trim().split_once(' ').unwrap();
    let pid: i32 = pid.parse().unwrap();
    let pids = children(pid);
    assert!(is_alive(pid) && pids.len() > 3 && Path::new(folder).exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    until("the end of the server", || !is_alive(pid) && !pids.iter().any(|pid| is_alive(*pid)));
    until("the end of its folder", || !Path::new(folder).exists());
}

#[test]
fn a_server_leaves_no_folder_no_process_and_no_shared_memory() {
    for is_killed in [false, true] {
        let server = Postgres::start();
        let (folder, pids) = (server.socket_folder().to_owned(), children(server.pid().unwrap()));
        let running = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
        let memory = running.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned();
        assert!(has_shared_memory(&memory), "{running}");
        if is_killed {
            server.kill();
        }
        drop(server);
        assert!(!folder.exists() && !pids.iter().any(|pid| is_alive(*pid)) && !has_shared_memory(&memory));
    }
}

/// Whether the kernel has a segment with this number.
fn has_shared_memory(number: &str) -> bool {
    let table = fs::read_to_string("/proc/sysvipc/shm").unwrap();
    table.lines().any(|line| line.split_whitespace().nth(1) == Some(number))
}
