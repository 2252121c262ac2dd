use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    sync::Arc,
};

use kuma_core::{
    meta::{Labels, Meta},
    registry::Kind,
    resource::NoStatus,
    resources::{Mesh, Workload, Zone},
    store_contract,
};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// A store in a folder that lives as long as the test process needs it.
fn store() -> Arc<dyn Store> {
    let folder = TempDir::new().unwrap().keep();
    let (store, found) = SqliteStore::open(&folder, Timestamp::now).unwrap();
    assert!(found.new);
    Arc::new(store)
}

mod contract {
    use super::*;

    store_contract!(tokio::test, store());
}

fn workload(name: &str, team: &str) -> AnyResource {
    let labels = Labels::from([("team".into(), team.into())]);
    AnyResource::new(Meta::new("m", name, labels), Workload::default(), Default::default())
}

fn mesh() -> AnyResource {
    AnyResource::new(Meta::new("", "m", Labels::new()), Mesh::default(), NoStatus {})
}

fn create(resource: &AnyResource, owner: Option<Key>) -> Write {
    Write::Create { resource: resource.clone(), owner }
}

fn reopen(folder: &Path) -> (SqliteStore, Found) {
    SqliteStore::open(folder, Timestamp::now).unwrap()
}

fn database(folder: &Path) -> Connection {
    Connection::open(folder.join(FILE)).unwrap()
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let (store, _) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
    let first =
        store.write(vec![create(&mesh(), None), create(&workload("a", "x"), Some(mesh().key()))]).await.unwrap();
    let a = first.resources[1].clone().unwrap();
    let update = Write::Update { resource: workload("a", "y"), expected: a.meta.version };
    let second = store.write(vec![update, create(&workload("b", ""), Some(mesh().key()))]).await.unwrap();
    let written = second.resources[0].clone().unwrap();
    drop(store);

    let (store, found) = reopen(folder.path());
    assert_eq!((found.new, found.objects, found.put_aside), (false, 3, vec![]));
    let read = store.get(&written.key()).await.unwrap().unwrap();
    assert!(read.same_content(&written) && read.meta.version == written.meta.version, "{read:?}");
    // Times are kept to the microsecond.
    assert_eq!(read.meta.created.as_microsecond(), a.meta.created.as_microsecond());
    assert_eq!(read.meta.modified.as_microsecond(), written.meta.modified.as_microsecond());
    let third = store.write(vec![Write::Delete { key: mesh().key(), expected: None }]).await.unwrap();
    assert!(third.revision > second.revision, "revisions go on");
    drop(store);
    assert_eq!(reopen(folder.path()).1.objects, 0, "what a Mesh owns went with it");
}

