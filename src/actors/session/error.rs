//! The refusals and failures of a session.

use chrono::{DateTime, Utc};

use crate::actors::ask::{Classified, Unanswered};
use crate::actors::journal::Outcome;
use crate::actors::profiles::ProfileError;
use crate::db::store::StoreError;
use crate::domain::control;
use crate::domain::ids::{ArtifactId, ProfileId, RunId, SessionId, ViewerId};
use crate::domain::occupancy::{Occupant, Refusal};
use crate::domain::quota::QuotaExceeded;
use crate::domain::session::Failure;
use crate::system::desktop::{CaptureError, EgressError};
use crate::system::film::FilmError;

/// The reason why a session did not do what it was asked. Its state is unchanged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// Its desktop is starting, being recovered, or being sanitized.
    #[error("the session is still starting")]
    Starting,
    /// Its desktop is being shut down.
    #[error("the session is closing")]
    Closing,
    /// The rules of occupancy refuse the change.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The limit on waiters is reached.
    #[error("{limit} already wait for this session")]
    QueueFull {
        /// The limit, which `sessions.max_waiters` sets.
        limit: usize,
    },
    /// A quota of the organization is reached.
    #[error("{0}")]
    Quota(Box<QuotaExceeded>),
    /// It was not vacated while the asker was willing to wait.
    #[error("the session was not released in time; {by} holds it until {until}")]
    WaitedInVain {
        /// The occupant that holds it.
        by: Occupant,
        /// The end of the holder's lease, unless a heartbeat extends it.
        until: DateTime<Utc>,
    },
    /// The asker gave up its place in the queue.
    #[error("the wait for the session was canceled")]
    WaitCalledOff,
    /// Another person has control, or this viewer may not have it.
    #[error(transparent)]
    Control(#[from] control::Refusal),
    /// A limit on viewers is reached.
    #[error("{limit} viewers are connected, which is the limit of {of}")]
    TooManyViewers {
        /// The limit that is reached.
        limit: usize,
        /// The setting of the limit: `sessions.max_viewers` or
        /// `sessions.max_viewers_of_organization`.
        of: &'static str,
    },
    /// The limit on drivers is reached.
    #[error(
        "{limit} clients are connected to this session's DevTools, which is the limit of \
         sessions.max_drivers; close one of them, or raise the setting"
    )]
    TooManyDrivers {
        /// The value of `sessions.max_drivers`.
        limit: usize,
    },
    /// The limit on valid tickets is reached.
    #[error("{limit} tickets of this session are valid, which is the limit")]
    TooManyTickets {
        /// The limit, which `sessions.max_tickets` sets.
        limit: usize,
    },
    /// The single-use ticket is bound to another page, or the ticket has just been revoked.
    #[error("this ticket is in use by another page, or was revoked")]
    TicketUsed,
    /// A ticket to drive that was revoked, or has expired, before its begin had its turn.
    #[error("this ticket was revoked or has expired; request another ticket")]
    TicketEnded,
    /// The VNC password was replaced, and its former clients could not all be cut.
    #[error("the credentials were replaced, but for the VNC server's: {}; rotate again", .0.message)]
    NotRotated(Box<Failure>),
    /// There is no such ticket and no such connection.
    #[error("viewer {0} does not exist")]
    UnknownViewer(ViewerId),
    /// The limit on simultaneous recordings is reached.
    #[error("{limit} recordings of this session are under way, which is the limit")]
    TooManyRecordings {
        /// The limit, which `recording.max_at_once` sets.
        limit: usize,
    },
    /// The recording is for a run that does not hold the session.
    #[error("run {run} does not hold the session")]
    NotInside {
        /// The run that asked for the recording.
        run: RunId,
    },
    /// No recording under way has this id.
    #[error("recording {0} does not exist")]
    UnknownRecording(ArtifactId),
    /// Another session may write to the profile.
    #[error(
        "session {by} may write to the profile {id}, and one at most may; close it, or use a copy"
    )]
    ProfileInUse {
        /// The profile that both want.
        id: ProfileId,
        /// The session that may write to it.
        by: SessionId,
    },
    /// The profile was not stored.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The film could not be made.
    #[error(transparent)]
    Film(#[from] FilmError),
    /// The picture could not be taken.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The network of its programs is not separated, so no egress policy applies to them.
    #[error(
        "the network of this session is not separated, so its egress cannot be changed or checked; \
         see `isolation.network` and `greenroom doctor`"
    )]
    NoEgress,
    /// The egress program refused a policy, or does not answer.
    #[error(transparent)]
    Egress(EgressError),
    /// A part of the desktop failed to start.
    #[error("{}", .0.message)]
    Desktop(Box<Failure>),
    /// The change is not known to be stored, so it was not acknowledged.
    #[error("the change could not be stored: {0}")]
    NotStored(StoreError),
    /// The session did not answer.
    #[error("the session did not answer: {0}")]
    Unanswered(#[from] Unanswered),
}

impl Classified for SessionError {
    fn class(&self) -> Outcome {
        match self {
            Self::Starting
            | Self::Closing
            | Self::Refused(_)
            | Self::QueueFull { .. }
            | Self::Quota(_)
            | Self::WaitedInVain { .. }
            | Self::WaitCalledOff
            | Self::Control(_)
            | Self::TooManyViewers { .. }
            | Self::TooManyDrivers { .. }
            | Self::TooManyTickets { .. }
            | Self::TicketUsed
            | Self::TicketEnded
            | Self::UnknownViewer(_)
            | Self::TooManyRecordings { .. }
            | Self::NotInside { .. }
            | Self::UnknownRecording(_)
            | Self::NoEgress
            | Self::ProfileInUse { .. }
            | Self::Profile(
                ProfileError::UnderWay | ProfileError::NotWriter(_) | ProfileError::Quota(_),
            )
            | Self::Egress(EgressError::Invalid(_))
            | Self::Film(FilmError::NoFfmpeg { .. } | FilmError::DiskFull { .. }) => {
                Outcome::Refused
            }
            Self::Film(FilmError::Failed { .. })
            | Self::Profile(
                ProfileError::NotPacked(_)
                | ProfileError::Objects(_)
                | ProfileError::Late(_)
                | ProfileError::Row(_),
            )
            | Self::Capture(_)
            | Self::Egress(EgressError::Unanswered(_))
            | Self::Desktop(_)
            | Self::NotRotated(_)
            | Self::NotStored(_) => Outcome::Failed,
            Self::Unanswered(_) => Outcome::Unanswered,
        }
    }
}
