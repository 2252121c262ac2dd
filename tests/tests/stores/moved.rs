//! From one store to another and back.

use kuma_core::store::{Store, Write};
use kuma_cp::stores::{
    copy::{CopyError, copy},
    sqlite::SqliteStore,
};

use crate::scene::{create, database, key, mesh, open, team, workload};

#[tokio::test]
async fn there_and_back() {
    let database = database();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let file = |nth: usize| SqliteStore::open(folders[nth].path(), jiff::Timestamp::now).unwrap().0;
    let (first, second, shared) = (file(0), file(1), open(&database).await);
    let owner = mesh("m").key();
    let mut batch = vec![create(&mesh("m"))];
    batch.extend(
        (0..2_000).map(|n| Write::Create { resource: workload(&format!("w{n}"), "1"), owner: Some(owner.clone()) }),
    );
    first.write(batch).await.unwrap();
    assert_eq!(copy(&first, &shared).await.unwrap(), 2_001);
    assert_eq!(database.sql("SELECT count(*) FROM resources WHERE owner_name = 'm'"), "2000");
    assert!(matches!(copy(&first, &shared).await, Err(CopyError::NotEmpty(2_001))));
    assert_eq!(copy(&shared, &second).await.unwrap(), 2_001);
    // The owner went along.
    second.write(vec![Write::Delete { key: owner, expected: None }]).await.unwrap();
    assert!(second.get(&key("w7")).await.unwrap().is_none());
    assert_eq!(team(&shared, "w7").await.as_deref(), Some("1"));
}
