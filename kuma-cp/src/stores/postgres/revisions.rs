//! Revisions as rows of a table of our own, which Kuma 3.0 does not know.
//!
//! What we write is recorded in its transaction. What other programs write is recorded when we see it, by whichever
//! control plane is first: a revision that is there already is not written again.

use jiff::Timestamp;
use kuma_core::{
    resource::Key,
    store::{
        history::{Action, Author, Content, DELETED_FOR, KEPT, Past, Record},
        ledger::Ledger,
    },
};
use tokio_postgres::{Client, Error, Statement};

use super::rows;

/// The table, and what finds old deletions in it.
pub(super) const SCHEMA: &str = "
    CREATE TABLE kuma_revisions (
        type text, mesh text, name text, revision bigint,
        at timestamptz NOT NULL, author text NOT NULL, action text NOT NULL, content text,
        PRIMARY KEY (type, mesh, name, revision)
    );
    CREATE INDEX kuma_revisions_deleted ON kuma_revisions (at) WHERE action = 'deleted'";

/// Statements of a session.
pub(super) struct Revisions {
    record: Statement,
    note: Statement,
    load: Statement,
}

/// A change by another program, and the row that shows it; `None` if it shows by its absence.
pub(super) struct Seen {
    record: Record,
    row: Option<(i64, i32)>,
}

/// What others have done to these objects, given what we knew before and know now.
pub(super) fn seen<'a>(
    before: &Ledger,
    after: &Ledger,
    keys: impl IntoIterator<Item = &'a Key>,
    now: Timestamp,
) -> Vec<Seen> {
    let seen = |key: &Key| {
        let [before, after] = [before, after].map(|ledger| ledger.get(key).map(|entry| &entry.resource));
        if before.map(|resource| resource.meta.version) == after.map(|resource| resource.meta.version) {
            return None;
        }
        let at = after.map_or(now, |resource| resource.meta.modified);
        let record = Record::of(key, before, after, &Author::Elsewhere, at)?;
        Some(Seen { record, row: after.map(|resource| rows::parts(resource.meta.version)) })
    };
    keys.into_iter().filter_map(seen).collect()
}

/// Records as columns.
#[derive(Default)]
struct Columns<'a> {
    names: Vec<&'a str>,
    meshes: Vec<&'a str>,
    kinds: Vec<&'a str>,
    times: Vec<i64>,
    authors: Vec<String>,
    actions: Vec<&'a str>,
    since: Vec<Option<i64>>,
    before: Vec<Option<&'a str>>,
    contents: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut columns = Self::default();
        for record in records {
            columns.names.push(&record.key.name);
            columns.meshes.push(&record.key.mesh);
            columns.kinds.push(record.key.kind.name());
            columns.times.push(record.at.as_microsecond());
            columns.authors.push(record.author.to_string());
            columns.actions.push(record.action.name());
            columns.since.push(record.before.as_ref().map(|(since, _)| since.as_microsecond()));
            columns.before.push(record.before.as_ref().map(|(_, content)| content.as_str()));
            columns.contents.push(record.content.as_ref().map(Content::as_str));
        }
        columns
    }
}

impl Revisions {
    /// Prepares the statements.
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        let (record, note) = (record(), note());
        let (record, note, load) =
            tokio::try_join!(client.prepare(&record), client.prepare(&note), client.prepare(LOAD))?;
        Ok(Self { record, note, load })
    }

    /// Writes what our changes leave, in their transaction, and forgets what is too much.
    pub(super) async fn record(&self, client: &Client, records: &[Record]) -> Result<(), Error> {
        let Some(first) = records.first() else { return Ok(()) };
        let c = Columns::of(records);
        let old = first.at.saturating_sub(DELETED_FOR).unwrap_or(Timestamp::MIN).as_microsecond();
        client
            .execute(
                &self.record,
                &[
                    &c.names,
                    &c.meshes,
                    &c.kinds,
                    &c.times,
                    &c.authors,
                    &c.actions,
                    &c.since,
                    &c.before,
                    &c.contents,
                    &old,
                ],
            )
            .await?;
        Ok(())
    }

    /// Writes what the changes of another program leave, unless it is known.
    pub(super) async fn note(&self, client: &Client, seen: &[Seen]) -> Result<(), Error> {
        if seen.is_empty() {
            return Ok(());
        }
        let c = Columns::of(seen.iter().map(|seen| &seen.record));
        let transactions: Vec<Option<i64>> =
            seen.iter().map(|seen| seen.row.map(|(transaction, _)| transaction)).collect();
        let versions: Vec<Option<i32>> = seen.iter().map(|seen| seen.row.map(|(_, version)| version)).collect();
        client
            .execute(
                &self.note,
                &[
                    &c.names,
                    &c.meshes,
                    &c.kinds,
                    &c.times,
                    &c.authors,
                    &c.actions,
                    &c.since,
                    &c.before,
                    &c.contents,
                    &transactions,
                    &versions,
                ],
            )
            .await?;
        Ok(())
    }

    /// The revisions of an object, oldest first.
    pub(super) async fn load(&self, client: &Client, key: &Key) -> Result<Vec<Past>, Error> {
        let rows = client.query(&self.load, &[&key.kind.name(), &&*key.mesh, &&*key.name]).await?;
        let past = |row: &tokio_postgres::Row| {
            Some(Past {
                number: u64::try_from(row.get::<_, i64>(0)).ok()?,
                at: Timestamp::from_microsecond(row.get(1)).ok()?,
                author: Author::read(row.get(2)),
                action: Action::by_name(row.get(3))?,
                content: row.get::<_, Option<&str>>(4).map(Content::kept),
            })
        };
        // Only we write there; what a newer version has added is none of ours to show.
        Ok(rows.iter().filter_map(past).collect())
    }
}

