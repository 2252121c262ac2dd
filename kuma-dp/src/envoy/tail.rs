//! The last lines that Envoy wrote, and the cause of its death read out of them.

use std::collections::VecDeque;

const KEPT_LINES: usize = 20;
const LONGEST_LINE: usize = 1000;

/// The last lines of a stream of bytes.
#[derive(Debug, Default)]
pub struct Tail {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    /// Takes more output.
    pub fn push(&mut self, bytes: &[u8]) {
        for chunk in bytes.split_inclusive(|b| *b == b'\n') {
            let room = LONGEST_LINE.saturating_sub(self.partial.len());
            self.partial.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.ends_with(b"\n") {
                self.finish_line();
            }
        }
    }

    fn finish_line(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.partial.clear();
        if line.is_empty() {
            return;
        }
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// The lines, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// What Envoy itself calls the reason: its first critical line that is not a backtrace, else its last error line.
    pub fn cause(&self) -> Option<String> {
        let critical = |line: &&str| line.contains("[critical]") && !line.contains("[backtrace]");
        let found = self.lines().find(critical).or_else(|| self.lines().filter(|l| l.contains("[error]")).last())?;
        Some(inner(message(found)).to_owned())
    }
}

/// `[time][thread][level][logger] [file:line] message` without what comes before the message.
fn message(line: &str) -> &str {
    let mut rest = line;
    while let Some(tail) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        rest = tail.1.trim_start();
    }
    rest
}

/// A refused bootstrap is told as "error `why` initializing config '…", followed by the whole file.
fn inner(message: &str) -> &str {
    let why = message.strip_prefix("error `").and_then(|rest| rest.split_once("` initializing config"));
    why.map_or(message, |(why, _)| why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_the_critical_line() {
        let mut tail = Tail::default();
        tail.push(b"[2026-01-02 03:04:05.678][12][info][main] [source/server/server.cc:430] initializing\n");
        tail.push(b"[2026-01-02 03:04:05.679][12][critical][main] [source/server/server.cc:414] error initializing config '/x': ");
        tail.push(b"cannot bind '127.0.0.1:9901': Address already in use\n[2026][12][info][main] [a.cc:1] exiting\n");
        assert_eq!(
            tail.cause().unwrap(),
            "error initializing config '/x': cannot bind '127.0.0.1:9901': Address already in use"
        );
    }

    #[test]
    fn a_refused_bootstrap_is_told_without_the_bootstrap() {
        let mut tail = Tail::default();
        tail.push(b"[t][1][critical][main] [a.cc:1] error `address is necessary` initializing config 'goo.gle/debugstr\nnode {\n");
        assert_eq!(tail.cause().unwrap(), "address is necessary");
    }

    #[test]
    fn errors_count_when_nothing_is_critical() {
        let mut tail = Tail::default();
        tail.push(b"[t][1][error][config] [a.cc:1] first\n[t][1][error][config] [a.cc:2] second\nplain\n");
        assert_eq!(tail.cause().unwrap(), "second");
        assert_eq!(Tail::default().cause(), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut tail = Tail::default();
        for _ in 0..100 {
            tail.push(&[b'x'; 3000]);
            tail.push(b"\n\n");
        }
        assert_eq!(tail.lines().count(), KEPT_LINES);
        assert!(tail.lines().all(|line| line.len() == LONGEST_LINE));
    }
}
