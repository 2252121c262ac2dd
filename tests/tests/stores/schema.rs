//! The schema is that of Kuma 3.0, however it came about.

use kuma_cp::stores::postgres::{
    self, PostgresStore, Target,
    schema::{Migrated, VERSION},
};
use tests::harness::postgres::{Database, Postgres};

use crate::scene::{create, database, open, settings, stored, workload};

fn empty() -> Database {
    Postgres::shared().fresh_database()
}

async fn start(database: &Database, tolerant: bool) -> Result<(), String> {
    let settings = kuma_cp::config::Postgres { tolerate_newer_db_versions: tolerant, ..settings(database) };
    let opened = PostgresStore::open(Target::new(&settings), jiff::Timestamp::now).await;
    opened.map(|_| ()).map_err(|error| format!("{error:#}"))
}

async fn migrate(database: &Database) -> Result<Migrated, String> {
    postgres::migrate(&settings(database)).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_database_is_migrated_once_by_whoever_comes_first() {
    kuma_cp::tls::install_provider();
    let database = empty();
    assert!(start(&database, false).await.unwrap_err().contains("kuma-cp migrate up"));
    let settings = settings(&database);
    let all = futures::future::join_all((0..5).map(|_| postgres::migrate(&settings))).await;
    let steps: Vec<usize> = all
        .into_iter()
        .filter_map(|done| match done.unwrap() {
            Migrated::From { before: None, steps } => Some(steps),
            _ => None,
        })
        .collect();
    assert_eq!(steps, [11]);
    assert_eq!(database.sql("SELECT * FROM schema_migrations"), format!("{VERSION}|f"));
    assert_eq!(start(&database, false).await, Ok(()));
}

/// Killed after any number of steps it goes on where it was, and what comes out is the same.
#[tokio::test]
async fn an_interrupted_migration_goes_on() {
    let whole = database();
    for cut in [1_579_518_998_i64, 1_589_041_445, 1_604_501_001, 1_677_096_751] {
        let database = empty();
        // The step after the cut is refused: as far as the database can tell, the program died there.
        database.sql(&format!(
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF NEW.version > {cut} THEN RAISE EXCEPTION 'cut'; END IF; RETURN NEW; END $$;
             CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);
             ALTER TABLE schema_migrations OWNER TO {user};
             CREATE TRIGGER cut BEFORE INSERT ON schema_migrations FOR EACH ROW EXECUTE PROCEDURE cut()",
            user = database.user
        ));
        let error = migrate(&database).await.unwrap_err();
        assert!(error.contains("nothing of it was kept"), "{error}");
        assert_eq!(database.sql("SELECT * FROM schema_migrations"), format!("{cut}|f"));
        database.sql("DROP TRIGGER cut ON schema_migrations");
        assert!(matches!(migrate(&database).await, Ok(Migrated::From { before: Some(at), .. }) if at == cut));
        assert_eq!(shape(&database), shape(&whole), "after an interruption at {cut}");
    }
}

#[tokio::test]
async fn states_that_are_not_ours_to_mend_are_refused() {
    let database = database();
    assert_eq!(migrate(&database).await, Ok(Migrated::Already(VERSION)));
    let newer = VERSION + 1;
    database.sql(&format!("UPDATE schema_migrations SET version = {newer}"));
    assert!(migrate(&database).await.unwrap_err().contains("Run newer version of Kuma"));
    assert!(start(&database, false).await.is_err());
    assert_eq!(start(&database, true).await, Ok(()));
    database.sql("UPDATE schema_migrations SET dirty = true");
    assert!(migrate(&database).await.unwrap_err().contains(&format!("Dirty database version {newer}")));
    assert!(start(&database, true).await.unwrap_err().contains("is dirty at version"));
    database.sql(&format!("UPDATE schema_migrations SET version = {VERSION}"));
    assert_eq!(start(&database, false).await, Ok(()), "as the other program does");
}

/// Objects keep what an old schema had of them.
#[tokio::test]
async fn rows_of_an_old_schema_are_carried_over() {
    let database = database();
    let store = open(&database).await;
    stored(&store, create(&workload("x", "1"))).await;
    drop(store);
    // As before the last two steps.
    database.sql(
        "ALTER TABLE resources DROP COLUMN status, DROP COLUMN labels;
         UPDATE schema_migrations SET version = 1693473198",
    );
    assert!(start(&database, false).await.is_err());
    assert_eq!(migrate(&database).await, Ok(Migrated::From { before: Some(1_693_473_198), steps: 2 }));
    assert_eq!(start(&database, false).await, Ok(()));
    assert_eq!(database.sql("SELECT name, labels, status FROM resources"), "x|{}|{}");
}

/// Columns, constraints, indexes, functions and triggers, without those of our own tables.
fn shape(database: &Database) -> String {
    database.sql(
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
            FROM information_schema.columns
            WHERE table_schema = 'public' AND table_name IN ('resources', 'locks') ORDER BY table_name, column_name;
         SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE conrelid IN ('resources'::regclass, 'locks'::regclass) AND contype <> 'n' ORDER BY conname;
         SELECT indexdef FROM pg_indexes WHERE tablename IN ('resources', 'locks') ORDER BY indexdef;
         SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal AND tgname <> 'cut' ORDER BY tgname;
         SELECT sequencename, start_value, increment_by, cycle FROM pg_sequences ORDER BY sequencename",
    )
}

#[tokio::test]
async fn the_schema_is_the_published_one() {
    let shape = shape(&database());
    for line in [
        "locks|name|character varying|255|NO|",
        "locks|record_version_number|bigint||YES|",
        "resources|labels|jsonb||YES|'{}'::jsonb",
        "resources|name|character varying|253|NO|",
        "resources|owner_name|character varying|100|YES|",
        "resources|spec|text||YES|",
        "resources|status|jsonb||NO|'{}'::jsonb",
        "resources|creation_time|timestamp without time zone||NO|now()",
        "owner_fk|FOREIGN KEY (owner_name, owner_mesh, owner_type) REFERENCES resources(name, mesh, type) ON DELETE CASCADE",
        "resources_pkey|PRIMARY KEY (name, mesh, type)",
        "CREATE INDEX owner_fk_index ON public.resources USING btree (owner_type, owner_mesh, owner_name)",
        "locks_rvn|1|1|f",
    ] {
        assert!(shape.lines().any(|l| l == line), "{line}\nis not in\n{shape}");
    }
    assert!(shape.contains("products_notify_event"));
}
