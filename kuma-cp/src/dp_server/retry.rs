//! When resources that a proxy refused are tried once more: the reason may be one of its machine, a taken port say, and be
//! gone by then.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use xds_gen::{
    delta::Rejected,
    set::{TypeUrl, Version},
};

/// Before the first further try; each one after that waits twice as long.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait.
const LAST: Duration = Duration::from_mins(5);

/// The plan of one stream.
#[derive(Debug, Default)]
pub(super) struct Retry {
    /// When the next try is due; whoever makes it takes this out.
    pub(super) at: Option<Instant>,
    wait: Duration,
    refused: BTreeSet<(TypeUrl, String, Version)>,
}

impl Retry {
    /// Takes in what is refused now.
    pub(super) fn schedule<'a>(&mut self, refused: impl Iterator<Item = Rejected<'a>>, now: Instant) {
        let refused = refused.map(|r| (r.type_url, r.name.to_owned(), r.version)).collect::<BTreeSet<_>>();
        let known = refused.is_subset(&self.refused);
        self.refused = refused;
        if self.refused.is_empty() {
            self.at = None;
        } else if !known {
            self.wait = FIRST;
            self.at = Some(now + self.wait);
        } else if self.at.is_none() {
            self.wait = (self.wait * 2).min(LAST);
            self.at = Some(now + self.wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &'static [&'static str]) -> impl Iterator<Item = Rejected<'static>> {
        names.iter().map(|name| Rejected {
            type_url: TypeUrl::Listener,
            name,
            version: Version::UNKNOWN,
            text: "no",
            has_last_good: false,
        })
    }

    #[test]
    fn what_is_refused_is_tried_again_ever_more_rarely() {
        let mut retry = Retry::default();
        let mut now = Instant::now();
        retry.schedule(refused(&[]), now);
        assert_eq!(retry.at, None);
        let mut waits = Vec::new();
        for _ in 0..7 {
            retry.schedule(refused(&["l"]), now);
            // Said again without a try in between: nothing changes.
            retry.schedule(refused(&["l"]), now + FIRST / 2);
            let at = retry.at.take().expect("something is refused");
            waits.push((at - now).as_secs());
            now = at;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        // Another one is news.
        retry.schedule(refused(&["l", "m"]), now);
        assert_eq!(retry.at, Some(now + FIRST));
        retry.schedule(refused(&[]), now);
        assert_eq!(retry.at, None);
    }
}
