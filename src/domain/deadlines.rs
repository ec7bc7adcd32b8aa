//! When a session ends by itself.
//!
//! Every deadline is an absolute time, so that a restart of the server changes none of them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::occupancy::Occupancy;

/// The absolute deadlines of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deadlines {
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
        let idle = self.idle_expires_at.filter(|_at| occupancy.holder().is_none());
        [
            (DeadlineKind::Lifetime, self.expires_at),
            (DeadlineKind::Idle, idle),
            (DeadlineKind::Occupancy, held_until),
        ]
        .into_iter()
        .filter_map(|(kind, at)| Some(NextDeadline { kind, at: at? }))
        .min_by_key(|deadline| deadline.at)
    }

    /// With a lifetime that lasts at least until `now + by`. Never earlier than before.
    #[must_use]
    pub fn extended(&self, now: DateTime<Utc>, by: Duration) -> Self {
        Self { expires_at: self.expires_at.max(Some(now + by)), ..self.clone() }
    }
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
        let deadlines = Deadlines { expires_at: Some(at(60)), idle_expires_at: Some(at(10)) };
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
        let deadlines = Deadlines { expires_at: Some(at(600)), idle_expires_at: None };
        assert_eq!(deadlines.extended(at(0), Duration::from_secs(60)), deadlines);
        let later = deadlines.extended(at(590), Duration::from_secs(60));
        assert_eq!(later.expires_at, Some(at(650)));
    }
}
