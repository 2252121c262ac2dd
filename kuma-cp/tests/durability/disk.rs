//! A disk that is slow, and one that fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use kuma_cp::stores::sqlite::SqliteStore;

use crate::child::{self, Line, TASKS};

/// Compiles the library that takes the place of the sync calls.
fn library(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/disk.c");
    let library = folder.join("disk.so");
    let status =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    let status = status.expect("this test needs a C compiler, cc (Debian: apt-get install build-essential)");
    assert!(status.success(), "cc cannot compile the library of this test");
    library
}

/// With a sync that takes long no answer comes sooner, and there is a sync for each group of writes.
pub(crate) fn answers_wait_for_the_disk() {
    const WRITES: u64 = 5;
    const SYNC: Duration = Duration::from_millis(150);
    let folder = tempfile::tempdir().unwrap();
    let (library, log) = (library(folder.path()), folder.path().join("syncs"));
    let store = folder.path().join("store");
    drop(SqliteStore::open(&store, Timestamp::now).unwrap());
    let begin = Instant::now();
    let mut writer = child::start(&store, Some(WRITES), |command| {
        command.env("LD_PRELOAD", library).env("DISK_LOG", &log);
        command.env("DISK_DELAY_MS", SYNC.as_millis().to_string());
    });
    let lines = child::lines(&mut writer);
    assert!(writer.wait().unwrap().success());
    let done = lines.iter().filter(|line| matches!(line, Line::Done(..))).count();
    assert_eq!(done, TASKS * usize::try_from(WRITES).unwrap());
    let syncs = fs::read(&log).unwrap().len();
    println!("  {done} writes of {TASKS} tasks, {syncs} syncs, {:.2?}", begin.elapsed());
    // The writes of one task wait for each other, so each of them needs a sync of its own.
    assert!(begin.elapsed() >= SYNC * u32::try_from(WRITES).unwrap(), "answers came before the disk had the writes");
    assert!(syncs >= usize::try_from(WRITES).unwrap());
}

/// While the disk refuses, writes are refused; when it takes them again they are done, and nothing that was
/// acknowledged is missing.
pub(crate) fn a_broken_disk_refuses_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (library, broken) = (library(folder.path()), folder.path().join("broken"));
    let store = folder.path().join("store");
    let mut last = [0; TASKS];
    for (is_broken, writes) in [(false, 5), (true, 5), (false, 5)] {
        let mut writer = child::start(&store, Some(writes), |command| {
            command.env("LD_PRELOAD", &library);
            if is_broken {
                command.env("DISK_BROKEN", &broken).env(child::BREAKS, &broken);
            }
        });
        let lines = child::lines(&mut writer);
        assert!(writer.wait().unwrap().success());
        for line in lines {
            match line {
                Line::Done(task, number) if !is_broken => last[task] = number,
                Line::Refused(..) if is_broken => {}
                Line::Try(..) => {}
                other => panic!("{other} while the disk was {}", if is_broken { "broken" } else { "whole" }),
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (store, _) = SqliteStore::open(&store, Timestamp::now).unwrap();
    for (task, last) in last.into_iter().enumerate() {
        assert_eq!(runtime.block_on(child::pair(&store, task)).unwrap(), last);
        assert_eq!(last, 10, "what was refused was written again");
    }
}
