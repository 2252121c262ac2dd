//! What became of objects: who changed what, and when.
//!
//! Pure: which writes leave a revision, what is in one and how many are kept is decided here. A backend keeps them in the
//! transaction of the write. What differs between two revisions is found when somebody looks.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::ledger::{Entry, Ledger};
use crate::{
    meta::{Labels, Meta},
    registry::{Kind, Role},
    resource::{AnyResource, Key, NoStatus},
    resources::Dataplane,
};

/// Revisions that are kept of one object.
pub const KEPT: usize = 20;
/// How long it is known what a deleted object was.
pub const DELETED_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Deletions that are remembered; the oldest are forgotten first, together with what was deleted.
pub const DELETIONS_KEPT: usize = 10_000;

/// Who wrote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Author {
    /// A user of the API, by name.
    User(Arc<str>),
    /// A proxy that brought its own Dataplane, by name.
    Proxy(Arc<str>),
    /// A part of the control plane; empty for none in particular.
    ControlPlane(Arc<str>),
    /// Another program on the same database.
    Elsewhere,
    /// Nobody was watching: it was so before.
    Unknown,
}

impl Default for Author {
    fn default() -> Self {
        Self::ControlPlane("".into())
    }
}

impl Author {
    /// The part of the control plane of this name.
    pub fn part(name: &str) -> Self {
        Self::ControlPlane(name.into())
    }

    /// What sort of author, and the name, which may be empty.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::User(name) => ("user", name),
            Self::Proxy(name) => ("proxy", name),
            Self::ControlPlane(name) => ("control-plane", name),
            Self::Elsewhere => ("another-program", ""),
            Self::Unknown => ("unknown", ""),
        }
    }

    /// The author that [`fmt::Display`] wrote. A sort that this version does not have is unknown.
    pub fn read(text: &str) -> Self {
        let (sort, name) = text.split_once(':').unwrap_or((text, ""));
        match sort {
            "user" => Self::User(name.into()),
            "proxy" => Self::Proxy(name.into()),
            "control-plane" => Self::ControlPlane(name.into()),
            "another-program" => Self::Elsewhere,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Author {
    /// `sort` or `sort:name`, as it is kept.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sort, name) = self.parts();
        if name.is_empty() { f.write_str(sort) } else { write!(f, "{sort}:{name}") }
    }
}

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was not there before.
    Created,
    /// Labels or spec are others.
    Updated,
    /// It is not there any more.
    Deleted,
}

impl Action {
    /// Its name, as it is kept and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    /// The action of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::Created, Self::Updated, Self::Deleted].into_iter().find(|action| action.name() == name)
    }
}

/// Labels and spec of an object at a revision, as JSON text: many are kept, few are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content(Arc<str>);

impl Content {
    /// Of an object as it is.
    pub fn of(resource: &AnyResource) -> Self {
        let labels = json!(*resource.meta.labels);
        Self(format!(r#"{{"labels":{labels},"spec":{}}}"#, resource.stored_spec()).into())
    }

    /// As it was kept.
    pub fn kept(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text to keep.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The object with this content.
    ///
    /// # Errors
    /// What this version cannot read.
    pub fn resource(&self, key: &Key) -> Result<AnyResource, String> {
        let mut content: Value = serde_json::from_str(&self.0).map_err(|fault| fault.to_string())?;
        let labels: Labels =
            serde_json::from_value(content["labels"].take()).map_err(|fault| format!("labels: {fault}"))?;
        let meta = Meta::new(key.mesh.clone(), key.name.clone(), labels);
        key.kind.decode_stored(meta, content["spec"].take(), None).map_err(|fault| format!("spec: {fault}"))
    }
}

/// One revision of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Counts from 1, on through deletions.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: Author,
    /// What was done.
    pub action: Action,
    /// What the object was from then on. `None` if it was deleted, and for secrets, which are not kept.
    pub content: Option<Content>,
}

/// A change that leaves a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Of which object.
    pub key: Key,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: Author,
    /// What was done.
    pub action: Action,
    /// What the object was before, and since when. `None` if it was not there, and for secrets.
    pub before: Option<(Timestamp, Content)>,
    /// What it is now. `None` if it was deleted, and for secrets.
    pub content: Option<Content>,
}

/// Whether changes of a kind leave revisions. What control planes observe does not.
pub fn is_recorded(kind: Kind) -> bool {
    kind.descriptor().role != Role::Insight
}

/// Whether revisions of a kind hold what the object was. Secret material is meant to be gone once it is replaced.
pub fn keeps_content(kind: Kind) -> bool {
    kind.descriptor().role != Role::Secret
}

/// Without what was observed: probes of inbounds report into the spec of a Dataplane, and an application that comes and
/// goes is no change of it.
fn unprobed(resource: &AnyResource) -> AnyResource {
    match resource.spec::<Dataplane>().and_then(Dataplane::unprobed) {
        Some(plain) => AnyResource::new(resource.meta.clone(), plain, NoStatus {}).carrying(resource),
        None => resource.clone(),
    }
}

impl Record {
    /// What a change leaves; `None` if labels and spec are as before.
    pub fn of(
        key: &Key,
        before: Option<&AnyResource>,
        after: Option<&AnyResource>,
        author: &Author,
        at: Timestamp,
    ) -> Option<Self> {
        if !is_recorded(key.kind) {
            return None;
        }
        let (before, after) = (before.map(unprobed), after.map(unprobed));
        let (before, after) = (before.as_ref(), after.as_ref());
        let action = match (before, after) {
            (None, None) => return None,
            (Some(before), Some(after))
                if before.meta.labels == after.meta.labels && before.same_stored_spec(after) =>
            {
                return None;
            }
            (Some(_), Some(_)) => Action::Updated,
            (None, Some(_)) => Action::Created,
            (Some(_), None) => Action::Deleted,
        };
        let keeps = keeps_content(key.kind);
        let before = before.filter(|_| keeps).map(|before| (before.meta.modified, Content::of(before)));
        let content = after.filter(|_| keeps).map(Content::of);
        Some(Self { key: key.clone(), at, author: author.clone(), action, before, content })
    }

