//! The schema of the database: that of Kuma 3.0, by the same versioned steps, under the same lock.
//!
//! `schema_migrations` and everything that it counts belong to both programs, so nothing here ever differs from what the
//! other one would have made. What is only ours is created by [`ours`](super::ours) and is invisible to it.

use tokio_postgres::Client;

/// Version of the newest step.
pub const VERSION: i64 = 1_710_856_785;

/// What keeps a database from being used or brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Steps are missing.
    #[error(r#"database is not migrated. Run "kuma-cp migrate up" to update database to the newest schema"#)]
    NotMigrated,
    /// A step failed halfway and was left to a person.
    #[error("error while executing up migration: Dirty database version {0}. Fix and force version.")]
    Dirty(i64),
    /// The same, seen at a start that would go on with a newer schema.
    #[error(
        "database schema_migrations row is dirty at version {0} (a migration is in progress or failed); refusing to boot \
         even with TolerateNewerDBVersions enabled"
    )]
    DirtyNewer(i64),
    /// A newer program has migrated it.
    #[error(
        "DB is migrated to newer version than Kuma. DB migration version {0}. Kuma migration version {VERSION}. Run newer \
         version of Kuma"
    )]
    Newer(i64),
    /// A step was refused.
    #[error("migration {version} failed, nothing of it was kept: {}", super::said(.error))]
    Step {
        /// Which.
        version: i64,
        /// What the database said.
        error: tokio_postgres::Error,
    },
    /// The database did not answer, or not as it should.
    #[error("{}", super::said(.0))]
    Database(#[from] tokio_postgres::Error),
}

/// What `kuma-cp migrate up` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrated {
    /// It was up to date, or newer and that is tolerated.
    Already(i64),
    /// Steps were done.
    From {
        /// Version before; `None` for an empty database.
        before: Option<i64>,
        /// Steps done.
        steps: usize,
    },
}

/// The row of `schema_migrations`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At {
    version: i64,
    dirty: bool,
}

async fn at(client: &Client) -> Result<Option<At>, tokio_postgres::Error> {
    let there = client.query_one("SELECT to_regclass('schema_migrations') IS NOT NULL", &[]).await?;
    if !there.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = client.query_opt("SELECT version, dirty FROM schema_migrations LIMIT 1", &[]).await?;
    Ok(row.map(|row| At { version: row.get(0), dirty: row.get(1) }))
}

/// Refuses a database that this program cannot run on.
///
/// # Errors
/// The database has to be migrated first, or is newer and that is not tolerated.
pub async fn check(client: &Client, tolerate_newer: bool) -> Result<(), SchemaError> {
    match at(client).await? {
        Some(At { version, dirty: true }) if tolerate_newer => Err(SchemaError::DirtyNewer(version)),
        Some(At { version: VERSION, .. }) => Ok(()),
        Some(At { version, .. }) if version > VERSION && tolerate_newer => Ok(()),
        _ => Err(SchemaError::NotMigrated),
    }
}

/// Brings a database up to date. Several may try at once: one does it, the others wait and find it done. What was
/// interrupted goes on where it stopped, since every step is done as a whole and counted with it.
///
/// # Errors
/// The database is newer, was left dirty by another program, or refuses a step.
pub async fn migrate(client: &Client, tolerate_newer: bool) -> Result<Migrated, SchemaError> {
    let row = client.query_one("SELECT current_schema()::text, current_database()::text", &[]).await?;
    let lock = lock_key(row.get::<_, Option<&str>>(0).unwrap_or("public"), row.get(1));
    client.execute("SELECT pg_advisory_lock($1)", &[&lock]).await?;
    let outcome = migrate_locked(client, tolerate_newer).await;
    // The lock ends with the session in any case.
    let _ = client.execute("SELECT pg_advisory_unlock($1)", &[&lock]).await;
    outcome
}

async fn migrate_locked(client: &Client, tolerate_newer: bool) -> Result<Migrated, SchemaError> {
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)",
        )
        .await?;
    let before = at(client).await?;
    match before {
        Some(At { version, dirty: true }) => return Err(SchemaError::Dirty(version)),
        Some(At { version, .. }) if version > VERSION && !tolerate_newer => return Err(SchemaError::Newer(version)),
        Some(At { version, .. }) if version >= VERSION => return Ok(Migrated::Already(version)),
        _ => {}
    }
    let before = before.map(|at| at.version);
    let mut steps = 0;
    for (version, sql) in STEPS.iter().filter(|(version, _)| before.is_none_or(|before| *version > before)) {
        // The step and its number are one transaction: an interruption leaves neither, and never a dirty row.
        let whole = format!(
            "BEGIN; {sql}; TRUNCATE schema_migrations; INSERT INTO schema_migrations VALUES ({version}, false); COMMIT;"
        );
        if let Err(error) = client.batch_execute(&whole).await {
            let _ = client.batch_execute("ROLLBACK").await;
            return Err(SchemaError::Step { version: *version, error });
        }
        steps += 1;
    }
    Ok(Migrated::From { before, steps })
}

