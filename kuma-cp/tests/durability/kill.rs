//! kill -9 while it writes.

use std::{thread, time::Duration};

use jiff::Timestamp;
use kuma_cp::stores::sqlite::SqliteStore;

use crate::child::{self, Line, TASKS};

const ROUNDS: u64 = 200;

/// Whatever the moment: everything that was acknowledged is there, nothing is there in half, and what is there beyond
/// the last acknowledgement is what was being written.
pub(crate) fn killed_at_random_points() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut acknowledged = [0; TASKS];
    let (mut writes, mut caught) = (0, 0);
    for round in 0..ROUNDS {
        let mut writer = child::start(folder.path(), None, |_| ());
        // Spread over the start, the first writes and the middle of many.
        thread::sleep(Duration::from_millis(2 + round * 37 % 90));
        writer.kill().unwrap();
        let lines = child::lines(&mut writer);
        writer.wait().unwrap();
        let mut tried = acknowledged;
        for line in lines {
            match line {
                Line::Try(task, number) => tried[task] = number,
                Line::Done(task, number) => {
                    acknowledged[task] = number;
                    writes += 1;
                }
                Line::Refused(..) => panic!("{line} in round {round}"),
            }
        }
        // Its lock went with the process.
        let (store, found) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
        assert!(found.put_aside.is_empty(), "round {round}: {found:?}");
        for task in 0..TASKS {
            let stored = runtime.block_on(child::pair(&store, task)).unwrap();
            let (from, to) = (acknowledged[task], tried[task]);
            assert!((from..=to).contains(&stored), "round {round}, task {task}: {stored} is not in {from}..={to}");
            caught += u64::from(stored > from);
            acknowledged[task] = stored;
        }
    }
    println!("  {ROUNDS} kills, {writes} acknowledged writes, none lost; {caught} were on disk before their answer");
    assert!(writes > ROUNDS, "the writer was always killed before it wrote");
}
