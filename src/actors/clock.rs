//! The clock of the actors.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use tokio::time::Instant;

/// Wall time that advances with the monotonic clock. Once the server runs, setting the machine's
/// clock neither ends a session nor keeps one alive. It stands still where a test pauses time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began_at: DateTime<Utc>,
    began: Instant,
}

impl Clock {
    /// A clock that starts at the current wall time.
    pub fn start() -> Self {
        Self::start_at(Utc::now())
    }

    /// A clock that starts at `now`.
    pub fn start_at(now: DateTime<Utc>) -> Self {
        Self { began_at: now, began: Instant::now() }
    }

    /// The current time, to the microsecond, which is the precision of both databases.
    pub fn now(&self) -> DateTime<Utc> {
        (self.began_at + self.began.elapsed()).trunc_subsecs(6)
    }

    /// The duration from now until `at`; zero if `at` has passed.
    pub fn until(&self, at: DateTime<Utc>) -> Duration {
        (at - self.now()).to_std().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_from_its_start_whatever_the_machines_clock_says() {
        let start = DateTime::from_timestamp(946_684_800, 0).unwrap();
        let clock = Clock::start_at(start);
        assert_eq!(clock.now(), start);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(clock.now(), start + TimeDelta::hours(1));
        assert_eq!(clock.until(start + TimeDelta::hours(2)), Duration::from_secs(3600));
        assert_eq!(clock.until(start), Duration::ZERO);
    }
}
