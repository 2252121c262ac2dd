//! A connection that works: schema checked, changes followed, statements prepared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Context;
use kuma_core::{
    registry::Kind,
    resource::Key,
    store::{history::Record, ledger::Entry},
};
use tokio_postgres::{Client, Statement};

use super::{
    connect::{COMMITS, EVENTS, Inbox, Target},
    ours,
    revisions::Revisions,
    rows::{self, COLUMNS, Columns},
    schema,
};

/// One session, which everything of a store goes through: writes one after the other, and between them the changes of
/// others.
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) inbox: Arc<Inbox>,
    read: Statement,
    delete: Statement,
    update: Statement,
    insert: Statement,
    fence: Statement,
    pub(super) revisions: Revisions,
}

/// What an object is now, `None` if it is not there.
pub(super) type Change = (Key, Option<Entry>);

/// Objects that cannot be read, and why.
pub(super) type Unreadable = BTreeMap<Key, String>;

/// What a transaction was to do and did.
pub(super) struct Outcome {
    /// Number of the transaction.
    pub(super) transaction: Option<i64>,
    /// Rows that were deleted, by name.
    pub(super) deleted: BTreeSet<Key>,
    pub(super) updated: usize,
    pub(super) inserted: usize,
}

/// Locks of a session that stopped in the middle are not held longer, in milliseconds.
const ABANDONED: u32 = 15_000;

impl Link {
    /// Connects. What is told from then on waits in the inbox, so that a [`Self::load`] afterwards misses nothing.
    ///
    /// # Errors
    /// The database cannot be reached, lets nobody in, or is not migrated.
    pub(super) async fn open(target: &Target) -> anyhow::Result<Self> {
        let (client, inbox) = target.connect().await?;
        let waited = target.patience();
        let prepared = async {
            schema::check(&client, target.tolerates_newer_schema()).await?;
            ours::ensure(&client).await?;
            inbox.is_of(client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0));
            let patience = waited.as_millis();
            client
                .batch_execute(&format!(
                    "SET statement_timeout = {patience}; SET lock_timeout = {patience};
                     SET idle_in_transaction_session_timeout = {ABANDONED}; SET timezone = 'UTC';
                     LISTEN {EVENTS}; LISTEN {COMMITS}"
                ))
                .await?;
            let read = format!(
                "SELECT {COLUMNS} FROM resources r
                 JOIN unnest($1::text[], $2::text[], $3::text[]) AS k(name, mesh, type) USING (name, mesh, type)"
            );
            let statements = tokio::try_join!(
                client.prepare(&read),
                client.prepare(DELETE),
                client.prepare(UPDATE),
                client.prepare(INSERT),
                client.prepare("SELECT 1 FROM locks WHERE name = $1 AND owner = $2 FOR SHARE"),
                Revisions::prepare(&client),
            )?;
            anyhow::Ok(statements)
        };
        let (read, delete, update, insert, fence, revisions) = tokio::time::timeout(waited, prepared)
            .await
            .with_context(|| format!("no answer from {} within {waited:?}", target.address()))??;
        Ok(Self { client, inbox, read, delete, update, insert, fence, revisions })
    }

    /// Every object that can be read, and what is wrong with the others: they stay where they are.
    pub(super) async fn load(&self) -> Result<(Vec<Entry>, Unreadable), tokio_postgres::Error> {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let rows =
            self.client.query(&format!("SELECT {COLUMNS} FROM resources r WHERE type = ANY($1)"), &[&known]).await?;
        let mut entries = Vec::with_capacity(rows.len());
        let mut unreadable = Unreadable::new();
        for (key, row) in rows.iter().filter_map(|row| Some((rows::key(row)?, row))) {
            match rows::entry(row, &key) {
                Ok(entry) => entries.push(entry),
                Err(why) => {
                    let text = unreadable_row(&key, &why);
                    unreadable.insert(key, text);
                }
            }
        }
        Ok((entries, unreadable))
    }

    /// How many objects there are of kinds that we do not have, by kind.
    pub(super) async fn unknown_kinds(&self) -> Result<BTreeMap<String, usize>, tokio_postgres::Error> {
        let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        let count = "SELECT type, count(*) FROM resources WHERE type <> ALL($1) GROUP BY type";
        let rows = self.client.query(count, &[&known]).await?;
        Ok(rows.iter().map(|row| (row.get(0), usize::try_from(row.get::<_, i64>(1)).unwrap_or_default())).collect())
    }

    /// These objects as they are now, `None` for those that are not there; and which of them cannot be read.
    pub(super) async fn read(&self, keys: &BTreeSet<Key>) -> Result<(Vec<Change>, Unreadable), tokio_postgres::Error> {
        let mut columns = Columns::default();
        for key in keys {
            columns.name(key, None);
        }
        let rows = self.client.query(&self.read, &[&columns.names, &columns.meshes, &columns.kinds]).await?;
        let mut absent = keys.clone();
        let mut out = Vec::with_capacity(keys.len());
        let mut unreadable = Unreadable::new();
        for (key, row) in rows.iter().filter_map(|row| Some((rows::key(row)?, row))) {
            absent.remove(&key);
            match rows::entry(row, &key) {
                Ok(entry) => out.push((key, Some(entry))),
                // What is known of it goes on to count: half a mesh without a policy is worse than an old policy.
                Err(why) => {
                    let text = unreadable_row(&key, &why);
                    unreadable.insert(key, text);
                }
            }
        }
        out.extend(absent.into_iter().map(|key| (key, None)));
        Ok((out, unreadable))
    }

    /// Begins a transaction, does these writes in it and records them; [`Self::commit`] or [`Self::roll_back`] ends it.
    /// All of it is sent at once.
    pub(super) async fn begin(
        &self,
        deletes: &Columns,
        updates: &Columns,
        inserts: &Columns,
        records: &[Record],
    ) -> Result<Outcome, tokio_postgres::Error> {
        let deleting = async {
            if deletes.is_empty() {
                return Ok(Vec::new());
            }
            let Columns { names, meshes, kinds, transactions, versions, .. } = deletes;
            self.client.query(&self.delete, &[names, meshes, kinds, transactions, versions]).await
        };
        let updating = async {
            if updates.is_empty() {
                return Ok(Vec::new());
            }
            let c = updates;
            self.client
                .query(
                    &self.update,
                    &[
                        &c.names,
                        &c.meshes,
                        &c.kinds,
                        &c.transactions,
                        &c.versions,
                        &c.specs,
                        &c.created,
                        &c.modified,
                        &c.owner_kinds,
                        &c.owner_meshes,
                        &c.owner_names,
                        &c.labels,
                        &c.statuses,
                        &c.anew,
                    ],
                )
                .await
        };
        let inserting = async {
            if inserts.is_empty() {
                return Ok(Vec::new());
            }
            let c = inserts;
            self.client
                .query(
                    &self.insert,
                    &[
                        &c.names,
                        &c.meshes,
                        &c.kinds,
                        &c.specs,
                        &c.created,
                        &c.modified,
                        &c.owner_kinds,
                        &c.owner_meshes,
                        &c.owner_names,
                        &c.labels,
                        &c.statuses,
                    ],
                )
                .await
        };
        let recording = self.revisions.record(&self.client, records);
        // Polled in this order, so sent in this order; the database does them one after the other. Owners are there
        // before what they own, and what gets another owner has it before the old one goes.
        let (begun, inserted, updated, deleted, recorded) = tokio::join!(
            biased; self.client.batch_execute("BEGIN"), inserting, updating, deleting, recording
        );
        begun?;
        let (deleted, updated, inserted) = (deleted?, updated?, inserted?);
        recorded?;
        let written = updated.first().or(inserted.first());
        Ok(Outcome {
            transaction: written.map(|row| row.get(0)),
            deleted: deleted.iter().filter_map(rows::key).collect(),
            updated: updated.len(),
            inserted: inserted.len(),
        })
    }

    /// Whether this instance still leads. Holds it for the rest of the transaction: whoever takes the lead waits.
    pub(super) async fn leads(&self, lock: &str, instance: &str) -> Result<bool, tokio_postgres::Error> {
        Ok(self.client.query_opt(&self.fence, &[&lock, &instance]).await?.is_some())
    }

    /// Ends a transaction; from then on it is on disk and others are told.
    pub(super) async fn commit(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute(&format!("NOTIFY {COMMITS}; COMMIT")).await
    }

    /// Ends a transaction that did nothing.
    pub(super) async fn roll_back(&self) -> Result<(), tokio_postgres::Error> {
        self.client.batch_execute("ROLLBACK").await
    }
}

