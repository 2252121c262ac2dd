//! Leaves out what Envoy tells at every start and nobody reads: about a hundred lines listing everything that is linked into it.
//! And what it repeats all the time.
//!
//! A line is left out only if it is surely one of those; a change of Envoy's wording makes them visible again and hides nothing.

use std::time::Duration;

use super::repetition::{Repetition, Verdict};

/// A longer line is passed on without a look.
const LONGEST_LINE: usize = 64 * 1024;

/// The log between Envoy and our standard error.
#[derive(Debug)]
pub struct Chatter {
    leave_out: bool,
    partial: Vec<u8>,
    repetition: Repetition,
}

impl Chatter {
    /// Passes everything on, or leaves inventory and repetitions out.
    pub fn new(leave_out: bool) -> Self {
        Self { leave_out, partial: Vec::new(), repetition: Repetition::default() }
    }

    /// What is to be shown once `bytes` have arrived at `now`, a time since any fixed point.
    pub fn push(&mut self, bytes: &[u8], now: Duration) -> Vec<u8> {
        if !self.leave_out {
            return bytes.to_vec();
        }
        let mut shown = Vec::with_capacity(bytes.len());
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() > LONGEST_LINE {
                if !is_inventory(&self.partial)
                    && let Verdict::Show(left_out) = self.repetition.judge(&self.partial, now)
                {
                    if left_out > 0 {
                        let note = format!("({left_out} lines like the next one are left out)\n");
                        shown.extend_from_slice(note.as_bytes());
                    }
                    shown.extend_from_slice(&self.partial);
                }
                self.partial.clear();
            }
        }
        shown
    }

    /// A last line without an end.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }
}

/// `[time][thread][info][main] [source/server/server.cc:467]   envoy.filters.http: …` and its headings.
fn is_inventory(line: &[u8]) -> bool {
    let Some(message) = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.split_once("][info][main] [source/server/server.cc:"))
        .and_then(|(_, rest)| rest.split_once("] "))
    else {
        return false;
    };
    let text = message.1;
    let is_heading = text.starts_with("statically linked extensions:") || text.starts_with("HTTP header map info:");
    // Entries of both lists are indented and begin with what they list.
    let is_entry = text.starts_with("  ") && text.split_once(": ").is_some_and(|(what, _)| !what.contains('\''));
    is_heading || is_entry
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[2026-11-25 10:57:18.945][15168][info][main] [source/server/server.cc:430] initializing epoch 0 (base id=0)\n\
[2026-11-25 10:57:18.945][15168][info][main] [source/server/server.cc:432] statically linked extensions:\n\
[2026-11-25 10:57:18.945][15168][info][main] [source/server/server.cc:467]   envoy.path.match: envoy.path.match.uri\n\
[2026-11-25 10:57:18.947][15168][info][main] [source/server/server.cc:544] HTTP header map info:\n\
[2026-11-25 10:57:18.947][15168][info][main] [source/server/server.cc:547]   request trailer map: 104 bytes: \n\
[2026-11-25 10:57:18.954][15168][critical][main] [source/server/server.cc:414]   indented: trouble\n\
plain text: kept\n\
[2026-11-25 10:57:18.956][15168][info][main] [source/server/server.cc:1098] starting main dispatch loop\n\
no end";

    fn shown(leave_out: bool, pieces: usize) -> String {
        let mut chatter = Chatter::new(leave_out);
        let mut out = Vec::new();
        for piece in LOG.as_bytes().chunks(pieces) {
            out.extend(chatter.push(piece, Duration::ZERO));
        }
        out.extend(chatter.rest());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_the_inventory_is_left_out() {
        for pieces in [1, 7, 10_000] {
            let text = shown(true, pieces);
            let kept: Vec<&str> = text.lines().map(|line| line.rsplit("] ").next().unwrap().trim()).collect();
            let expected = [
                "initializing epoch 0 (base id=0)",
                "indented: trouble",
                "plain text: kept",
                "starting main dispatch loop",
                "no end",
            ];
            assert_eq!(kept, expected);
        }
    }

    #[test]
    fn repetitions_are_left_out_and_counted() {
        let line =
            b"[t][1][warning][config] [./source/extensions/config_subscription/grpc/grpc_stream.h:189] closed: 14\n";
        let mut chatter = Chatter::new(true);
        let mut push = |second| String::from_utf8(chatter.push(line, Duration::from_secs(second))).unwrap();
        assert_eq!(push(0).as_bytes(), line);
        assert_eq!((push(1), push(2)), (String::new(), String::new()));
        assert!(push(40).starts_with("(2 lines like the next one are left out)\n["));
        let mut chatter = Chatter::new(false);
        assert_eq!([chatter.push(line, Duration::ZERO), chatter.push(line, Duration::ZERO)], [line, line]);
    }

    #[test]
    fn everything_is_shown_on_request() {
        assert_eq!(shown(false, 7), LOG);
    }
}
