//! When a dead Envoy is started again, and when that is given up. A value: time comes from outside.

use std::{collections::VecDeque, time::Duration};

/// This many deaths…
pub const MOST_DEATHS: usize = 5;
/// …within this time are enough.
pub const WINDOW: Duration = Duration::from_mins(1);
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Deaths within the window.
#[derive(Debug, Default)]
pub struct RestartPolicy {
    deaths: VecDeque<Duration>,
}

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start it again after this wait.
    Restart(Duration),
    /// Stop trying: the deaths of the window happened within this time.
    GiveUp(Duration),
}

impl RestartPolicy {
    /// Counts a death at `now`, a time since any fixed point. Each death within the window doubles the wait.
    pub fn died(&mut self, now: Duration) -> Next {
        self.deaths.push_back(now);
        self.deaths.retain(|death| now.saturating_sub(*death) < WINDOW);
        if self.deaths.len() >= MOST_DEATHS {
            let first = self.deaths.front().copied().unwrap_or(now);
            return Next::GiveUp(now.saturating_sub(first));
        }
        Next::Restart(FIRST_WAIT * 2_u32.pow(self.deaths.len() as u32 - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn quick_deaths_are_waited_out_longer_and_then_given_up() {
        let mut policy = RestartPolicy::default();
        let next: Vec<Next> = (0..5).map(|n| policy.died(seconds(n))).collect();
        let waits = [200, 400, 800, 1600].map(|ms| Next::Restart(Duration::from_millis(ms)));
        assert_eq!(next[..4], waits);
        assert_eq!(next[4], Next::GiveUp(seconds(4)));
    }

    #[test]
    fn rare_deaths_are_forgotten() {
        let mut policy = RestartPolicy::default();
        for n in 0..100 {
            assert_ne!(policy.died(seconds(16 * n)), Next::GiveUp(seconds(64)), "death {n}");
        }
        let mut policy = RestartPolicy::default();
        for n in 0..10 {
            assert_eq!(policy.died(seconds(61 * n)), Next::Restart(FIRST_WAIT));
        }
    }
}
