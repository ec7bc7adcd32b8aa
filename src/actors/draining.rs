//! Whether the server takes new work, and what there is still to wait for.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::views::Views;

/// The server takes nothing new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Draining {
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when what is under way should have ended; nothing is ended then but by a stop.
    pub deadline: Option<DateTime<Utc>>,
    /// Whether the server is being taken down, which cannot be undone.
    pub stopping: bool,
}

/// What is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UnderWay {
    /// Sessions that live.
    pub sessions: usize,
    /// Sessions that somebody holds.
    pub occupants: usize,
    /// Who waits for a session.
    pub waiters: usize,
    /// Runs that have not ended.
    pub runs: usize,
    /// Who watches.
    pub viewers: usize,
}

impl UnderWay {
    /// What the views say now.
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

    /// Whether nobody loses anything by a stop, but for who watches.
    pub fn is_quiet(self) -> bool {
        self.occupants == 0 && self.runs == 0
    }
}
