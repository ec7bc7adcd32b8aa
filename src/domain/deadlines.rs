//! When a session ends by itself.
//!
//! Every deadline is an absolute time, so that a restart of the server changes none of them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::occupancy::Occupancy;

/// How long before its end a session warns of it, the earliest first.
pub const WARNINGS: [TimeDelta; 2] = [TimeDelta::minutes(5), TimeDelta::minutes(1)];

/// The absolute deadlines of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// When its browser has to run; nothing once it does.
    pub start_by: Option<DateTime<Utc>>,
    /// When its lifetime is over. Unknown until the browser runs, because the lifetime counts
    /// from then.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it has been vacant for too long.
    pub idle_expires_at: Option<DateTime<Utc>>,
}

/// What happens at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineKind {
    /// Its browser does not run yet; the session ends as `failed`.
    StartUp,
    /// The lifetime is over; the session ends as `timeout`.
    Lifetime,
    /// Nobody has occupied it for too long; the session ends as `timeout`.
    Idle,
    /// The occupant has not been heard of; its occupancy lapses.
    Occupancy,
}

/// The first deadline of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NextDeadline {
    /// What happens.
    pub kind: DeadlineKind,
    /// When.
    pub at: DateTime<Utc>,
}

impl Deadlines {
    /// The first of these and of the occupancy's own.
    pub fn next(&self, occupancy: &Occupancy) -> Option<NextDeadline> {
        let held_until = occupancy.holder().map(|held| held.expires_at);
        let others =
            [(DeadlineKind::StartUp, self.start_by), (DeadlineKind::Occupancy, held_until)];
        let others =
            others.into_iter().filter_map(|(kind, at)| Some(NextDeadline { kind, at: at? }));
        self.end(occupancy).into_iter().chain(others).min_by_key(|deadline| deadline.at)
    }

    /// When a session that runs ends by itself.
    pub fn end(&self, occupancy: &Occupancy) -> Option<NextDeadline> {
        let idle = self.idle_expires_at.filter(|_at| occupancy.holder().is_none());
        [(DeadlineKind::Lifetime, self.expires_at), (DeadlineKind::Idle, idle)]
            .into_iter()
            .filter_map(|(kind, at)| Some(NextDeadline { kind, at: at? }))
            .min_by_key(|deadline| deadline.at)
    }

    /// With a lifetime that lasts at least until `now + by`. Never earlier than before.
    #[must_use]
    pub fn extended(&self, now: DateTime<Utc>, by: Duration) -> Self {
        Self { expires_at: self.expires_at.max(Some(now + by)), ..self.clone() }
    }

    /// The later of these and `other`, each by itself.
    #[must_use]
    pub fn later(&self, other: &Self) -> Self {
        Self {
            start_by: self.start_by,
            expires_at: self.expires_at.max(other.expires_at),
            idle_expires_at: self.idle_expires_at.max(other.idle_expires_at),
        }
    }
}

/// Which warnings of a session's end were given. When the end moves, they are due anew, but for
/// those whose time had passed when it was set: a session that lives for two minutes does not
/// begin with a warning.
#[derive(Debug, Clone, Copy, Default)]
pub struct Warnings {
    end: Option<DateTime<Utc>>,
    /// The latest that was given, or passed over.
    given: Option<TimeDelta>,
    /// Whether the first end was set by a former server.
    inherited: bool,
}

impl Warnings {
    /// Those of a session that a former server had: what it may not have given is due.
    pub fn inherited() -> Self {
        Self { inherited: true, ..Self::default() }
    }

    /// The session ends at `end`, as is known at `now`.
    pub fn follow(&mut self, end: Option<DateTime<Utc>>, now: DateTime<Utc>) {
        if self.end == end {
            return;
        }
        let anew = !std::mem::take(&mut self.inherited);
        self.end = end;
        self.given = end.filter(|_end| anew).and_then(|end| passed(end, now));
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<DateTime<Utc>> {
        let end = self.end?;
        let left = WARNINGS.into_iter().find(|left| self.given.is_none_or(|it| *left < it))?;
        Some(end - left)
    }

    /// Whether one is due at `now`, which is given by that.
    pub fn give(&mut self, now: DateTime<Utc>) -> bool {
        let due = self.next().is_some_and(|at| at <= now);
        if due {
            self.given = self.end.and_then(|end| passed(end, now));
        }
        due
    }
}

/// The latest warning whose time has passed.
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

    /// The seconds at which warnings are given, looked at every second from `from` on.
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
        // A server that comes late gives the one that counts.
        warned(Warnings::inherited(), 700, &[(0, 900)], &[700, 840]);
        warned(Warnings::inherited(), 850, &[(0, 900)], &[850]);
        warned(Warnings::inherited(), 100, &[(0, 900)], &[600, 840]);
    }
}
