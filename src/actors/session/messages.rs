//! The messages to a session.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::SessionError;
use super::viewers::{Connected, ViewerKind, Visit};
use crate::actors::ask::Ask;
use crate::actors::journal::About;
use crate::actors::views::SessionView;
use crate::domain::ids::{ApiKeyId, RunId, ViewerId};
use crate::domain::lease::{LeaseHash, LeaseToken};
use crate::domain::occupancy::{Generation, Occupant, RunnableType};
use crate::domain::session::SessionStatus;
use crate::system::desktop::{Format, Picture, VncSeat};
use crate::system::input::Devices;

/// The run that the occupant stands for, if it is a workflow run of this server.
fn run_of(occupant: &Occupant) -> Option<RunId> {
    match occupant.runnable_type {
        RunnableType::WorkflowRun => occupant.runnable_id.as_str().parse().ok(),
        RunnableType::TaskRun | RunnableType::External => None,
    }
}

/// Takes the occupancy, until `ttl` has passed without a heartbeat.
///
/// A client that presents the lease token of the present holder *is* that holder. It gets a new
/// generation, and the old one is refused from then on. If the asker did not receive the answer,
/// the occupancy is taken back at once.
#[derive(Debug)]
pub struct Begin {
    /// The occupant that begins.
    pub occupant: Occupant,
    /// The secret that heartbeats and the release will present.
    pub lease: LeaseToken,
    /// The duration of the lease without a heartbeat.
    pub ttl: Duration,
    /// The wait that is wanted if another occupant holds the session.
    pub wait: Option<Wait>,
    /// The credential of the caller of begin.
    pub by: Beginner,
}

/// The credential with which an occupancy is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginner {
    /// None: a run of this server, whose lease no client receives.
    Run,
    /// The key of a client.
    Key(ApiKeyId),
    /// A ticket, with which the occupancy ends.
    Ticket(ViewerId),
}

/// A request to wait for an occupied session.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The longest time to wait.
    pub patience: Duration,
    /// A token to cancel the wait: the place in the queue is freed, and the begin is answered.
    /// The place of a caller that has left is freed without this token.
    pub gone: CancellationToken,
}

/// An occupancy that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// The fencing token of the occupancy.
    pub generation: Generation,
    /// The time at which the lease ends without a heartbeat.
    pub expires_at: DateTime<Utc>,
}

impl Ask for Begin {
    type Answer = Result<Grant, SessionError>;
    const KIND: &'static str = "begin";
    const NEEDS_BROWSER: bool = true;
    const AUDITED: bool = true;
    const TAKES_NEW: bool = true;

    /// Longer than the wait itself, so that the asker receives its outcome.
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

/// Extends the holder's lease by another `ttl`.
#[derive(Debug)]
pub struct Heartbeat {
    /// The generation that begin granted.
    pub generation: Generation,
    /// The hash of the lease token of the begin.
    pub lease: LeaseHash,
    /// The duration from now; `None` for the duration of the previous lease.
    pub ttl: Option<Duration>,
    /// The run that sends this, if any; for the journal.
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

/// Releases the occupancy. May be repeated until another occupant begins.
#[derive(Debug)]
pub struct Release {
    /// The generation that begin granted.
    pub generation: Generation,
    /// The hash of the lease token of the begin.
    pub lease: LeaseHash,
    /// The run that sends this, if any; for the journal.
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

/// Ends the occupancy of an occupant that has ended without a release. Only the registry sends this
/// message, which knows that the occupant has ended.
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
    /// The duration from now.
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

/// Ends the session. Answered when the last process is gone and the end is stored. If the session
/// is closing already, the answer waits for that.
#[derive(Debug)]
pub struct Close {
    /// The final status of the session.
    pub status: SessionStatus,
}

impl Ask for Close {
    type Answer = Result<(), SessionError>;
    const KIND: &'static str = "close";
    const AUDITED: bool = true;

    /// The end of a browser, and the storing of its profile.
    fn patience(&self) -> Duration {
        Duration::from_secs(180)
    }

    fn summary(&self) -> Value {
        json!({ "status": self.status })
    }
}

/// Returns the view of the session, in order after the asker's earlier messages.
#[derive(Debug)]
pub struct Look;

impl Ask for Look {
    type Answer = Result<SessionView, SessionError>;
    const KIND: &'static str = "look";
}

/// Takes a picture of the display in its current state.
#[derive(Debug)]
pub struct Capture {
    /// The encoding of the picture.
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

/// Connects a viewer to the display. Answered when the VNC server accepts connections.
#[derive(Debug)]
pub struct Watch {
    /// The viewer that connects.
    pub visit: Visit,
}

/// The resources of a connected viewer. Dropping them unregisters the viewer from the session.
#[derive(Debug)]
pub struct Watching {
    /// The viewer's seat at the VNC server.
    pub seat: VncSeat,
    /// The keyboard and pointer of its display.
    pub devices: Devices,
    /// The viewer's connection to the session.
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
        self.visit.summary(ViewerKind::Vnc)
    }
}
