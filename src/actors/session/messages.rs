//! What a session can be asked.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::control::Kind;
use super::viewing::{Connected, Visit};
use crate::actors::ask::{Ask, Classified, Unanswered};
use crate::actors::journal::{About, Outcome};
use crate::actors::views::SessionView;
use crate::db::store::StoreError;
use crate::domain::control;
use crate::domain::ids::{ArtifactId, RunId, ViewerId};
use crate::domain::lease::{LeaseHash, LeaseToken};
use crate::domain::occupancy::{Generation, Occupant, Refusal, RunnableType};
use crate::domain::quota::QuotaExceeded;
use crate::domain::session::{Failure, SessionStatus};
use crate::system::desktop::{CaptureError, EgressError, Format, Picture, VncSeat};
use crate::system::film::FilmError;
use crate::system::input::Devices;

/// Why a session did not do what it was asked. Its state is as it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// Its desktop is coming up.
    #[error("the session is still starting")]
    Starting,
    /// Its desktop is being taken down.
    #[error("the session is closing")]
    Closing,
    /// The rules of occupancy say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// As many wait for it as may.
    #[error("{limit} already wait for this session")]
    QueueFull {
        /// How many may.
        limit: usize,
    },
    /// The organization has as much as it may.
    #[error("{0}")]
    Quota(Box<QuotaExceeded>),
    /// It was not vacated while the asker was willing to wait.
    #[error("the session was not released in time; {by} holds it until {until}")]
    WaitedInVain {
        /// Who holds it.
        by: Occupant,
        /// Until when, unless it is heard of before.
        until: DateTime<Utc>,
    },
    /// The asker gave its place in the queue up.
    #[error("the wait for the session was called off")]
    WaitCalledOff,
    /// Control is another's, or not for this viewer.
    #[error(transparent)]
    Control(#[from] control::Refusal),
    /// As many watch as may.
    #[error("{limit} viewers are connected, which is the limit of {of}")]
    TooManyViewers {
        /// How many may.
        limit: usize,
        /// Whose limit: `sessions.max_viewers` or `sessions.max_viewers_of_organization`.
        of: &'static str,
    },
    /// As many drivers are connected as may be.
    #[error(
        "{limit} clients are connected to this session's DevTools, which is the limit of \
         sessions.max_drivers; close one of them, or raise the setting"
    )]
    TooManyDrivers {
        /// The value of `sessions.max_drivers`.
        limit: usize,
    },
    /// As many tickets are valid as may be.
    #[error("{limit} tickets of this session are valid, which is the limit")]
    TooManyTickets {
        /// How many may be; `sessions.max_tickets` sets it.
        limit: usize,
    },
    /// A ticket for one page, and another page came with it first; or it was revoked just now.
    #[error("this ticket is another page's, or was revoked")]
    TicketUsed,
    /// A ticket to drive that was revoked, or has expired, before its begin had its turn.
    #[error("this ticket was revoked, or has expired; ask for another one")]
    TicketEnded,
    /// The VNC password was replaced, and its former clients could not all be cut.
    #[error("the credentials were replaced, but for the VNC server's: {}; rotate again", .0.message)]
    NotRotated(Box<Failure>),
    /// There is no such ticket and no such connection.
    #[error("viewer {0} does not exist")]
    UnknownViewer(ViewerId),
    /// As many recordings of it are under way as may be.
    #[error("{limit} recordings of this session are under way, which is the limit")]
    TooManyRecordings {
        /// How many may be; `recording.max_at_once` sets it.
        limit: usize,
    },
    /// A recording for a run that does not hold the session, or does not any more.
    #[error("run {run} does not hold the session")]
    NotInside {
        /// The run.
        run: RunId,
    },
    /// There is no such recording under way.
    #[error("recording {0} does not exist")]
    UnknownRecording(ArtifactId),
    /// There is no film.
    #[error(transparent)]
    Film(#[from] FilmError),
    /// There is no picture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The network of its programs is not separate, so that nothing judges what they reach.
    #[error(
        "the network of this session is not separated, so its egress cannot be changed or checked; \
         see `isolation.network` and `greenroom doctor`"
    )]
    NoEgress,
    /// The egress program refused a policy, or does not answer.
    #[error(transparent)]
    Egress(EgressError),
    /// A part of the desktop would not start.
    #[error("{}", .0.message)]
    Desktop(Box<Failure>),
    /// Nothing was acknowledged, because it is not known to be stored.
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
            | Self::Egress(EgressError::Invalid(_))
            | Self::Film(FilmError::NoFfmpeg { .. } | FilmError::DiskFull { .. }) => {
                Outcome::Refused
            }
            Self::Film(FilmError::Failed { .. })
            | Self::Capture(_)
            | Self::Egress(EgressError::Unanswered(_))
            | Self::Desktop(_)
            | Self::NotRotated(_)
            | Self::NotStored(_) => Outcome::Failed,
            Self::Unanswered(_) => Outcome::Unanswered,
        }
    }
}

/// The run that an occupant is, if it is one of this server's.
fn run_of(occupant: &Occupant) -> Option<RunId> {
    match occupant.runnable_type {
        RunnableType::WorkflowRun => occupant.runnable_id.as_str().parse().ok(),
        RunnableType::TaskRun | RunnableType::External => None,
    }
}

/// Takes the occupancy, until `ttl` has passed without a heartbeat.
///
/// Who presents the lease token of the present holder *is* that holder: it is given a new
/// generation, and the old one is refused from then on. An occupancy is taken back at once when the
/// answer that gives it is not heard.
#[derive(Debug)]
pub struct Begin {
    /// Who begins.
    pub occupant: Occupant,
    /// The secret that heartbeats and the release will present.
    pub lease: LeaseToken,
    /// How long the lease lasts without a heartbeat.
    pub ttl: Duration,
    /// Whether and how long to wait if another holds it.
    pub wait: Option<Wait>,
    /// The credential of whoever begins.
    pub by: Beginner,
}

