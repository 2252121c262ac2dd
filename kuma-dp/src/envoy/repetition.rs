//! Notices warnings that Envoy repeats: while the control plane is away, it tells of every try to reach it, several times a
//! second. One line in half a minute says as much.

use std::{collections::BTreeMap, time::Duration};

/// A warning is shown again after this time.
const INTERVAL: Duration = Duration::from_secs(30);
/// Different warnings that are remembered.
const MOST: usize = 100;

/// What to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Show it; so many like it were left out since the last one.
    Show(u32),
    /// Leave it out.
    LeaveOut,
}

/// Warnings of late.
#[derive(Debug, Default)]
pub(super) struct Repetition {
    /// When a warning was shown last, and how often it was left out since.
    known: BTreeMap<String, (Duration, u32)>,
}

impl Repetition {
    /// Judges a line at `now`, a time since any fixed point.
    pub(super) fn judge(&mut self, line: &[u8], now: Duration) -> Verdict {
        let Some(essence) = std::str::from_utf8(line).ok().and_then(essence) else { return Verdict::Show(0) };
        if let Some((shown, left_out)) = self.known.get_mut(&essence) {
            if now.saturating_sub(*shown) < INTERVAL {
                *left_out += 1;
                return Verdict::LeaveOut;
            }
            *shown = now;
            return Verdict::Show(std::mem::take(left_out));
        }
        if self.known.len() == MOST {
            // Too many kinds of warnings are no repetition.
            self.known.clear();
        }
        self.known.insert(essence, (now, 0));
        Verdict::Show(0)
    }
}

/// What makes two warnings the same: everything but time, thread and numbers. Nothing for lines that are no warnings.
fn essence(line: &str) -> Option<String> {
    let (head, text) = line.split_once("] [source/").or_else(|| line.split_once("] [./source/"))?;
    let is_warning = head.ends_with("[upstream") || head.ends_with("[config");
    let is_warning = is_warning && (head.contains("][warning][") || head.contains("][error]["));
    is_warning.then(|| text.chars().filter(|c| !c.is_ascii_digit()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: &str = "[2026-11-28 14:00:20.045][27756][warning][upstream] [source/common/upstream/health_discovery_service.cc:349] StreamHealthCheck gRPC config stream closed: 14, upstream connect error";
    const SECOND: Duration = Duration::from_secs(1);

    fn retry(ms: u32) -> String {
        format!(
            "[2026-11-28 14:00:20.{ms}][7][warning][upstream] [source/common/upstream/health_discovery_service.cc:62] HdsDelegate stream/connection failure, will retry in {ms} ms."
        )
    }

    #[test]
    fn the_same_warning_is_shown_twice_a_minute() {
        let mut repetition = Repetition::default();
        let mut shown = Vec::new();
        for second in 0..65 {
            for line in [CLOSED.to_owned(), retry(100 + second)] {
                if let Verdict::Show(left_out) = repetition.judge(line.as_bytes(), SECOND * second) {
                    shown.push((second, left_out));
                }
            }
        }
        assert_eq!(shown, [(0, 0), (0, 0), (30, 29), (30, 29), (60, 29), (60, 29)]);
    }

    #[test]
    fn other_lines_are_shown() {
        let mut repetition = Repetition::default();
        for line in [
            "[t][7][info][upstream] [source/a.cc:1] cds: added/updated 3 cluster(s)",
            "[t][7][critical][main] [source/a.cc:1] no",
            "[t][7][warning][main] [source/a.cc:1] no",
            "plain",
        ] {
            for _ in 0..3 {
                assert_eq!(repetition.judge(line.as_bytes(), SECOND), Verdict::Show(0), "{line}");
            }
        }
        assert_eq!(repetition.judge(CLOSED.as_bytes(), SECOND), Verdict::Show(0));
        let other = CLOSED.replace("closed: 14", "closed: 16, authentication failed");
        assert_eq!(repetition.judge(other.as_bytes(), SECOND), Verdict::Show(0), "another reason is news");
    }

    #[test]
    fn memory_is_bounded() {
        let mut repetition = Repetition::default();
        for n in 0..10 * MOST {
            let text = CLOSED.replace("StreamHealthCheck", &"x".repeat(n));
            repetition.judge(text.as_bytes(), SECOND);
            assert!(repetition.known.len() <= MOST);
        }
    }
}