#[tokio::test]
async fn the_log_is_moved_to_the_file_in_a_pause() {
    let folder = TempDir::new().unwrap();
    let (store, _) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
    store.write(vec![create(&mesh(), None)]).await.unwrap();
    // 4 KB each, and as much again for their histories: too little for a commit to do it.
    let team = "x".repeat(4_000);
    for number in 0..300 {
        store.write(vec![create(&workload(&format!("w-{number}"), &team), Some(mesh().key()))]).await.unwrap();
    }
    let size = || fs::metadata(folder.path().join(FILE)).unwrap().len() >> 20;
    for _ in 0..200 {
        if size() >= 2 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(size() >= 2, "{} MB in the file", size());
    drop(store);
    assert_eq!(reopen(folder.path()).1.objects, 301);
}

/// Actions and authors in the history of an object, and the label that it had.
async fn told(store: &SqliteStore, object: &AnyResource) -> Vec<(u64, &'static str, String, Option<String>)> {
    let history = store.history(&object.key()).await.unwrap();
    let team = |past: &Past| {
        let object = past.content.as_ref()?.resource(&object.key()).unwrap();
        object.meta.label("team").map(str::to_owned)
    };
    history.iter().map(|past| (past.number, past.action.name(), past.author.to_string(), team(past))).collect()
}

#[tokio::test]
async fn histories_are_there_after_a_restart_and_in_files_of_before() {
    let folder = TempDir::new().unwrap();
    let (store, _) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
    let author = Author::User("u".into());
    let first = store.write_as(author, vec![create(&workload("a", "x"), None)]).await.unwrap();
    drop(store);
    let (store, _) = reopen(folder.path());
    let x = || Some("x".to_owned());
    assert_eq!(told(&store, &workload("a", "")).await, [(1, "created", "user:u".into(), x())]);
    drop(store);

    // The first version of the file had no histories.
    let old = database(folder.path());
    old.execute_batch("DROP TABLE revisions; ALTER TABLE resources DROP COLUMN sum; PRAGMA user_version = 1").unwrap();
    drop(old);
    let (store, found) = reopen(folder.path());
    assert_eq!((found.objects, told(&store, &workload("a", "")).await), (1, vec![]));
    let expected = first.resources[0].as_ref().unwrap().meta.version;
    store.write(vec![Write::Update { resource: workload("a", "y"), expected }]).await.unwrap();
    assert_eq!(
        told(&store, &workload("a", "")).await,
        [(1, "created", "unknown".into(), x()), (2, "updated", "control-plane".into(), Some("y".into()))],
        "what was changed is recorded with the first change"
    );
}

#[tokio::test]
async fn deleted_objects_are_forgotten_in_time() {
    let folder = TempDir::new().unwrap();
    let clock = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let day = clock.clone();
    let now = move || Timestamp::from_second(day.load(std::sync::atomic::Ordering::Relaxed) * 86_400).unwrap();
    let (store, _) = SqliteStore::open(folder.path(), now).unwrap();
    let (a, b) = (workload("a", "x"), workload("b", "x"));
    let delete = |object: &AnyResource| Write::Delete { key: object.key(), expected: None };
    store.write(vec![create(&a, None), create(&b, None)]).await.unwrap();
    store.write(vec![delete(&a)]).await.unwrap();
    clock.store(89, std::sync::atomic::Ordering::Relaxed);
    store.write(vec![delete(&b), create(&a, None)]).await.unwrap();
    assert_eq!(told(&store, &a).await.len(), 3);
    clock.store(91, std::sync::atomic::Ordering::Relaxed);
    store.write(vec![create(&b, None)]).await.unwrap();
    store.write(vec![delete(&b)]).await.unwrap();
    assert_eq!(told(&store, &a).await, [(3, "created", "control-plane".into(), Some("x".into()))]);
    assert_eq!(told(&store, &b).await.len(), 4, "the later deletion is young");
}

#[tokio::test]
async fn a_file_serves_one_at_a_time_and_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let (store, _) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
    store.write(vec![create(&mesh(), None)]).await.unwrap();
    let error = SqliteStore::open(folder.path(), Timestamp::now).err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    for file in [FILE, "kuma.db-wal", "kuma.db-shm", "kuma.lock"] {
        let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_and_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (store, _) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
    store.write(vec![create(&mesh(), None)]).await.unwrap();
    let mut events = store.watch().await.unwrap();
    events.recv().await.unwrap();
    // Somebody holds the file longer than the writer waits.
    let other = database(folder.path());
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.write(vec![create(&workload("a", ""), None)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(store.get(&workload("a", "").key()).await.unwrap().is_none());
    assert!(events.try_recv().is_err(), "nobody heard of it");
    other.execute_batch("ROLLBACK").unwrap();
    store.write(vec![create(&workload("a", ""), None)]).await.unwrap();
    assert!(store.get(&workload("a", "").key()).await.unwrap().is_some());
}

#[tokio::test]
async fn what_cannot_be_read_is_put_aside() {
    let folder = TempDir::new().unwrap();
    let (store, _) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
    store.write(vec![create(&workload("a", ""), None), create(&workload("b", ""), None)]).await.unwrap();
    drop(store);
    let damage = "UPDATE resources SET spec = '{', sum = NULL WHERE name = 'a';
        INSERT INTO resources SELECT 'MeshFuture', mesh, 'c', version, created, modified, labels, spec, status, NULL, NULL, NULL, 7
        FROM resources WHERE name = 'b'";
    database(folder.path()).execute_batch(damage).unwrap();
    let (store, found) = reopen(folder.path());
    assert_eq!((found.objects, found.put_aside.len()), (1, 1), "{found:?}");
    assert_eq!(found.unknown, BTreeMap::from([("MeshFuture".to_owned(), 1)]));
    drop(store);
    let (_store, found) = reopen(folder.path());
    assert!(found.put_aside.is_empty(), "once");
    assert_eq!(found.unknown.len(), 1, "what a newer version has stays in its place");
    let count = |what: &str| -> i64 { database(folder.path()).query_row(what, [], |r| r.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM put_aside"), 1);
    assert_eq!(count("SELECT count(*) FROM resources WHERE kind = 'MeshFuture'"), 1);
}

#[tokio::test]
async fn what_a_newer_version_wrote_stays() {
    let folder = TempDir::new().unwrap();
    let (store, _) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
    store.write(vec![create(&mesh(), None), create(&workload("a", "x"), Some(mesh().key()))]).await.unwrap();
    drop(store);
    let newer = "UPDATE resources SET spec = '{\"future\": {\"a\": 1}}', sum = NULL WHERE name = 'a';
        INSERT INTO resources SELECT 'MeshFuture', mesh, 'c', version, created, modified, labels, spec, status,
            owner_kind, owner_mesh, owner_name, sum FROM resources WHERE name = 'a'";
    database(folder.path()).execute_batch(newer).unwrap();
    let (store, _) = reopen(folder.path());
    let read = store.get(&workload("a", "").key()).await.unwrap().unwrap();
    store.write(vec![Write::Update { resource: workload("a", "y"), expected: read.meta.version }]).await.unwrap();
    let text = |what: &str| -> String { database(folder.path()).query_row(what, [], |r| r.get(0)).unwrap() };
    assert_eq!(text("SELECT spec FROM resources WHERE name = 'a'"), r#"{"future":{"a":1}}"#);
    // Whoever owns it takes it along.
    store.write(vec![Write::Delete { key: mesh().key(), expected: None }]).await.unwrap();
    assert_eq!(text("SELECT CAST(count(*) AS TEXT) FROM resources"), "0");
}

/// A store of many objects, as one file.
async fn filled(folder: &Path) -> Vec<u8> {
    let (store, _) = SqliteStore::open(folder, Timestamp::now).unwrap();
    let objects = (0..500).map(|n| create(&workload(&format!("w{n}"), "team-of-the-object"), None));
    store.write(objects.collect()).await.unwrap();
    drop(store);
    fs::read(folder.join(FILE)).unwrap()
}

fn open_error(folder: &Path) -> OpenError {
    SqliteStore::open(folder, Timestamp::now).err().expect("it is damaged")
}

#[tokio::test]
async fn a_file_that_was_cut_or_overwritten_is_refused() {
    let folder = TempDir::new().unwrap();
    let whole = filled(folder.path()).await;
    let file = folder.path().join(FILE);
    for length in [0, 100, 4096, whole.len() / 2, whole.len() - 4096] {
        fs::write(&file, &whole[..length]).unwrap();
        let error = open_error(folder.path());
        assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Foreign(_)), "{length}: {error:?}");
        assert_eq!(fs::read(&file).unwrap(), whole[..length], "{length}: it is left as it is");
    }
    let mut refused = 0;
    for page in 1..whole.len() / 4096 {
        let mut spoiled = whole.clone();
        spoiled[page * 4096..][..4096].fill(0xa5);
        fs::write(&file, &spoiled).unwrap();
        match SqliteStore::open(folder.path(), Timestamp::now) {
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("is damaged") && text.contains("kuma-cp store restore"), "{page}: {text}");
                refused += 1;
            }
            // A page that nothing is in.
            Ok((_, found)) => assert_eq!((found.objects, found.put_aside.len()), (500, 0), "{page}"),
        }
    }
    assert!(refused > 20, "{refused} of {} pages", whole.len() / 4096);
    fs::write(&file, &whole).unwrap();
    assert_eq!(reopen(folder.path()).1.objects, 500);
    // Whoever wants to start with nothing moves it away.
    fs::remove_file(&file).unwrap();
    assert_eq!(reopen(folder.path()).1.objects, 0);
}

#[tokio::test]
async fn an_object_that_something_else_has_changed_is_put_aside() {
    let folder = TempDir::new().unwrap();
    let whole = filled(folder.path()).await;
    let file = folder.path().join(FILE);
    let changed = "UPDATE resources SET spec = '{}', version = version - 1 WHERE name = 'w7'";
    database(folder.path()).execute_batch(changed).unwrap();
    let (store, found) = reopen(folder.path());
    assert_eq!((found.objects, found.put_aside.len()), (499, 1), "{:?}", found.put_aside);
    assert!(found.put_aside[0].contains("\"w7\"") && found.put_aside[0].contains("checksum"), "{:?}", found.put_aside);
    assert!(store.get(&workload("w7", "").key()).await.unwrap().is_none());
    drop(store);

    // One bit of each label, which the spec follows in its row: no structure of the file shows that.
    let mut spoiled = whole;
    let text = br#"team-of-the-object"}{}"#;
    let places: Vec<usize> = (0..spoiled.len()).filter(|at| spoiled[*at..].starts_with(text)).collect();
    for at in places {
        spoiled[at] ^= 1;
    }
    fs::write(&file, &spoiled).unwrap();
    let (_store, found) = reopen(folder.path());
    assert_eq!((found.objects, found.put_aside.len()), (0, 500));
}

#[test]
fn files_of_others_and_of_newer_versions_are_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(FILE), "not a database, but long enough to be looked at").unwrap();
    assert!(matches!(SqliteStore::open(folder.path(), Timestamp::now), Err(OpenError::Foreign(_))));
    let folder = TempDir::new().unwrap();
    database(folder.path()).execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(SqliteStore::open(folder.path(), Timestamp::now), Err(OpenError::Foreign(_))));
    let folder = TempDir::new().unwrap();
    drop(reopen(folder.path()));
    database(folder.path()).pragma_update(None, "user_version", 99).unwrap();
    let newer = SqliteStore::open(folder.path(), Timestamp::now);
    assert!(matches!(newer, Err(OpenError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn a_copy_taken_while_it_is_written_can_be_put_back() {
    let folder = TempDir::new().unwrap();
    let (store, _) = SqliteStore::open(folder.path(), Timestamp::now).unwrap();
    store.write(vec![create(&mesh(), None), create(&workload("a", ""), None)]).await.unwrap();
    let copy = folder.path().join("copy.db");
    assert_eq!(backup(folder.path(), &copy).unwrap(), 2);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(backup(folder.path(), &copy), Err(BackupError::Exists(_))));
    store.write(vec![create(&workload("b", ""), None)]).await.unwrap();
    let in_use = restore(folder.path(), &copy).unwrap_err();
    assert!(matches!(in_use, BackupError::Open(OpenError::InUse(_))), "{in_use}");
    drop(store);

    let (count, before) = restore(folder.path(), &copy).unwrap();
    assert_eq!(count, 2);
    assert!(before.unwrap().exists());
    let (store, found) = reopen(folder.path());
    assert_eq!(found.objects, 2);
    assert!(store.get(&Key::new(Kind::Workload, "m", "b")).await.unwrap().is_none());
    // A zone is new to the copy.
    let zone = AnyResource::new(Meta::new("", "z", Labels::new()), Zone::default(), NoStatus {});
    store.write(vec![create(&zone, None)]).await.unwrap();

    fs::write(&copy, &fs::read(&copy).unwrap()[..5000]).unwrap();
    let other = TempDir::new().unwrap();
    assert!(restore(other.path(), &copy).is_err());
    assert!(!other.path().join(FILE).exists());
}

#[tokio::test]
async fn what_root_puts_back_belongs_to_whom_the_folder_belongs_to() {
    let (first, second) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    drop(reopen(first.path()));
    let copy = first.path().join("copy.db");
    let missing = backup(first.path(), &first.path().join("none/copy.db")).unwrap_err().to_string();
    assert!(missing.contains("No such file or directory"), "{missing}");
    backup(first.path(), &copy).unwrap();
    // Only root can give files away; for anybody else the folder is their own.
    let nobody = 65534;
    if nix::unistd::Uid::effective().is_root() {
        std::os::unix::fs::chown(second.path(), Some(nobody), Some(nobody)).unwrap();
    }
    restore(second.path(), &copy).unwrap();
    let owner = fs::metadata(second.path()).unwrap().uid();
    for name in [FILE, "kuma.lock"] {
        assert_eq!(fs::metadata(second.path().join(name)).unwrap().uid(), owner, "{name}");
    }
}