const LOAD: &str = "
    SELECT revision, (extract(epoch FROM at) * 1000000)::bigint, author, action, content FROM kuma_revisions
    WHERE type = $1 AND mesh = $2 AND name = $3 ORDER BY revision";

/// Each record with the end of the history that it goes to. The record's own rules are those of [`Record::follow`].
const LAST: &str = "
    SELECT w.*, coalesce(k.revision, 0) AS revision, k.action AS last_action, k.content AS last_content,
        w.before IS NOT NULL AND w.before IS DISTINCT FROM k.content AS unseen
    FROM w LEFT JOIN LATERAL (
        SELECT k.revision, k.action, k.content FROM kuma_revisions k
        WHERE k.type = w.type AND k.mesh = w.mesh AND k.name = w.name
        ORDER BY k.revision DESC LIMIT 1) k ON true";

const INSERT: &str = "
    INSERT INTO kuma_revisions (type, mesh, name, revision, at, author, action, content)
    SELECT type, mesh, name, revision + 1, timestamptz 'epoch' + since * interval '1 microsecond', 'unknown',
        CASE WHEN last_action IS NULL OR last_action = 'deleted' THEN 'created' ELSE 'updated' END, before
    FROM last WHERE unseen
    UNION ALL
    SELECT type, mesh, name, revision + 1 + unseen::int, timestamptz 'epoch' + at * interval '1 microsecond', author,
        action, content
    FROM last";

const WRITTEN: &str =
    "$1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[]";
const NAMES: &str = "name, mesh, type, at, author, action, since, before, content";

fn record() -> String {
    format!(
        "WITH w AS (SELECT * FROM unnest({WRITTEN}) AS w({NAMES})), last AS ({LAST}),
        trimmed AS (
            DELETE FROM kuma_revisions k USING last
            WHERE k.type = last.type AND k.mesh = last.mesh AND k.name = last.name
                AND k.revision <= last.revision + 1 + last.unseen::int - {KEPT}),
        old AS (
            SELECT type, mesh, name, revision FROM kuma_revisions
            WHERE action = 'deleted' AND at < timestamptz 'epoch' + $10::bigint * interval '1 microsecond'
            ORDER BY at LIMIT 100 FOR UPDATE SKIP LOCKED),
        forgotten AS (
            DELETE FROM kuma_revisions k USING old
            WHERE k.type = old.type AND k.mesh = old.mesh AND k.name = old.name AND k.revision <= old.revision)
        {INSERT}"
    )
}

/// Only what still is as it was seen: whoever has changed it since has recorded what was there before.
fn note() -> String {
    format!(
        "WITH w AS (SELECT * FROM unnest({WRITTEN}, $10::bigint[], $11::integer[]) AS w({NAMES}, transaction, version)),
        every AS ({LAST}),
        last AS (
            SELECT * FROM every e WHERE NOT CASE
                WHEN action = 'deleted' THEN last_action IS NOT DISTINCT FROM 'deleted'
                WHEN content IS NOT NULL THEN content IS NOT DISTINCT FROM last_content
                ELSE EXISTS (
                    SELECT 1 FROM kuma_revisions k WHERE k.type = e.type AND k.mesh = e.mesh AND k.name = e.name
                        AND k.at = timestamptz 'epoch' + e.at * interval '1 microsecond')
                END
            AND CASE WHEN transaction IS NULL
                THEN NOT EXISTS (
                    SELECT 1 FROM resources r WHERE r.name = e.name AND r.mesh = e.mesh AND r.type = e.type)
                ELSE EXISTS (
                    SELECT 1 FROM resources r WHERE r.name = e.name AND r.mesh = e.mesh AND r.type = e.type
                        AND r.xmin::text::bigint = e.transaction AND r.version = e.version)
                END)
        {INSERT}
        ON CONFLICT DO NOTHING"
    )
}