/// The credential with which an occupancy is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginner {
    /// None: a run of this server, whose lease is given to nobody.
    Run,
    /// An API key.
    Key,
    /// A ticket, with which the occupancy ends.
    Ticket(ViewerId),
}

/// The wish to wait for an occupied session.
#[derive(Debug, Clone)]
pub struct Wait {
    /// For how long.
    pub patience: Duration,
    /// Canceled when the wait is called off: its place is given up, and that is answered. The place
    /// of an asker that has gone is given up without this.
    pub gone: CancellationToken,
}

/// An occupancy that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The fencing token.
    pub generation: Generation,
    /// When it lapses without a heartbeat.
    pub expires_at: DateTime<Utc>,
}

impl Ask for Begin {
    type Answer = Result<Grant, SessionError>;
    const KIND: &'static str = "begin";
    const NEEDS_BROWSER: bool = true;
    const AUDITED: bool = true;
    const TAKES_NEW: bool = true;

    /// Longer than the wait itself, so that its end is heard.
    fn patience(&self) -> Duration {
        let wait = self.wait.as_ref().map_or(Duration::ZERO, |wait| wait.patience);
        Duration::from_secs(10).saturating_add(wait)
    }

    fn about(&self) -> About {
        About { run: run_of(&self.occupant), ..About::default() }
    }

    fn summary(&self) -> Value {
        json!({
            "occupant": self.occupant,
            "ttl_seconds": self.ttl.as_secs(),
            "wait_seconds": self.wait.as_ref().map(|wait| wait.patience.as_secs()),
        })
    }
}

/// Says that the holder is alive, and keeps the occupancy for another `ttl`.
#[derive(Debug)]
pub struct Heartbeat {
    /// As begin gave it.
    pub generation: Generation,
    /// The hash of what begin gave.
    pub lease: LeaseHash,
    /// How long from now; none for as long as begin asked for.
    pub ttl: Option<Duration>,
    /// For the journal: the run that this is, if it is one.
    pub run: Option<RunId>,
}

impl Ask for Heartbeat {
    type Answer = Result<Grant, SessionError>;
    const KIND: &'static str = "heartbeat";

    fn about(&self) -> About {
        About { run: self.run, ..About::default() }
    }

    fn summary(&self) -> Value {
        json!({ "generation": self.generation })
    }
}

/// Gives the occupancy back. May be repeated until another begins.
#[derive(Debug)]
pub struct Release {
    /// As begin gave it.
    pub generation: Generation,
    /// The hash of what begin gave.
    pub lease: LeaseHash,
    /// For the journal: the run that this is, if it is one.
    pub run: Option<RunId>,
}

impl Ask for Release {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "release";
    const AUDITED: bool = true;

    fn about(&self) -> About {
        About { run: self.run, ..About::default() }
    }

    fn summary(&self) -> Value {
        json!({ "generation": self.generation })
    }
}

/// Takes the occupancy from an occupant that has ended without a release. Asked by the registry
/// alone, which knows that it has.
#[derive(Debug)]
pub(in crate::actors) struct Evict {
    pub occupant: Occupant,
}

impl Ask for Evict {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "evict";
    const AUDITED: bool = true;

    fn about(&self) -> About {
        About { run: run_of(&self.occupant), ..About::default() }
    }

    fn summary(&self) -> Value {
        json!({ "occupant": self.occupant })
    }
}

/// Keeps the session alive until at least `by` from now. Never shortens its life.
#[derive(Debug)]
pub struct Renew {
    /// From now.
    pub by: Duration,
}

impl Ask for Renew {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "renew";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "by_seconds": self.by.as_secs() })
    }
}

/// Changes what the session was asked for, as far as that may be changed while it lives.
#[derive(Debug)]
pub struct Amend {
    /// Whether its profile is to be kept when it ends.
    pub generate_browser_profile: bool,
}

impl Ask for Amend {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "amend";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "generate_browser_profile": self.generate_browser_profile })
    }
}

/// Ends the session. Answered when the last process is gone and the end is stored; joins a
/// closing that is under way.
#[derive(Debug)]
pub struct Close {
    /// As what it ends.
    pub status: SessionStatus,
}

impl Ask for Close {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "close";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(45)
    }

    fn summary(&self) -> Value {
        json!({ "status": self.status })
    }
}

/// How the session stands, in order behind the asker's own messages.
#[derive(Debug)]
pub struct Look;

impl Ask for Look {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "look";
}

/// A picture of the display as it is now.
#[derive(Debug)]
pub struct Capture {
    /// How it is encoded.
    pub format: Format,
}

impl Ask for Capture {
    type Answer = Result<Picture, SessionError>;
    const KIND: &'static str = "capture";
    const NEEDS_BROWSER: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// A viewer would like to watch. Answered when the VNC server accepts connections.
#[derive(Debug)]
pub struct Watch {
    /// Who.
    pub visit: Visit,
}

/// What a viewer was given. Dropping it tells the session that the viewer has left.
#[derive(Debug)]
pub struct Watching {
    /// Where the VNC server is.
    pub seat: VncSeat,
    /// The keyboard and pointer of its display.
    pub devices: Devices,
    /// The viewer's place in the session.
    pub connected: Connected,
}

impl Ask for Watch {
    type Answer = Result<Watching, SessionError>;
    const KIND: &'static str = "watch";
    const NEEDS_BROWSER: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(15)
    }

    fn summary(&self) -> Value {
        self.visit.summary(Kind::Vnc)
    }
}
