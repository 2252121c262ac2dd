//! The process that writes: pairs of objects that always change together, one pair per task. It prints what it is about
//! to write and what was acknowledged.

use std::{
    fmt,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta, Version},
    registry::Kind,
    resource::{AnyResource, Key},
    resources::Workload,
    store::{Store, StoreError, Write},
};
use kuma_cp::stores::sqlite::SqliteStore;

/// First argument of the process.
pub(crate) const COMMAND: &str = "write-pairs";
/// Variable with the name of a file that the process makes as soon as the store is open.
pub(crate) const BREAKS: &str = "TEST_BREAKS";
/// Pairs that are written at the same time.
pub(crate) const TASKS: usize = 4;

/// A line of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Task and number that it is about to write.
    Try(usize, u64),
    /// That was acknowledged.
    Done(usize, u64),
    /// That was refused.
    Refused(usize, u64),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Try(task, number) => write!(f, "try {task} {number}"),
            Self::Done(task, number) => write!(f, "done {task} {number}"),
            Self::Refused(task, number) => write!(f, "refused {task} {number}"),
        }
    }
}

impl Line {
    /// A line that was cut off by a kill is none.
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.strip_suffix('\n')?.split(' ').collect();
        let [word, task, number] = *words else { return None };
        let (task, number) = (task.parse().ok()?, number.parse().ok()?);
        match word {
            "try" => Some(Self::Try(task, number)),
            "done" => Some(Self::Done(task, number)),
            "refused" => Some(Self::Refused(task, number)),
            _ => None,
        }
    }
}

fn say(line: Line) {
    let mut out = std::io::stdout().lock();
    // One write call, so that lines of several threads stay whole. A parent that is gone needs no lines.
    let _ = out.write_all(format!("{line}\n").as_bytes());
    let _ = out.flush();
}

/// Name of one object of a pair.
fn name(task: usize, side: &str) -> String {
    format!("{side}-{task}")
}

fn object(task: usize, side: &str, number: u64) -> AnyResource {
    let labels = Labels::from([("number".to_owned(), number.to_string())]);
    AnyResource::new(Meta::new("m", name(task, side).as_str(), labels), Workload::default(), Default::default())
}

/// Number in a stored pair, 0 if it is not there.
pub(crate) async fn pair(store: &SqliteStore, task: usize) -> Result<u64, String> {
    let mut numbers = Vec::new();
    for side in ["left", "right"] {
        let found = store.get(&Key::new(Kind::Workload, "m", name(task, side).as_str())).await.unwrap();
        numbers.push(found.map_or(0, |r| r.meta.label("number").unwrap().parse::<u64>().unwrap()));
    }
    if numbers[0] == numbers[1] { Ok(numbers[0]) } else { Err(format!("pair {task} is half written: {numbers:?}")) }
}

/// What the process does: `FOLDER [NUMBER OF WRITES PER TASK]`, without a number for ever.
pub(crate) fn run(arguments: &[String]) {
    let writes = arguments.get(1).map_or(u64::MAX, |number| number.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let (store, _) = SqliteStore::open(Path::new(&arguments[0]), Timestamp::now).unwrap();
    let store = Arc::new(store);
    if let Some(broken) = std::env::var_os(BREAKS) {
        std::fs::write(broken, "").unwrap();
    }
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS).map(|task| tokio::spawn(write_pair(store.clone(), task, writes))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn write_pair(store: Arc<SqliteStore>, task: usize, writes: u64) {
    let mut number = pair(&store, task).await.unwrap();
    let mut left = writes;
    while left > 0 {
        left -= 1;
        number += 1;
        let mut batch = Vec::new();
        for side in ["left", "right"] {
            let resource = object(task, side, number);
            let stored: Option<Version> = store.get(&resource.key()).await.unwrap().map(|r| r.meta.version);
            batch.push(match stored {
                Some(expected) => Write::Update { resource, expected },
                None => Write::Create { resource, owner: None },
            });
        }
        say(Line::Try(task, number));
        match store.write(batch).await {
            Ok(_) => say(Line::Done(task, number)),
            Err(StoreError::Unavailable(_)) => say(Line::Refused(task, number)),
            Err(other) => panic!("{other}"),
        }
    }
}

/// Starts the process on a folder.
pub(crate) fn start(folder: &Path, writes: Option<u64>, set: impl FnOnce(&mut Command)) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(COMMAND).arg(folder).args(writes.map(|w| w.to_string())).stdout(Stdio::piped());
    set(&mut command);
    command.spawn().unwrap()
}

/// What it said until it ended.
pub(crate) fn lines(child: &mut Child) -> Vec<Line> {
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    let mut text = String::new();
    while reader.read_line(&mut text).unwrap() > 0 {
        lines.extend(Line::parse(&text));
        text.clear();
    }
    lines
}
