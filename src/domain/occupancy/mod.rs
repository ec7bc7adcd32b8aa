//! Occupancy of a session: the exclusive right to drive it.
//!
//! ```text
//!           begin         release, lapse
//! Vacant ----------> Held ---------------> Vacant
//!    |                |
//!    +---- close -----+----> Closed (final)
//! ```
//!
//! Every begin is given a generation, greater than any before it. An actor that presents an older
//! generation is refused, however late its message arrives.
//!
//! The rules are pure: each event carries the current time, and a refusal changes nothing.

mod queue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::queue::{Queue, QueuePosition, Waiter};
use super::lease::LeaseHash;

/// A fencing token, which increases with every begin of a session. It starts at 0, which no
/// occupant ever holds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(i64);

impl Generation {
    /// Creates the generation with this number.
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// Returns the number, for a column.
    pub fn number(self) -> i64 {
        self.0
    }

    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The kind of an occupant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnableType {
    /// A run that this server executes.
    WorkflowRun,
    /// A task of an agent.
    TaskRun,
    /// A client that drives the browser itself.
    External,
}

impl RunnableType {
    /// Returns the value used in the API and the tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WorkflowRun => "workflow_run",
            Self::TaskRun => "task_run",
            Self::External => "external",
        }
    }
}

/// A text that names no [`RunnableType`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of workflow_run, task_run, external")]
pub struct NotARunnableType;

impl FromStr for RunnableType {
    type Err = NotARunnableType;

    fn from_str(text: &str) -> Result<Self, NotARunnableType> {
        [Self::WorkflowRun, Self::TaskRun, Self::External]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(NotARunnableType)
    }
}

/// The id of an occupant, chosen by the occupant: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RunnableId(String);

/// A text that cannot be a [`RunnableId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 255 visible ASCII characters")]
pub struct NotARunnableId;

impl RunnableId {
    /// Returns the id as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunnableId {
    type Err = NotARunnableId;

    fn from_str(text: &str) -> Result<Self, NotARunnableId> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=255).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotARunnableId)
        }
    }
}

impl fmt::Display for RunnableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The present or prospective holder of an occupancy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Occupant {
    /// The kind of the occupant.
    pub runnable_type: RunnableType,
    /// The id of the occupant.
    pub runnable_id: RunnableId,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.runnable_type.as_str(), self.runnable_id)
    }
}

/// An occupancy that is held, and its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The holder of the occupancy.
    pub occupant: Occupant,
    /// The fencing token of this occupancy.
    pub generation: Generation,
    /// The hash of the lease token that heartbeats and the release must present.
    pub lease: LeaseHash,
    /// The time at which the occupancy began.
    pub since: DateTime<Utc>,
    /// The time of the last heartbeat.
    pub heartbeat_at: DateTime<Utc>,
    /// The time at which the occupancy lapses unless a heartbeat comes before.
    pub expires_at: DateTime<Utc>,
}

/// The occupancy of a session: vacant, held by one occupant, or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupancy {
    /// No occupant holds the session.
    Vacant {
        /// The last generation that was issued.
        last: Generation,
        /// The lease that was released last. A repetition of that release succeeds again.
        released: Option<LeaseHash>,
    },
    /// An occupant holds the session.
    Held(Held),
    /// The session has ended, and can never be held again.
    Closed {
        /// The last generation that was issued.
        last: Generation,
    },
}

impl Default for Occupancy {
    fn default() -> Self {
        Self::Vacant { last: Generation::default(), released: None }
    }
}

/// An event that may change an occupancy.
#[derive(Debug, Clone)]
pub enum Event {
    /// An occupant asks to hold the session until `expires_at`. A begin that presents the present
    /// holder's lease comes from that holder, for example after a lost response, and gets a new
    /// generation.
    Begin { occupant: Occupant, lease: LeaseHash, now: DateTime<Utc>, expires_at: DateTime<Utc> },
    /// The holder is alive, and asks to hold the session until `expires_at`.
    Heartbeat {
        generation: Generation,
        lease: LeaseHash,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    },
    /// The holder releases the session.
    Release { generation: Generation, lease: LeaseHash },
    /// The holder's lease is replaced, and the holder continues with a new generation.
    Replace { lease: LeaseHash },
    /// The clock has reached `now`.
    Lapse { now: DateTime<Utc> },
    /// The session is being closed.
    Close,
}

