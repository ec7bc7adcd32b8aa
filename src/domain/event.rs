//! What happens to sessions and runs, for whoever follows them.
//!
//! An organization's events are numbered from 1, without gaps, in the order in which they were
//! stored; those of one session are in the order in which they happened. One numbering serves the
//! events of an organization and those of any of its sessions, so that a place in one is a place
//! in the other.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::ids::{EventId, OrganizationId, RunId, SessionId};
use super::run::RunRecord;
use super::session::SessionRecord;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// What has happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind { $($(#[$doc])* $variant,)+ }

        impl EventKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// As the API and the tables write it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

kinds! {
    /// A session was asked for and is stored; its desktop is coming up.
    SessionCreated = "session.created",
    /// Its browser can be driven: `{display_number, expires_at}`.
    SessionStarted = "session.started",
    /// A part of its desktop has ended and is being brought back: the failure.
    SessionRecovering = "session.recovering",
    /// It runs again, brought back or taken over: `{what, cause, lost, tries, took_ms}`.
    SessionRecovered = "session.recovered",
    /// The kernel has ended a process of it, because it had used up its memory: `{kills}`, how often
    /// that has happened to it.
    SessionOutOfMemory = "session.out_of_memory",
    /// It will end by itself soon: `{reason, at, seconds_left}`.
    SessionExpiring = "session.expiring",
    /// Its browser has downloaded a file: `{artifact, filename, file_size}`, or `{filename, failure}` of
    /// one that is not kept.
    SessionDownload = "session.download",
    /// Requests of its programs were refused by its egress policy: `{target, code, message, count}`, how
    /// many since the last event of that target and code, of which there is one a minute at most.
    SessionEgressRefused = "session.egress_refused",
    /// What its programs may reach was changed: `{by}`, `session` or `organization`.
    SessionEgressChanged = "session.egress_changed",
    /// The traces of its occupants were cleared: `{cleared, by, tries, took_ms}`; `by` is `request` or
    /// `release`.
    SessionSanitized = "session.sanitized",
    /// Its credentials were replaced: `{rotation, tickets, viewers, leases, vnc_password}`, the numbers of those
    /// that were ended and of viewers that were cut.
    SessionRotated = "session.rotated",
    /// Its life was extended: `{expires_at}`.
    SessionRenewed = "session.renewed",
    /// It is being taken down: `{status, failure}`.
    SessionClosing = "session.closing",
    /// Nothing of it runs any more: `{status, failure}`.
    SessionEnded = "session.ended",
    /// An occupant began: `{runnable_type, runnable_id, generation}`.
    OccupancyBegun = "occupancy.begun",
    /// An occupant gave the session back: the same.
    OccupancyReleased = "occupancy.released",
    /// An occupant was not heard of any more: the same.
    OccupancyLapsed = "occupancy.lapsed",
    /// A person has control: `{label}`.
    ControlTaken = "control.taken",
    /// Control is back with the agent: `{label}` of who had it.
    ControlCeded = "control.ceded",
    /// Somebody connected: `{viewer, kind, label}`.
    ViewerJoined = "viewer.joined",
    /// Somebody left: the same.
    ViewerLeft = "viewer.left",
    /// A run waits for its session.
    RunQueued = "run.queued",
    /// A run drives its session.
    RunStarted = "run.started",
    /// A run waits for a person.
    RunPaused = "run.paused",
    /// A run that had waited for a person goes on.
    RunResumed = "run.resumed",
    /// A run has ended: `{status, failure}`.
    RunEnded = "run.ended",
    /// A block has begun: `{block, label, block_type, parent}`.
    BlockStarted = "block.started",
    /// A block has ended: `{block, label, block_type, status, failure}`.
    BlockEnded = "block.ended",
    /// Events could not be kept: `{lost}`, how many, while the database was away; with `{kind, reason}`
    /// where the database refuses one.
    Gap = "gap",
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A text that names no kind of event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such kind of event")]
pub struct NotAKind;

impl FromStr for EventKind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Self, NotAKind> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or(NotAKind)
    }
}

/// To what something has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Whose it is.
    pub organization: OrganizationId,
    /// Which session, if one.
    pub session: Option<SessionId>,
    /// Which run, if one.
    pub run: Option<RunId>,
}

impl From<&SessionRecord> for Subject {
    fn from(session: &SessionRecord) -> Self {
        Self { organization: session.organization, session: Some(session.id), run: None }
    }
}

impl From<&RunRecord> for Subject {
    fn from(run: &RunRecord) -> Self {
        Self { organization: run.organization, session: run.session, run: Some(run.id) }
    }
}

/// Something that has happened and has no number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Its name.
    pub id: EventId,
    /// To what.
    pub subject: Subject,
    /// What.
    pub kind: EventKind,
    /// Details, without secrets.
    pub data: Value,
    /// When.
    pub at: DateTime<Utc>,
}

/// Something that has happened, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number within the organization.
    pub seq: i64,
    /// The rest.
    pub event: NewEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_back_as_it_was_written() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        assert_eq!("session".parse::<EventKind>(), Err(NotAKind));
    }
}