    /// What a change adds to a history that ends with `last`. Usually one revision; one more before it if the history
    /// does not have what was changed, because it began later or somebody wrote unseen.
    pub fn follow(&self, last: Option<&Past>) -> Vec<Past> {
        let mut number = last.map_or(0, |last| last.number);
        let mut next = || {
            number += 1;
            number
        };
        let mut added = Vec::with_capacity(1);
        if let Some((since, content)) = &self.before
            && last.and_then(|last| last.content.as_ref()) != Some(content)
        {
            let there = last.is_some_and(|last| last.action != Action::Deleted);
            let action = if there { Action::Updated } else { Action::Created };
            let content = Some(content.clone());
            added.push(Past { number: next(), at: *since, author: Author::Unknown, action, content });
        }
        let Self { at, author, action, content, .. } = self.clone();
        added.push(Past { number: next(), at, author, action, content });
        added
    }
}

/// What a batch leaves: `before` is what was stored, `entries` what became of the objects that it touched.
pub fn records(before: &Ledger, entries: &BTreeMap<Key, Option<Entry>>, author: &Author, at: Timestamp) -> Vec<Record> {
    let record = |(key, entry): (&Key, &Option<Entry>)| {
        let before = before.get(key).map(|entry| &entry.resource);
        Record::of(key, before, entry.as_ref().map(|entry| &entry.resource), author, at)
    };
    entries.iter().filter_map(record).collect()
}

/// The histories of all objects, in memory.
#[derive(Debug, Default)]
pub struct Histories {
    objects: BTreeMap<Key, VecDeque<Past>>,
    /// Oldest first.
    deletions: VecDeque<(Timestamp, Key, u64)>,
}

impl Histories {
    /// Adds what a change leaves, and forgets what is too much.
    pub fn add(&mut self, record: &Record) {
        let history = self.objects.entry(record.key.clone()).or_default();
        for past in record.follow(history.back()) {
            if past.action == Action::Deleted {
                self.deletions.push_back((past.at, record.key.clone(), past.number));
            }
            history.push_back(past);
        }
        while history.len() > KEPT {
            history.pop_front();
        }
        while let Some((at, key, number)) = self.deletions.front()
            && (self.deletions.len() > DELETIONS_KEPT || record.at.duration_since(*at) > DELETED_FOR)
        {
            if let Some(history) = self.objects.get_mut(key) {
                history.retain(|past| past.number > *number);
                if history.is_empty() {
                    self.objects.remove(key);
                }
            }
            self.deletions.pop_front();
        }
    }