/// The reason why an event is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another occupant holds the session.
    #[error("the session is occupied by {by} until {}", until.format("%Y-%m-%dT%H:%M:%SZ"))]
    Occupied {
        /// The present holder of the session.
        by: Occupant,
        /// The time at which that occupancy lapses, unless a heartbeat comes before.
        until: DateTime<Utc>,
    },
    /// The occupancy has ended: released, lapsed, or replaced by a later begin.
    #[error("generation {presented} no longer holds the session; the latest is {latest}")]
    Lost {
        /// The generation that the event presented.
        presented: Generation,
        /// The latest generation that was issued.
        latest: Generation,
    },
    /// The generation is right, but the lease token is not.
    #[error("the lease token is not that of generation {generation}")]
    WrongLease {
        /// The generation that the event presented.
        generation: Generation,
    },
    /// The session has ended.
    #[error("the session is closed")]
    Closed,
}

impl Occupancy {
    /// Returns the occupancy after `event`.
    ///
    /// # Errors
    ///
    /// Returns a [`Refusal`] if the event is not accepted; the occupancy is then unchanged.
    pub fn after(&self, event: Event) -> Result<Self, Refusal> {
        use Event::{Begin, Close, Heartbeat, Lapse, Release, Replace};
        use Occupancy::{Closed, Vacant};

        Ok(match (self, event) {
            (Vacant { last, .. }, Begin { occupant, lease, now, expires_at }) => {
                Self::held(occupant, last.next(), lease, now, expires_at)
            }
            // The clock decides whether another occupant's lease has expired, not whether the timer
            // has fired.
            (Self::Held(held), Begin { occupant, lease, now, expires_at })
                if held.expires_at <= now || (held.occupant == occupant && held.lease == lease) =>
            {
                Self::held(occupant, held.generation.next(), lease, now, expires_at)
            }
            (Self::Held(held), Begin { .. }) => {
                let Held { occupant, expires_at, .. } = held.clone();
                return Err(Refusal::Occupied { by: occupant, until: expires_at });
            }

            (Self::Held(held), Heartbeat { generation, lease, now, expires_at }) => {
                held.check(generation, lease)?;
                if held.expires_at <= now {
                    return Err(self.lost(generation));
                }
                let expires_at = expires_at.max(held.expires_at);
                Self::Held(Held { heartbeat_at: now, expires_at, ..held.clone() })
            }
            (Vacant { .. }, Heartbeat { generation, .. }) => return Err(self.lost(generation)),

            (Self::Held(held), Release { generation, lease }) => {
                held.check(generation, lease)?;
                Vacant { last: held.generation, released: Some(lease) }
            }
            // A release whose response was lost is repeated: the session has been released.
            (Vacant { last, released: Some(released) }, Release { generation, lease })
                if *last == generation && *released == lease =>
            {
                self.clone()
            }
            (Vacant { .. }, Release { generation, .. }) => return Err(self.lost(generation)),

            (Self::Held(held), Replace { lease }) => {
                Self::Held(Held { generation: held.generation.next(), lease, ..held.clone() })
            }
            (Vacant { .. } | Closed { .. }, Replace { .. }) => self.clone(),

            (Self::Held(held), Lapse { now }) if held.expires_at <= now => {
                Vacant { last: held.generation, released: None }
            }
            (Vacant { .. } | Self::Held(_) | Closed { .. }, Lapse { .. }) => self.clone(),

            (Vacant { .. } | Self::Held(_) | Closed { .. }, Close) => {
                Closed { last: self.generation() }
            }
            (Closed { .. }, Begin { .. } | Heartbeat { .. } | Release { .. }) => {
                return Err(Refusal::Closed);
            }
        })
    }

    /// Returns the latest generation that was issued.
    pub fn generation(&self) -> Generation {
        match self {
            Self::Vacant { last, .. } | Self::Closed { last } => *last,
            Self::Held(held) => held.generation,
        }
    }

    /// Returns the holder, if there is one.
    pub fn holder(&self) -> Option<&Held> {
        match self {
            Self::Held(held) => Some(held),
            Self::Vacant { .. } | Self::Closed { .. } => None,
        }
    }

    fn held(
        occupant: Occupant,
        generation: Generation,
        lease: LeaseHash,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Self {
        Self::Held(Held { occupant, generation, lease, since: now, heartbeat_at: now, expires_at })
    }

    /// Returns the refusal of a generation that does not hold the session.
    pub fn lost(&self, presented: Generation) -> Refusal {
        Refusal::Lost { presented, latest: self.generation() }
    }
}

impl Held {
    /// Checks the generation and the lease that a caller presents.
    ///
    /// # Errors
    ///
    /// Returns the [`Refusal`] of another generation or another lease.
    pub fn check(&self, generation: Generation, lease: LeaseHash) -> Result<(), Refusal> {
        if generation != self.generation {
            Err(Refusal::Lost { presented: generation, latest: self.generation })
        } else if lease != self.lease {
            Err(Refusal::WrongLease { generation })
        } else {
            Ok(())
        }
    }
}
