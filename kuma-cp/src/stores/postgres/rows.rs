//! Objects as rows of the table `resources`, which Kuma 3.0 reads and writes as well.

use jiff::Timestamp;
use kuma_core::{
    meta::{Labels, Meta, Version},
    registry::Kind,
    resource::Key,
    store::ledger::Entry,
};
use serde_json::Value;
use tokio_postgres::Row;

/// Longest name that the columns of the owner hold.
const OWNER_NAME: usize = 100;

/// The columns that [`entry`] reads.
pub(super) const COLUMNS: &str = "
    r.name, r.mesh, r.type, r.version, r.xmin::text::bigint, coalesce(r.spec, '{}'),
    (extract(epoch FROM r.creation_time) * 1000000)::bigint, (extract(epoch FROM r.modification_time) * 1000000)::bigint,
    r.owner_type, r.owner_mesh, r.owner_name, coalesce(r.labels, '{}')::text, r.status::text";

/// The version of a row: the number that is counted up, which begins anew when an object is created again, together with
/// the transaction that wrote it.
pub(super) fn version(transaction: i64, number: i32) -> Version {
    Version(((transaction as u64) << 32) | u64::from(number as u32))
}

/// The transaction and the number in a [`version`].
pub(super) fn parts(version: Version) -> (i64, i32) {
    ((version.0 >> 32) as i64, version.0 as u32 as i32)
}

/// An object has a lower number than before and was not created again: no program that keeps to the rules writes that. The
/// database was restored, or somebody has changed it by hand.
pub(super) fn went_back(before: &Meta, now: &Meta) -> bool {
    before.created == now.created && parts(now.version).1 < parts(before.version).1
}

/// Key of a row, if we know its kind.
pub(super) fn key(row: &Row) -> Option<Key> {
    Some(Key::new(Kind::by_name(row.get(2))?, row.get::<_, &str>(1), row.get::<_, &str>(0)))
}

/// A row of a known kind as an object.
///
/// # Errors
/// What is wrong with it, for a log.
pub(super) fn entry(row: &Row, key: &Key) -> Result<Entry, String> {
    let json = |what: &str, text: &str| serde_json::from_str::<Value>(text).map_err(|e| format!("{what}: {e}"));
    let time = |column: usize| Timestamp::from_microsecond(row.get(column)).map_err(|e| e.to_string());
    // Others write the JSON value null for "no labels".
    let labels: Option<Labels> = serde_json::from_str(row.get(11)).map_err(|e| format!("labels: {e}"))?;
    let mut meta = Meta::new(key.mesh.clone(), key.name.clone(), labels.unwrap_or_default());
    meta.version = version(row.get(4), row.get(3));
    meta.created = time(6)?;
    meta.modified = time(7)?;
    let status = match json("status", row.get(12))? {
        Value::Null => None,
        Value::Object(fields) if fields.is_empty() => None,
        status => Some(status),
    };
    let resource = key.kind.decode_stored(meta, json("spec", row.get(5))?, status).map_err(|e| format!("spec: {e}"))?;
    let owner = row.get::<_, Option<&str>>(8).and_then(|kind| {
        let kind = Kind::by_name(kind)?;
        Some(Key::new(kind, row.get::<_, Option<&str>>(9)?, row.get::<_, Option<&str>>(10)?))
    });
    Ok(Entry { resource, owner })
}

/// Rows to be written, as columns.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    pub(super) meshes: Vec<String>,
    pub(super) kinds: Vec<&'static str>,
    /// What the row is now; `None` if that does not matter, or there is none.
    pub(super) transactions: Vec<Option<i64>>,
    pub(super) versions: Vec<Option<i32>>,
    pub(super) specs: Vec<String>,
    pub(super) created: Vec<i64>,
    pub(super) modified: Vec<i64>,
    pub(super) owner_kinds: Vec<Option<&'static str>>,
    pub(super) owner_meshes: Vec<Option<String>>,
    pub(super) owner_names: Vec<Option<String>>,
    pub(super) labels: Vec<String>,
    pub(super) statuses: Vec<String>,
    /// The object was deleted and created again: it has another owner and another time of creation.
    pub(super) anew: Vec<bool>,
}

impl Columns {
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names a row, which has to be at a version if one is given.
    pub(super) fn name(&mut self, key: &Key, at: Option<Version>) {
        let at = at.map(parts);
        self.names.push(key.name.to_string());
        self.meshes.push(key.mesh.to_string());
        self.kinds.push(key.kind.name());
        self.transactions.push(at.map(|(transaction, _)| transaction));
        self.versions.push(at.map(|(_, number)| number));
    }

    /// Adds a row with all that is in it.
    pub(super) fn put(&mut self, key: &Key, at: Option<Version>, entry: &Entry, anew: bool) {
        self.name(key, at);
        let resource = &entry.resource;
        let meta = &resource.meta;
        // A longer name would be refused. Such an object is deleted together with its owner by name, see the writer.
        let owner = entry.owner.as_ref().filter(|owner| owner.name.len() <= OWNER_NAME);
        self.specs.push(resource.stored_spec().to_string());
        self.created.push(meta.created.as_microsecond());
        self.modified.push(meta.modified.as_microsecond());
        self.owner_kinds.push(owner.map(|owner| owner.kind.name()));
        self.owner_meshes.push(owner.map(|owner| owner.mesh.to_string()));
        self.owner_names.push(owner.map(|owner| owner.name.to_string()));
        self.labels.push(serde_json::json!(*meta.labels).to_string());
        self.statuses.push(resource.stored_status().map_or_else(|| "{}".to_owned(), |status| status.to_string()));
        self.anew.push(anew);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_hold_both_parts() {
        for (transaction, number) in [(3, 0), (4_294_967_295, i32::MAX), (750, 12)] {
            assert_eq!(parts(version(transaction, number)), (transaction, number));
        }
        assert_ne!(version(7, 0), version(8, 0), "created again");
    }

    #[test]
    fn numbers_go_up_as_long_as_an_object_is_there() {
        let meta = |transaction, number, second| {
            let mut meta = Meta::new("m", "x", Labels::new());
            meta.version = version(transaction, number);
            meta.created = Timestamp::from_second(second).expect("a time");
            meta
        };
        let before = meta(70, 5, 1);
        assert!(went_back(&before, &meta(71, 4, 1)) && went_back(&before, &meta(3, 4, 1)));
        assert!(!went_back(&before, &meta(71, 5, 1)) && !went_back(&before, &meta(71, 6, 1)));
        assert!(!went_back(&before, &meta(71, 0, 2)), "created again");
    }
}
