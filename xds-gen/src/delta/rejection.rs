//! Resources that a client refused, and what it was left with.

use std::{collections::BTreeMap, sync::Arc};

use crate::set::{Own, Rendered, TypeUrl, Version};

/// A refusal of one version of one resource.
#[derive(Clone, Debug)]
pub(super) struct Rejection {
    /// The version refused; `None` when it is to be tried again.
    version: Option<Version>,
    /// The response that it was in; 0 for one of an earlier stream.
    nonce: u64,
    /// The client's words.
    text: Arc<str>,
    /// What the client acknowledged last of that name.
    pub(super) last_good: Option<Arc<Rendered>>,
    /// It is tried once more: what was in its way may have gone.
    retried: bool,
}

impl Rejection {
    pub(super) fn new(version: Version, nonce: u64, text: Arc<str>, last_good: Option<Arc<Rendered>>) -> Self {
        Self { version: Some(version), nonce, text, last_good, retried: false }
    }

    pub(super) fn of_earlier_stream(self) -> Self {
        Self { nonce: 0, retried: false, ..self }
    }

    /// Whether it is this content that was refused, and is not to be tried again now.
    pub(super) fn covers(&self, rendered: &Rendered, own: &Own) -> bool {
        !self.retried && self.version == Some(rendered.version_for(own))
    }

    /// Whether it is over when the client takes this resource of that response: other content than the last good one,
    /// sent after the refused one.
    pub(super) fn ends_with(&self, taken: &Rendered, nonce: u64, own: &Own) -> bool {
        let last_good = self.last_good.as_ref().is_some_and(|g| g.version_for(own) == taken.version_for(own));
        nonce > self.nonce && !last_good
    }

    /// Forgets it: there is a new process, of which nothing is known.
    pub(super) fn forgive(&mut self) {
        self.version = None;
    }

    /// Lets it be tried once more. It counts as refused until the client says otherwise.
    pub(super) fn retry(&mut self) {
        self.retried = true;
    }
}

/// What the client may have of a resource, where that is not what it is going to report.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt {
    /// It may be one of these, or nothing.
    pub(super) possible: Vec<Arc<Rendered>>,
    /// Or something from an earlier stream.
    pub(super) unknown: bool,
}

impl Doubt {
    /// More than this is as good as unknown.
    const MAX: usize = 4;

    pub(super) fn add(&mut self, rendered: &Arc<Rendered>) {
        if self.possible.iter().any(|r| Arc::ptr_eq(r, rendered)) {
            return;
        }
        if self.possible.len() < Self::MAX {
            self.possible.push(rendered.clone());
        } else {
            self.unknown = true;
        }
    }

    /// Whether it can be nothing but this content, if anything.
    pub(super) fn is_only(&self, version: Version, own: &Own) -> bool {
        !self.unknown && self.possible.iter().all(|r| r.version_for(own) == version)
    }
}

/// A resource that a client refuses, for showing to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected<'a> {
    /// Its type.
    pub type_url: TypeUrl,
    /// Its name.
    pub name: &'a str,
    /// The version that was refused.
    pub version: Version,
    /// The client's words.
    pub text: &'a str,
    /// Whether the client still has an earlier version that works.
    pub has_last_good: bool,
}

pub(super) fn active(
    type_url: TypeUrl,
    rejected: &BTreeMap<Arc<str>, Rejection>,
) -> impl Iterator<Item = Rejected<'_>> {
    rejected.iter().filter_map(move |(name, r)| {
        let has_last_good = r.last_good.is_some();
        Some(Rejected { type_url, name, version: r.version?, text: &r.text, has_last_good })
    })
}

/// What is remembered of a proxy from one stream to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub(super) BTreeMap<TypeUrl, Remembered>);

/// The part of one type.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered {
    pub(super) rejected: BTreeMap<Arc<str>, Rejection>,
    pub(super) doubtful: BTreeMap<Arc<str>, Doubt>,
}

impl Memory {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Resources that the client refuses.
    pub fn rejected(&self) -> impl Iterator<Item = Rejected<'_>> {
        self.0.iter().flat_map(|(t, r)| active(*t, &r.rejected))
    }
}
