//! Objects as rows.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta, Version},
    registry::Kind,
    resource::Key,
    store::{
        Revision,
        ledger::{Entry, Ledger},
    },
};
use rusqlite::{Connection, Row, Transaction, named_params, params, types::Type};
use serde_json::{Value, json};

/// A row as it lies in the file.
struct Stored {
    kind: String,
    mesh: String,
    name: String,
    version: i64,
    created: i64,
    modified: i64,
    labels: String,
    spec: String,
    status: Option<String>,
    owner: Option<(String, String, String)>,
    /// Of all of the above; rows of earlier versions have none.
    sum: Option<i64>,
}

impl Stored {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let owner: Option<String> = row.get("owner_kind")?;
        Ok(Self {
            kind: row.get("kind")?,
            mesh: row.get("mesh")?,
            name: row.get("name")?,
            version: row.get("version")?,
            created: row.get("created")?,
            modified: row.get("modified")?,
            labels: row.get("labels")?,
            spec: row.get("spec")?,
            status: row.get("status")?,
            owner: owner
                .map(|kind| Ok::<_, rusqlite::Error>((kind, row.get("owner_mesh")?, row.get("owner_name")?)))
                .transpose()?,
            sum: row.get("sum")?,
        })
    }

    /// What [`Self::sum`] has to be.
    fn computed(&self) -> i64 {
        let Self { kind, mesh, name, version, created, modified, labels, spec, status, owner, .. } = self;
        let owner = owner.as_ref().map(|(kind, mesh, name)| [kind.as_str(), mesh, name]);
        let numbers = [version, created, modified].map(ToString::to_string);
        let texts = [kind, mesh, name].into_iter().chain(&numbers).chain([labels, spec]).map(String::as_str);
        let mut sum = crc32fast::Hasher::new();
        for text in texts.chain(status.as_deref()).chain(owner.into_iter().flatten()) {
            sum.update(text.as_bytes());
            // Ends a text: it is in no UTF-8.
            sum.update(&[0xff]);
        }
        sum.finalize().into()
    }

    fn entry(&self) -> Result<Entry, String> {
        if self.sum.is_some_and(|sum| sum != self.computed()) {
            return Err("its checksum does not fit: the disk has damaged it, or another program has changed it".into());
        }
        let kind = |name: &str| Kind::by_name(name).ok_or_else(|| format!("this version knows no kind {name:?}"));
        let time = |micros| Timestamp::from_microsecond(micros).map_err(|e| e.to_string());
        let parse =
            |what: &str, text: &str| serde_json::from_str::<Value>(text).map_err(|fault| format!("{what}: {fault}"));
        let labels: Labels = serde_json::from_str(&self.labels).map_err(|fault| format!("labels: {fault}"))?;
        let mut meta = Meta::new(self.mesh.as_str(), self.name.as_str(), labels);
        meta.version = Version(u64::try_from(self.version).map_err(|e| format!("version: {e}"))?);
        meta.created = time(self.created)?;
        meta.modified = time(self.modified)?;
        let status = self.status.as_deref().map(|status| parse("status", status)).transpose()?;
        let resource = kind(&self.kind)?
            .decode_stored(meta, parse("spec", &self.spec)?, status)
            .map_err(|fault| fault.to_string())?;
        let owner = self
            .owner
            .as_ref()
            .map(|(of, mesh, name)| Ok::<_, String>(Key::new(kind(of)?, mesh.as_str(), name.as_str())))
            .transpose()?;
        Ok(Entry { resource, owner })
    }

    /// The row in print, to be kept.
    fn print(&self) -> String {
        let Self { kind, mesh, name, version, created, modified, labels, spec, status, owner, .. } = self;
        json!({
            "kind": kind, "mesh": mesh, "name": name, "version": version, "created": created, "modified": modified,
            "labels": labels, "spec": spec, "status": status, "owner": owner,
        })
        .to_string()
    }
}

/// What is in a file.
pub(super) struct Loaded {
    pub(super) ledger: Ledger,
    /// What could not be read and was put aside, with the reason.
    pub(super) put_aside: Vec<String>,
    /// Objects of kinds that this version does not have, by kind: they stay where they are, for a version that has them.
    pub(super) unknown: BTreeMap<String, usize>,
}