/// Key of the lock that migrating programs take, the same in all of them.
fn lock_key(schema: &str, database: &str) -> i64 {
    const FACTOR: u32 = 1_486_364_155;
    let name = format!("{schema}\0schema_migrations\0{database}");
    i64::from(crc32fast::hash(name.as_bytes()).wrapping_mul(FACTOR))
}

/// Every step with its version, oldest first.
const STEPS: &[(i64, &str)] = &[
    (
        1_579_518_998,
        "CREATE TABLE IF NOT EXISTS resources (
            name varchar(100) NOT NULL,
            namespace varchar(100) NOT NULL,
            mesh varchar(100) NOT NULL,
            type varchar(100) NOT NULL,
            version integer NOT NULL,
            spec text,
            PRIMARY KEY (name, namespace, mesh, type)
        )",
    ),
    (
        1_580_128_050,
        "ALTER TABLE resources
            ADD COLUMN creation_time timestamp NOT NULL DEFAULT now(),
            ADD COLUMN modification_time timestamp NOT NULL DEFAULT now()",
    ),
    (
        1_589_041_445,
        "ALTER TABLE resources DROP CONSTRAINT resources_pkey;
        ALTER TABLE resources ADD CONSTRAINT resources_pkey PRIMARY KEY (name, mesh, type);
        ALTER TABLE resources DROP COLUMN namespace;
        ALTER TABLE resources
            ADD COLUMN owner_name varchar(100),
            ADD COLUMN owner_mesh varchar(100),
            ADD COLUMN owner_type varchar(100);
        ALTER TABLE resources ADD CONSTRAINT owner_fk FOREIGN KEY (owner_name, owner_mesh, owner_type)
            REFERENCES resources (name, mesh, type) ON DELETE CASCADE;
        DELETE FROM resources WHERE type = 'DataplaneInsight';
        UPDATE resources AS owned SET owner_name = owned.mesh, owner_mesh = owned.mesh, owner_type = 'Mesh'
            FROM resources AS mesh WHERE owned.type <> 'Mesh' AND mesh.type = 'Mesh' AND mesh.name = owned.mesh;
        DELETE FROM resources WHERE type <> 'Mesh' AND owner_name IS NULL",
    ),
    (
        1_592_232_449,
        "CREATE TABLE locks (
            name varchar(255) CONSTRAINT locks_pkey PRIMARY KEY,
            record_version_number bigint,
            data bytea,
            owner varchar(255)
        );
        CREATE SEQUENCE locks_rvn INCREMENT 1 START 1 NO CYCLE OWNED BY locks.record_version_number",
    ),
    (
        1_604_501_001,
        "ALTER TABLE resources DROP CONSTRAINT owner_fk;
        UPDATE resources SET mesh = '' WHERE type IN ('Mesh', 'Zone');
        UPDATE resources SET owner_mesh = '' WHERE owner_type IN ('Mesh', 'Zone');
        ALTER TABLE resources ADD CONSTRAINT owner_fk FOREIGN KEY (owner_name, owner_mesh, owner_type)
            REFERENCES resources (name, mesh, type) ON DELETE CASCADE",
    ),
    // Its payload was the whole row, which no reader has wanted since the step after the next.
    (1_605_012_491, NOTIFY),
    (1_610_445_956, NOTIFY_FUNCTION),
    (1_677_096_751, "ALTER TABLE resources ALTER COLUMN name TYPE varchar(253)"),
    (
        1_693_473_198,
        "CREATE INDEX IF NOT EXISTS owner_fk_index ON resources USING btree (owner_type, owner_mesh, owner_name)",
    ),
    (1_701_180_642, "ALTER TABLE resources ADD COLUMN IF NOT EXISTS labels jsonb DEFAULT '{}'"),
    (1_710_856_785, "ALTER TABLE resources ADD COLUMN IF NOT EXISTS status jsonb NOT NULL DEFAULT '{}'"),
];

const NOTIFY_FUNCTION: &str = "
    CREATE OR REPLACE FUNCTION notify_event() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        touched resources%ROWTYPE;
    BEGIN
        IF TG_OP = 'DELETE' THEN touched := OLD; ELSE touched := NEW; END IF;
        PERFORM pg_notify('resource_events', json_build_object(
            'action', TG_OP,
            'data', json_build_object('name', touched.name, 'mesh', touched.mesh, 'type', touched.type))::text);
        RETURN NULL;
    END $$";

const NOTIFY: &str = "
    CREATE OR REPLACE FUNCTION notify_event() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('resource_events', json_build_object('action', TG_OP)::text);
        RETURN NULL;
    END $$;
    CREATE TRIGGER products_notify_event AFTER INSERT OR UPDATE OR DELETE ON resources
        FOR EACH ROW EXECUTE PROCEDURE notify_event()";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_is_the_one_that_others_take() {
        assert_eq!(lock_key("public", "kuma"), 1_126_980_735);
    }

    #[test]
    fn steps_are_in_order_and_end_with_the_version() {
        assert!(STEPS.is_sorted_by_key(|(version, _)| *version));
        assert_eq!(STEPS.last().map(|(version, _)| *version), Some(VERSION));
    }
}