fn unreadable_row(Key { kind, mesh, name }: &Key, why: &str) -> String {
    format!("{kind} {name:?} of mesh {mesh:?} cannot be read, so it does not count as it is: {why}")
}

const DELETE: &str = "
    DELETE FROM resources r
    USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::integer[])
        AS w(name, mesh, type, transaction, version)
    WHERE r.name = w.name AND r.mesh = w.mesh AND r.type = w.type
        AND (w.transaction IS NULL OR (r.xmin::text::bigint = w.transaction AND r.version = w.version))
    RETURNING r.name, r.mesh, r.type";

const UPDATE: &str = "
    UPDATE resources r SET
        version = r.version + 1, spec = w.spec, labels = w.labels::jsonb, status = w.status::jsonb,
        modification_time = timestamp 'epoch' + w.modified * interval '1 microsecond',
        creation_time = CASE WHEN w.anew
            THEN timestamp 'epoch' + w.created * interval '1 microsecond' ELSE r.creation_time END,
        owner_type = CASE WHEN w.anew THEN w.owner_type ELSE r.owner_type END,
        owner_mesh = CASE WHEN w.anew THEN w.owner_mesh ELSE r.owner_mesh END,
        owner_name = CASE WHEN w.anew THEN w.owner_name ELSE r.owner_name END
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::integer[], $6::text[], $7::bigint[], $8::bigint[],
            $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::boolean[])
        AS w(name, mesh, type, transaction, version, spec, created, modified, owner_type, owner_mesh, owner_name, labels,
            status, anew)
    WHERE r.name = w.name AND r.mesh = w.mesh AND r.type = w.type
        AND r.xmin::text::bigint = w.transaction AND r.version = w.version
    RETURNING r.xmin::text::bigint";

const INSERT: &str = "
    INSERT INTO resources AS r (name, mesh, type, version, spec, creation_time, modification_time, owner_type, owner_mesh,
        owner_name, labels, status)
    SELECT name, mesh, type, 0, spec, timestamp 'epoch' + created * interval '1 microsecond',
        timestamp 'epoch' + modified * interval '1 microsecond', owner_type, owner_mesh, owner_name, labels::jsonb,
        status::jsonb
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::text[],
            $9::text[], $10::text[], $11::text[])
        AS w(name, mesh, type, spec, created, modified, owner_type, owner_mesh, owner_name, labels, status)
    ON CONFLICT (name, mesh, type) DO NOTHING
    RETURNING r.xmin::text::bigint";
