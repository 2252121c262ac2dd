//! Revisions as rows.

use jiff::Timestamp;
use kuma_core::{
    resource::Key,
    store::history::{Action, Author, Content, DELETED_FOR, DELETIONS_KEPT, KEPT, Past, Record},
};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params, types::Type};

/// The table, and what finds old deletions in it.
pub(super) const SCHEMA: &str = "
    CREATE TABLE revisions (
        kind TEXT NOT NULL, mesh TEXT NOT NULL, name TEXT NOT NULL,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        author TEXT NOT NULL, action TEXT NOT NULL, content TEXT,
        PRIMARY KEY (kind, mesh, name, number)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX deletions ON revisions (at) WHERE action = 'deleted';
";

const OF_ONE: &str =
    "SELECT number, at, author, action, content FROM revisions WHERE kind = ? AND mesh = ? AND name = ?";
const INSERT: &str = "INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
const FORGET: &str = "DELETE FROM revisions WHERE kind = ? AND mesh = ? AND name = ? AND number <= ?";
/// Deletions that are too old, or too many.
const TOO_OLD: &str = "
    SELECT kind, mesh, name, number FROM revisions WHERE action = 'deleted' AND at < ?1
    UNION
    SELECT * FROM (SELECT kind, mesh, name, number FROM revisions WHERE action = 'deleted'
        ORDER BY at DESC LIMIT -1 OFFSET ?2)";

fn past(row: &Row<'_>) -> rusqlite::Result<Past> {
    let wrong = |column, why: String| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into());
    let (number, at): (i64, i64) = (row.get(0)?, row.get(1)?);
    let (author, action): (String, String) = (row.get(2)?, row.get(3)?);
    let content: Option<String> = row.get(4)?;
    Ok(Past {
        number: u64::try_from(number).map_err(|error| wrong(0, error.to_string()))?,
        at: Timestamp::from_microsecond(at).map_err(|error| wrong(1, error.to_string()))?,
        author: Author::read(&author),
        action: Action::by_name(&action).ok_or_else(|| wrong(3, format!("unknown action {action:?}")))?,
        content: content.map(Content::kept),
    })
}

/// The revisions of an object, oldest first.
pub(super) fn load(connection: &Connection, key: &Key) -> rusqlite::Result<Vec<Past>> {
    let mut statement = connection.prepare_cached(&format!("{OF_ONE} ORDER BY number"))?;
    statement.query_map(params![key.kind.name(), &*key.mesh, &*key.name], past)?.collect()
}

/// Writes what changes leave, and forgets what is too much.
pub(super) fn save(transaction: &Transaction<'_>, records: &[Record]) -> rusqlite::Result<()> {
    let mut last = transaction.prepare_cached(&format!("{OF_ONE} ORDER BY number DESC LIMIT 1"))?;
    let mut insert = transaction.prepare_cached(INSERT)?;
    let mut forget = transaction.prepare_cached(FORGET)?;
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    for record in records {
        let (kind, mesh, name) = (record.key.kind.name(), &*record.key.mesh, &*record.key.name);
        let before = last.query_row(params![kind, mesh, name], past).optional()?;
        for Past { number, at, author, action, content } in record.follow(before.as_ref()) {
            let content = content.as_ref().map(Content::as_str);
            let (number, at) = (signed(number), at.as_microsecond());
            insert.execute(params![kind, mesh, name, number, at, author.to_string(), action.name(), content])?;
            let first = number.saturating_sub(signed(KEPT as u64));
            if first > 0 {
                forget.execute(params![kind, mesh, name, first])?;
            }
        }
    }
    if let Some(deletion) = records.iter().rfind(|record| record.action == Action::Deleted) {
        let limit = deletion.at.saturating_sub(DELETED_FOR).unwrap_or(Timestamp::MIN).as_microsecond();
        let count = signed(DELETIONS_KEPT as u64);
        let mut old = transaction.prepare_cached(TOO_OLD)?;
        let old: Vec<(String, String, String, i64)> = old
            .query_map(params![limit, count], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
            .collect::<Result<_, _>>()?;
        for (kind, mesh, name, number) in old {
            forget.execute(params![kind, mesh, name, number])?;
        }
    }
    Ok(())
}
