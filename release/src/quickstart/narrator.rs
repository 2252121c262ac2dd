//! What a person reads while the quickstart runs: steps with their time, commands, and results.

use std::io::{IsTerminal, Stdout, Write};
use std::time::{Duration, Instant};

/// Prints the story to stdout; colours only where a person is likely to see them.
#[derive(Debug)]
pub(super) struct Narrator {
    out: Stdout,
    colours: bool,
    step: Option<Instant>,
    count: u32,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const CYAN: &str = "36";
const RED: &str = "31";

impl Narrator {
    pub(super) fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let out = std::io::stdout();
        Self { colours: out.is_terminal() && !plain, out, step: None, count: 0 }
    }

    /// Opens a numbered step; its time runs until [`Self::done`].
    pub(super) fn step(&mut self, title: &str) {
        self.count += 1;
        self.step = Some(Instant::now());
        self.line(&format!("\n{} {}", self.paint(DIM, &format!("{:>2}", self.count)), self.paint(BOLD, title)));
    }

    /// A line of explanation.
    pub(super) fn say(&self, text: &str) {
        self.line(&format!("   {text}"));
    }

    /// A command that the reader could have typed.
    pub(super) fn command(&self, text: &str) {
        self.line(&format!("   {} {}", self.paint(DIM, "$"), self.paint(CYAN, text)));
    }

    /// Text of a file or an output, set apart.
    pub(super) fn quote(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.line(&format!("     {}", self.paint(DIM, line)));
        }
    }

    /// Closes the step with what came out and how long it took.
    pub(super) fn done(&mut self, text: &str) {
        let took = self.step.take().map(|since| since.elapsed()).unwrap_or_default();
        self.line(&format!("   {} {text} {}", self.paint(GREEN, "✓"), self.paint(DIM, &format!("({})", short(took)))));
    }

    /// What went wrong.
    pub(super) fn failed(&self, text: &str) {
        self.line(&format!("\n   {} {text}", self.paint(RED, "✗")));
    }

    /// A line without indent.
    pub(super) fn line(&self, text: &str) {
        // A reader that went away must not keep us from cleaning up.
        let _ = writeln!(&self.out, "{text}");
    }

    pub(super) fn heading(&self, text: &str) -> String {
        self.paint(BOLD, text)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A duration as a person would say it.
pub(super) fn short(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    match milliseconds {
        ..10.0 => format!("{milliseconds:.1} ms"),
        ..1000.0 => format!("{milliseconds:.0} ms"),
        ..100_000.0 => format!("{:.1} s", milliseconds / 1000.0),
        _ => format!("{} min {:02} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let text = |milliseconds| short(Duration::from_secs_f64(milliseconds / 1000.0));
        assert_eq!(text(3.25), "3.2 ms");
        assert_eq!(text(42.4), "42 ms");
        assert_eq!(text(1234.0), "1.2 s");
        assert_eq!(text(245_000.0), "4 min 05 s");
    }
}
