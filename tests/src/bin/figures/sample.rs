//! Repeated measurements of one thing.

use std::{fmt, time::Duration};

/// Durations, sorted.
pub(crate) struct Sample(Vec<Duration>);

impl FromIterator<Duration> for Sample {
    fn from_iter<I: IntoIterator<Item = Duration>>(iter: I) -> Self {
        let mut all: Vec<_> = iter.into_iter().collect();
        all.sort();
        Self(all)
    }
}

impl Sample {
    /// The middle one, of an even number the higher one.
    pub(crate) fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// `p50 410.0 ms, p99 980.3 ms, worst 1021.9 ms of 100`
    pub(crate) fn percentiles(&self) -> String {
        let at = |share: f64| millis(self.0[((self.0.len() - 1) as f64 * share).round() as usize]);
        format!("p50 {}, p99 {}, worst {} of {}", at(0.5), at(0.99), at(1.0), self.0.len())
    }
}

/// `median 4.1 ms, worst 9.8 ms of 100`
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worst = self.0.last().copied().unwrap_or_default();
        write!(f, "median {}, worst {} of {}", millis(self.median()), millis(worst), self.0.len())
    }
}

/// `4.1 ms`
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}
