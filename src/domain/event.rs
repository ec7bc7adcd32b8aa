//! Events of sessions and runs, for clients that follow them.
//!
//! An organization's events are numbered from 1, without gaps, in the order in which they were
//! stored. The events of one session are in the order in which they occurred. One numbering serves
//! the events of an organization and those of each of its sessions, so that a position in one list
//! is valid in the other.

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
        /// The kind of an event.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind { $($(#[$doc])* $variant,)+ }

        impl EventKind {
            /// Every kind, in the order of declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the value used in the API and the tables.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

kinds! {
    /// A session was requested and is stored; its desktop is starting.
    SessionCreated = "session.created",
    /// The session's browser can be driven: `{display_number, expires_at, stages_ms}`; `stages_ms` has the
    /// milliseconds of each stage of its start.
    SessionStarted = "session.started",
    /// A part of the session's desktop has ended and is being restarted: the failure.
    SessionRecovering = "session.recovering",
    /// The session runs again, recovered or adopted: `{what, cause, lost, tries, took_ms}`.
    SessionRecovered = "session.recovered",
    /// The kernel has killed a process of the session because its memory was exhausted: `{kills}`,
    /// the number of times so far.
    SessionOutOfMemory = "session.out_of_memory",
    /// The session will end by itself soon: `{reason, at, seconds_left}`.
    SessionExpiring = "session.expiring",
    /// The session's browser has begun a download: `{filename, file_size, origin}`; the size is null
    /// if the site does not announce it. `session.download` reports the end, except for the
    /// downloads of a block, which the end of the block reports.
    SessionDownloadStarted = "session.download_started",
    /// The session's browser has downloaded a file: `{artifact, filename, file_size}`, or
    /// `{filename, failure}` if the file is not kept.
    SessionDownload = "session.download",
    /// A client has put a file into the session: `{folder, filename, file_size}`.
    SessionFileUploaded = "session.file_uploaded",
    /// A client has deleted a file of the session: `{folder, filename}`.
    SessionFileDeleted = "session.file_deleted",
    /// The egress policy refused requests of the session's programs:
    /// `{target, code, message, count}`. The count is that since the last event of the same target
    /// and code, of which there is at most one a minute.
    SessionEgressRefused = "session.egress_refused",
    /// The targets that the session's programs may reach were changed: `{by}`, `session` or
    /// `organization`.
    SessionEgressChanged = "session.egress_changed",
    /// The traces of the session's occupants were cleared: `{cleared, by, tries, took_ms}`; `by` is
    /// `request` or `release`.
    SessionSanitized = "session.sanitized",
    /// Its credentials were replaced: `{rotation, tickets, viewers, leases, vnc_password}`, the numbers of those
    /// that were ended and of viewers that were cut.
    SessionRotated = "session.rotated",
    /// The profile of its browser was stored: `{browser_profile_id, version, origin, size}`.
    ProfileStored = "profile.stored",
    /// The profile of its browser was not stored: `{browser_profile_id, failure}`. The former
    /// version is unchanged.
    ProfileNotStored = "profile.not_stored",
    /// Its life was extended: `{expires_at}`.
    SessionRenewed = "session.renewed",
    /// The session is being taken down: `{status, failure}`.
    SessionClosing = "session.closing",
    /// No part of the session runs any more: `{status, failure}`.
    SessionEnded = "session.ended",
    /// An occupant acquired the session: `{runnable_type, runnable_id, generation}`.
    OccupancyBegun = "occupancy.begun",
    /// An occupant released the session: the same data.
    OccupancyReleased = "occupancy.released",
    /// An occupant's lease expired without a heartbeat: the same data.
    OccupancyLapsed = "occupancy.lapsed",
    /// A person took control: `{label}`.
    ControlTaken = "control.taken",
    /// Control returned to the agent: `{label}` of the user who had it.
    ControlCeded = "control.ceded",
    /// A viewer connected: `{viewer, kind, label}`.
    ViewerJoined = "viewer.joined",
    /// A viewer disconnected: the same data.
    ViewerLeft = "viewer.left",
    /// A run waits for its session.
    RunQueued = "run.queued",
    /// A run drives its session.
    RunStarted = "run.started",
    /// A run waits for a person.
    RunPaused = "run.paused",
    /// A run that had waited for a person continues.
    RunResumed = "run.resumed",
    /// A run has ended: `{status, failure}`.
    RunEnded = "run.ended",
    /// A block has begun: `{block, label, block_type, parent}`.
    BlockStarted = "block.started",
    /// A block has ended: `{block, label, block_type, status, failure}`.
    BlockEnded = "block.ended",
    /// Events could not be stored: `{lost}`, their number, during an outage of the database; with
    /// `{kind, reason}` if the database refuses one.
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
#[error("unknown kind of event")]
pub struct NotAKind;

impl FromStr for EventKind {
    type Err = NotAKind;

    fn from_str(text: &str) -> Result<Self, NotAKind> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text).ok_or(NotAKind)
    }
}

/// The subject of an event: a session, a run, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The organization that owns the subject.
    pub organization: OrganizationId,
    /// The session concerned, if any.
    pub session: Option<SessionId>,
    /// The run concerned, if any.
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

/// An event that has no number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    pub id: EventId,
    pub subject: Subject,
    pub kind: EventKind,
    /// Details of the event, without secrets.
    pub data: Value,
    /// The time at which it occurred.
    pub at: DateTime<Utc>,
}

/// An event, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number within the organization.
    pub seq: i64,
    /// The event without its number.
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
