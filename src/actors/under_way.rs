//! The work that a draining server still waits for.

use serde::Serialize;

use super::views::Views;

/// The counts of active work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UnderWay {
    /// The number of live sessions.
    pub sessions: usize,
    /// The number of occupied sessions.
    pub occupants: usize,
    /// The number of waiters for a session.
    pub waiters: usize,
    /// The number of runs that have not ended.
    pub runs: usize,
    /// The number of connected viewers.
    pub viewers: usize,
}

impl UnderWay {
    /// The counts according to the current views.
    pub fn of(views: &Views) -> Self {
        let mut left = Self { runs: views.runs_under_way(), ..Self::default() };
        for view in views.all_sessions() {
            left.sessions += 1;
            left.occupants += usize::from(view.record.occupancy.holder().is_some());
            left.waiters += view.waiters.len();
            left.viewers += view.viewers;
        }
        left
    }

    /// True if stopping now would interrupt viewers only.
    pub fn is_quiet(self) -> bool {
        self.occupants == 0 && self.runs == 0
    }
}