/// Everything in the file. What could not be read is put aside, so that it neither stops the start nor gets lost.
pub(super) fn load(connection: &mut Connection) -> rusqlite::Result<Loaded> {
    let revision: i64 = connection.query_row("SELECT revision FROM revision", [], |row| row.get(0))?;
    let revision = u64::try_from(revision)
        .map_err(|fault| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, Box::new(fault)))?;
    let rows: Vec<Stored> =
        connection.prepare("SELECT * FROM resources")?.query_map([], Stored::of)?.collect::<Result<_, _>>()?;
    let mut entries = Vec::with_capacity(rows.len());
    let mut put_aside = Vec::new();
    let mut unknown = BTreeMap::new();
    let transaction = connection.transaction()?;
    for row in rows {
        if Kind::by_name(&row.kind).is_none() {
            *unknown.entry(row.kind).or_default() += 1;
            continue;
        }
        match row.entry() {
            Ok(entry) => entries.push(entry),
            Err(reason) => {
                let (kind, mesh, name) = (&row.kind, &row.mesh, &row.name);
                transaction.execute(
                    "INSERT INTO put_aside (reason, kind, mesh, name, row) VALUES (?, ?, ?, ?, ?)",
                    params![reason, kind, mesh, name, row.print()],
                )?;
                transaction.execute(DELETE, params![kind, mesh, name])?;
                put_aside.push(format!("{kind} {name:?} of mesh {mesh:?}: {reason}"));
            }
        }
    }
    transaction.commit()?;
    Ok(Loaded { ledger: Ledger::load(Revision(revision), entries), put_aside, unknown })
}

const DELETE: &str = "DELETE FROM resources WHERE kind = ? AND mesh = ? AND name = ?";

const DELETE_OWNED: &str = "DELETE FROM resources WHERE owner_kind = ? AND owner_mesh = ? AND owner_name = ?";

const PUT: &str = "
    INSERT OR REPLACE INTO resources VALUES (:kind, :mesh, :name, :version, :created, :modified, :labels, :spec, :status,
        :owner_kind, :owner_mesh, :owner_name, :sum)";

/// Writes what became of objects.
pub(super) fn save(
    transaction: &Transaction<'_>,
    revision: Revision,
    entries: &BTreeMap<Key, Option<Entry>>,
) -> rusqlite::Result<()> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let mut put = transaction.prepare_cached(PUT)?;
    let mut delete = transaction.prepare_cached(DELETE)?;
    for (key, entry) in entries {
        let kind = key.kind.name();
        let Some(Entry { resource, owner }) = entry else {
            delete.execute(params![kind, &*key.mesh, &*key.name])?;
            if key.kind == Kind::Mesh {
                // Also of kinds that this version does not have.
                transaction.prepare_cached(DELETE_OWNED)?.execute(params![kind, &*key.mesh, &*key.name])?;
            }
            continue;
        };
        let meta = &resource.meta;
        let owner = owner.as_ref().map(|o| (o.kind.name().to_owned(), o.mesh.to_string(), o.name.to_string()));
        let row = Stored {
            kind: kind.to_owned(),
            mesh: key.mesh.to_string(),
            name: key.name.to_string(),
            version: number(meta.version.0),
            created: meta.created.as_microsecond(),
            modified: meta.modified.as_microsecond(),
            labels: json!(*meta.labels).to_string(),
            spec: resource.stored_spec().to_string(),
            status: resource.stored_status().map(|status| status.to_string()),
            owner,
            sum: None,
        };
        put.execute(named_params! {
            ":kind": row.kind,
            ":mesh": row.mesh,
            ":name": row.name,
            ":version": row.version,
            ":created": row.created,
            ":modified": row.modified,
            ":labels": row.labels,
            ":spec": row.spec,
            ":status": row.status,
            ":owner_kind": row.owner.as_ref().map(|(kind, ..)| kind),
            ":owner_mesh": row.owner.as_ref().map(|(_, mesh, _)| mesh),
            ":owner_name": row.owner.as_ref().map(|(.., name)| name),
            ":sum": row.computed(),
        })?;
    }
    transaction.prepare_cached("UPDATE revision SET revision = ?")?.execute([number(revision.0)])?;
    Ok(())
}
