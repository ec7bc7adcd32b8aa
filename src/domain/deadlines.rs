//! The deadlines at which a session ends by itself.
//!
//! Every deadline is an absolute time, so that a restart of the server changes none of them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::occupancy::Occupancy;

/// The times before a session's end at which it warns, the earliest warning first.
pub const WARNINGS: [TimeDelta; 2] = [TimeDelta::minutes(5), TimeDelta::minutes(1)];

/// The absolute deadlines of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// The time by which the browser has to run; none once it runs.
    pub start_by: Option<DateTime<Utc>>,
    /// The time at which the lifetime is over. Unknown until the browser runs, because the lifetime
    /// counts from then.
    pub expires_at: Option<DateTime<Utc>>,
    /// The time at which the session has been vacant for too long.
    pub idle_expires_at: Option<DateTime<Utc>>,
}

/// The consequence of a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineKind {
    /// The browser does not run yet; the session ends as `failed`.
    StartUp,
    /// The lifetime is over; the session ends as `timeout`.
    Lifetime,
    /// No occupant has held it for too long; the session ends as `timeout`.
    Idle,
    /// The occupant's heartbeats have stopped; its occupancy lapses.
    Occupancy,
}

/// The first deadline of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NextDeadline {
    /// The consequence of this deadline.
    pub kind: DeadlineKind,
    /// The time of this deadline.
    pub at: DateTime<Utc>,
}

impl Deadlines {
    /// Returns the first of these deadlines and of the occupancy's own.
    pub fn next(&self, occupancy: &Occupancy) -> Option<NextDeadline> {
        let held_until = occupancy.holder().map(|held| held.expires_at);
        let others =
            [(DeadlineKind::StartUp, self.start_by), (DeadlineKind::Occupancy, held_until)];
        let others =
            others.into_iter().filter_map(|(kind, at)| Some(NextDeadline { kind, at: at? }));
        self.end(occupancy).into_iter().chain(others).min_by_key(|deadline| deadline.at)
    }

    /// Returns the deadline at which a running session ends by itself.
    pub fn end(&self, occupancy: &Occupancy) -> Option<NextDeadline> {
        let idle = self.idle_expires_at.filter(|_at| occupancy.holder().is_none());
        [(DeadlineKind::Lifetime, self.expires_at), (DeadlineKind::Idle, idle)]
            .into_iter()
            .filter_map(|(kind, at)| Some(NextDeadline { kind, at: at? }))
            .min_by_key(|deadline| deadline.at)
    }

    /// Returns these deadlines with a lifetime until at least `now + by`, and never earlier than
    /// before.
    #[must_use]
    pub fn extended(&self, now: DateTime<Utc>, by: Duration) -> Self {
        Self { expires_at: self.expires_at.max(Some(now + by)), ..self.clone() }
    }

    /// Returns the later of each deadline of these and `other`.
    #[must_use]
    pub fn later(&self, other: &Self) -> Self {
        Self {
            start_by: self.start_by,
            expires_at: self.expires_at.max(other.expires_at),
            idle_expires_at: self.idle_expires_at.max(other.idle_expires_at),
        }
    }
}

/// The warnings of a session's end that were given. A new end makes them due again, except those
/// whose time has passed by then. A session that lives for two minutes therefore does not start
/// with a warning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Warnings {
    end: Option<DateTime<Utc>>,
    /// The latest warning that was given or skipped.
    given: Option<TimeDelta>,
    /// True if the first end was set by a previous server.
    inherited: bool,
}

impl Warnings {
    /// Returns the warnings of a session taken over from a previous server: a warning that the
    /// previous server may not have given is due.
    pub fn inherited() -> Self {
        Self { inherited: true, ..Self::default() }
    }

    /// Sets the session's end, as known at `now`.
    pub fn follow(&mut self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        if self.end == end {
            return;
        }
        let anew = !std::mem::take(&mut self.inherited);
        self.end = end;
        self.given = end.filter(|_end| anew).and_then(|end| passed(end, now));
    }

    /// Returns the time at which the next warning is due.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        let end = self.end?;
        let left = WARNINGS.into_iter().find(|left| self.given.is_none_or(|it| *left < it))?;
        Some(end - left)
    }

    /// Returns true if a warning is due at `now`, and marks it as given.
    pub fn give(&mut self, now: DateTime<Utc>) -> bool {
        let due = self.next().is_some_and(|at| at <= now);
        if due {
            self.given = self.end.and_then(|end| passed(end, now));
        }
        due
    }
}

/// Returns the latest warning whose time has passed.
fn passed(end: DateTime<Utc>, now: DateTime<Utc>) -> Option<TimeDelta> {
    WARNINGS.into_iter().rev().find(|left| end - *left <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lease::LeaseToken;
    use crate::domain::occupancy::{Event, Occupant, RunnableType};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    #[test]
    fn the_first_deadline_wins_and_an_occupied_session_is_not_idle() {
        let deadlines =
            Deadlines { start_by: None, expires_at: Some(at(60)), idle_expires_at: Some(at(10)) };
        let vacant = Occupancy::default();
        let next = deadlines.next(&vacant).unwrap();
        assert_eq!((next.kind, next.at), (DeadlineKind::Idle, at(10)));

        let occupant =
            Occupant { runnable_type: RunnableType::External, runnable_id: "ann".parse().unwrap() };
        let lease = LeaseToken::new([1; 32]).hash();
        let begin = Event::Begin { occupant, lease, now: at(0), expires_at: at(30) };
        let next = deadlines.next(&vacant.after(begin).unwrap()).unwrap();
        assert_eq!((next.kind, next.at), (DeadlineKind::Occupancy, at(30)));
    }

    #[test]
    fn extending_never_shortens() {
        let deadlines = Deadlines { expires_at: Some(at(600)), ..Deadlines::default() };
        assert_eq!(deadlines.extended(at(0), Duration::from_secs(60)), deadlines);
        let later = deadlines.extended(at(590), Duration::from_secs(60));
        assert_eq!(later.expires_at, Some(at(650)));
    }

    /// Checks the seconds at which warnings are given, polling every second from `from` on.
    #[track_caller]
    fn warned(mut warnings: Warnings, from: i64, ends: &[(i64, i64)], expected: &[i64]) {
        let mut given = Vec::new();
        for second in from..1_000 {
            let end =
                ends.iter().rev().find(|(since, _)| *since <= second).map(|(_, end)| at(*end));
            warnings.follow(end, at(second));
            if warnings.give(at(second)) {
                given.push(second);
            }
        }
        assert_eq!(given, expected);
    }

    #[test]
    fn warnings_are_given_once_and_again_when_the_end_has_moved() {
        let new = Warnings::default();
        warned(new, 0, &[(0, 900)], &[600, 840]);
        warned(new, 0, &[(0, 300)], &[240]);
        warned(new, 0, &[(0, 60)], &[]);
        warned(new, 0, &[(0, 400), (350, 950)], &[100, 340, 650, 890]);
        // A server that starts late gives the latest warning that is due.
        warned(Warnings::inherited(), 700, &[(0, 900)], &[700, 840]);
        warned(Warnings::inherited(), 850, &[(0, 900)], &[850]);
        warned(Warnings::inherited(), 100, &[(0, 900)], &[600, 840]);
    }
}
