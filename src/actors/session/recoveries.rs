//! The recoveries of a session, counted within a window of time.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::actors::views::LastDeath;

/// The longest wait before a browser that was closed is started again.
const CLOSED_WAIT: Duration = Duration::from_secs(10);

/// The start times of recoveries, as far back as they count.
#[derive(Debug, Default)]
pub(super) struct Recoveries {
    begun: VecDeque<DateTime<Utc>>,
    /// The same for browsers that were closed in good order, which never end the session.
    closed: VecDeque<DateTime<Utc>>,
    /// The latest cause of a recovery.
    pub(super) last_death: Option<LastDeath>,
}

impl Recoveries {
    /// Counts one more recovery at `now`, and returns its delay; `None` if there were `most` within
    /// `window`.
    pub(super) fn begin(
        &mut self,
        now: DateTime<Utc>,
        window: Duration,
        most: usize,
        wait: Duration,
    ) -> Option<Duration> {
        self.begun.retain(|at| *at + window > now);
        if self.begun.len() >= most {
            return None;
        }
        let before = u32::try_from(self.begun.len()).unwrap_or(u32::MAX);
        self.begun.push_back(now);
        let doubled = before.checked_sub(1).map(|times| 2_u32.saturating_pow(times));
        Some(doubled.map_or(Duration::ZERO, |times| wait.saturating_mul(times)))
    }

    /// Counts one more browser that was closed in good order, and returns the delay of its restart.
    /// The delay grows by `wait` each time, so that a loop of closing costs little.
    pub(super) fn reopen(
        &mut self,
        now: DateTime<Utc>,
        window: Duration,
        wait: Duration,
    ) -> Duration {
        self.closed.retain(|at| *at + window > now);
        let before = u32::try_from(self.closed.len()).unwrap_or(u32::MAX);
        self.closed.push_back(now);
        wait.saturating_mul(before).min(CLOSED_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recoveries_wait_longer_each_time_and_are_counted_within_the_window() {
        let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        let mut recoveries = Recoveries::default();
        let mut begin = |second| {
            let wait = Duration::from_millis(500);
            let wait = recoveries.begin(at(second), Duration::from_secs(60), 3, wait);
            wait.map(|wait| wait.as_millis())
        };
        let waits = [begin(0), begin(1), begin(2), begin(59), begin(60), begin(60)];
        assert_eq!(waits, [Some(0), Some(500), Some(1_000), None, Some(1_000), None]);
        assert_eq!(begin(1_000), Some(0));
    }

    #[test]
    fn a_browser_that_is_closed_costs_no_recovery_and_waits_a_little_longer_each_time() {
        let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        let mut recoveries = Recoveries::default();
        let (window, wait) = (Duration::from_secs(60), Duration::from_millis(500));
        let waits: Vec<u128> =
            (0..50).map(|_| recoveries.reopen(at(0), window, wait).as_millis()).collect();
        assert_eq!(waits[..4], [0, 500, 1_000, 1_500]);
        assert_eq!(waits.last(), Some(&10_000));
        assert_eq!(recoveries.reopen(at(60), window, wait), Duration::ZERO);
        assert_eq!(recoveries.begin(at(60), window, 1, wait), Some(Duration::ZERO));
    }
}