    /// The revisions of an object, oldest first.
    pub fn of(&self, key: &Key) -> Vec<Past> {
        self.objects.get(key).into_iter().flatten().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{DataplaneInsight, Mesh, MeshService, MeshServiceStatus, Secret, Vip, Workload};

    fn workload(team: &str) -> AnyResource {
        let labels = Labels::from([("team".into(), team.into())]);
        AnyResource::new(Meta::new("m", "w", labels), Workload::default(), Default::default())
    }

    fn record(before: Option<&AnyResource>, after: Option<&AnyResource>, second: i64) -> Option<Record> {
        let key = before.or(after).expect("an object").key();
        Record::of(&key, before, after, &Author::default(), Timestamp::from_second(second).expect("a time"))
    }

    #[test]
    fn authors_come_back_as_kept() {
        for author in [
            Author::User("mesh-system:admin".into()),
            Author::Proxy("web-1".into()),
            Author::part("boot"),
            Author::default(),
            Author::Elsewhere,
            Author::Unknown,
        ] {
            assert_eq!(Author::read(&author.to_string()), author);
        }
        assert_eq!(Author::read("robot:r2"), Author::Unknown);
    }

    #[test]
    fn contents_come_back_as_kept() {
        let object = workload("a");
        let read = Content::kept(Content::of(&object).as_str()).resource(&object.key()).expect("a workload");
        assert!(read.meta.labels == object.meta.labels && read.body.spec_eq(&*object.body));
        assert!(Content::kept("{}").resource(&object.key()).is_err());
    }

    #[test]
    fn only_changes_of_labels_or_spec_leave_something() {
        let (a, b) = (workload("a"), workload("b"));
        assert_eq!(record(Some(&a), Some(&a), 1), None);
        let updated = record(Some(&a), Some(&b), 1).expect("a record");
        assert_eq!((updated.action, updated.content), (Action::Updated, Some(Content::of(&b))));
        let service = AnyResource::new(Meta::new("m", "s", Labels::new()), MeshService::default(), Default::default());
        let status = MeshServiceStatus { vips: vec![Vip { ip: "240.0.0.1".into() }], ..Default::default() };
        let with_status = AnyResource::new(service.meta.clone(), MeshService::default(), status);
        assert!(!service.same_content(&with_status));
        assert_eq!(record(Some(&service), Some(&with_status), 1), None);
        let insight = AnyResource::new(Meta::new("m", "w", Labels::new()), DataplaneInsight::default(), NoStatus {});
        assert_eq!(record(None, Some(&insight), 1), None);
    }

    #[test]
    fn what_probes_find_leaves_nothing() {
        let with = |port: u32, state: &str| {
            let inbound = json!({"port": port, "serviceProbe": {"tcp": {}}, "state": state, "health": {"ready": true}});
            let other = json!({"port": 1, "state": "NotReady"});
            let spec = json!({"networking": {"address": "10.0.0.1", "inbound": [inbound, other]}});
            let spec: Dataplane = serde_json::from_value(spec).expect("a spec");
            AnyResource::new(Meta::new("m", "w", Labels::new()), spec, NoStatus {})
        };
        let (ready, not_ready) = (with(80, "Ready"), with(80, "NotReady"));
        assert!(!ready.same_content(&not_ready));
        assert_eq!(record(Some(&ready), Some(&not_ready), 1), None);
        let created = record(None, Some(&not_ready), 1).expect("a record");
        let text = created.content.expect("a content");
        assert_eq!(text.as_str().matches("NotReady").count(), 1, "what is not probed is what somebody wrote: {text:?}");
        let changed = record(Some(&ready), Some(&with(81, "Ready")), 2).expect("a record");
        assert_eq!(changed.before.map(|(_, content)| content), Some(text), "whatever was observed in between");
        let ignored = record(Some(&ready), Some(&with(80, "Ignored")), 3).expect("a record");
        assert_eq!(ignored.action, Action::Updated);
    }

    #[test]
    fn secrets_leave_no_content() {
        let secret = AnyResource::new(Meta::new("m", "s", Labels::new()), Secret::default(), NoStatus {});
        let created = record(None, Some(&secret), 1).expect("a record");
        let deleted = record(Some(&secret), None, 2).expect("a record");
        assert_eq!((created.content, &deleted.before), (None, &None));
        let last = Past {
            number: 4,
            at: Timestamp::UNIX_EPOCH,
            author: Author::Unknown,
            action: Action::Created,
            content: None,
        };
        assert_eq!(deleted.follow(Some(&last)).iter().map(|p| p.number).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn what_was_never_recorded_is_when_it_is_changed() {
        let (a, b, c) = (workload("a"), workload("b"), workload("c"));
        let changed = record(Some(&a), Some(&b), 5).expect("a record");
        let added = changed.follow(None);
        let seen: Vec<_> = added.iter().map(|p| (p.number, p.action, p.author.clone(), p.content.clone())).collect();
        assert_eq!(
            seen,
            [
                (1, Action::Created, Author::Unknown, Some(Content::of(&a))),
                (2, Action::Updated, Author::default(), Some(Content::of(&b))),
            ]
        );
        // Somebody made it `c` unseen, then it was deleted.
        let deleted = record(Some(&c), None, 6).expect("a record").follow(added.last());
        let seen: Vec<_> = deleted.iter().map(|p| (p.number, p.action, p.content.clone())).collect();
        assert_eq!(seen, [(3, Action::Updated, Some(Content::of(&c))), (4, Action::Deleted, None)]);
    }

    #[test]
    fn deleted_objects_are_forgotten_in_time() {
        let mut histories = Histories::default();
        let (a, b) = (workload("a"), workload("b"));
        let days = |days: i64| days * 86_400;
        for record in [record(None, Some(&a), 0), record(Some(&a), None, 1), record(None, Some(&b), days(80))] {
            histories.add(&record.expect("a record"));
        }
        let numbers = |histories: &Histories| histories.of(&a.key()).iter().map(|p| p.number).collect::<Vec<_>>();
        assert_eq!(numbers(&histories), [1, 2, 3]);
        let other = AnyResource::new(Meta::new("", "m", Labels::new()), Mesh::default(), NoStatus {});
        histories.add(&record(None, Some(&other), days(91)).expect("a record"));
        assert_eq!(numbers(&histories), [3], "what came after the deletion stays");
    }
}
