//! Who may drive a session.
//!
//! ```text
//!           begin         release, lapse
//! Vacant ----------> Held ---------------> Vacant
//!    |                |
//!    +---- close -----+----> Closed (final)
//! ```
//!
//! Every begin is given a generation, greater than any before it. Whoever still acts under an
//! older one is refused, however late it comes.
//!
//! The rule is pure: the time comes in with the event, and a refusal leaves no trace.

mod queue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use self::queue::{Place, Queue, Waiter};
use super::lease::LeaseHash;

/// A fencing token: rises with every begin of a session, from 0, which nobody ever held.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(i64);

impl Generation {
    /// The generation with this number.
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// Its number, for a column.
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

/// What kind of thing occupies a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnableType {
    /// A run that this server executes.
    WorkflowRun,
    /// A task of an agent.
    TaskRun,
    /// A client that drives the browser by itself.
    External,
}

impl RunnableType {
    /// As the API and the tables write it.
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

/// The name an occupant goes by: 1 to 255 visible characters, chosen by the occupant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RunnableId(String);

/// A text that cannot be a [`RunnableId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 255 visible ASCII characters")]
pub struct NotARunnableId;

impl RunnableId {
    /// As it was given.
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

/// Who occupies, or would like to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Occupant {
    /// What kind of thing it is.
    pub runnable_type: RunnableType,
    /// Which one.
    pub runnable_id: RunnableId,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.runnable_type.as_str(), self.runnable_id)
    }
}

/// An occupancy that is held, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Who holds it.
    pub occupant: Occupant,
    /// Under which fencing token.
    pub generation: Generation,
    /// What its heartbeats and its release must prove.
    pub lease: LeaseHash,
    /// When it began.
    pub since: DateTime<Utc>,
    /// When it was last heard of.
    pub heartbeat_at: DateTime<Utc>,
    /// When it lapses unless it is heard of before.
    pub expires_at: DateTime<Utc>,
}

/// Vacant or held, by one occupant at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occupancy {
    /// Nobody holds it.
    Vacant {
        /// The last generation that was given.
        last: Generation,
        /// The lease that was released last: who repeats that release is told yes again.
        released: Option<LeaseHash>,
    },
    /// Somebody does.
    Held(Held),
    /// The session has ended; nobody ever will again.
    Closed {
        /// The last generation that was given.
        last: Generation,
    },
}

impl Default for Occupancy {
    fn default() -> Self {
        Self::Vacant { last: Generation::default(), released: None }
    }
}

/// What may happen to an occupancy.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody would like to hold it until `expires_at`. Who presents the lease of the present
    /// holder *is* that holder, after a lost answer for example, and gets a new generation.
    Begin { occupant: Occupant, lease: LeaseHash, now: DateTime<Utc>, expires_at: DateTime<Utc> },
    /// The holder is alive, and would like to hold it until `expires_at`.
    Heartbeat {
        generation: Generation,
        lease: LeaseHash,
        now: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    },
    /// The holder gives it back.
    Release { generation: Generation, lease: LeaseHash },
    /// The holder's lease is replaced, and the holder goes on under a new generation.
    Replace { lease: LeaseHash },
    /// The clock has reached `now`.
    Lapse { now: DateTime<Utc> },
    /// The session ends.
    Close,
}

/// Why an event is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another holds it.
    #[error("the session is occupied by {by} until {}", until.format("%Y-%m-%dT%H:%M:%SZ"))]
    Occupied {
        /// Who.
        by: Occupant,
        /// Until when, unless it is heard of before.
        until: DateTime<Utc>,
    },
    /// It was lost: released, lapsed, or taken by a later begin.
    #[error("generation {presented} no longer holds the session; the latest is {latest}")]
    Lost {
        /// The generation that the event presented.
        presented: Generation,
        /// The latest that was given.
        latest: Generation,
    },
    /// The generation is right and the secret is not.
    #[error("the lease token is not the one that begin gave for generation {generation}")]
    WrongLease {
        /// The generation that was presented.
        generation: Generation,
    },
    /// The session has ended.
    #[error("the session is closed")]
    Closed,
}

impl Occupancy {
    /// The occupancy after `event`.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when the event is not accepted; the occupancy is then as it was.
    pub fn after(&self, event: Event) -> Result<Self, Refusal> {
        use Event::{Begin, Close, Heartbeat, Lapse, Release, Replace};
        use Occupancy::{Closed, Vacant};

        Ok(match (self, event) {
            (Vacant { last, .. }, Begin { occupant, lease, now, expires_at }) => {
                Self::held(occupant, last.next(), lease, now, expires_at)
            }
            // The clock decides whether another's time has ended, not whether the timer has
            // fired yet.
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
            // A release whose answer was lost comes again: it has been released.
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

    /// The latest generation that was given.
    pub fn generation(&self) -> Generation {
        match self {
            Self::Vacant { last, .. } | Self::Closed { last } => *last,
            Self::Held(held) => held.generation,
        }
    }

    /// The holder, if there is one.
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

    /// The refusal of a generation that does not hold the session.
    pub fn lost(&self, presented: Generation) -> Refusal {
        Refusal::Lost { presented, latest: self.generation() }
    }
}

impl Held {
    /// Checks what a holder presents.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of another generation or another lease.
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
