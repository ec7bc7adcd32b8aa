//! What the registry can be asked.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::actors::ask::{Answer, Ask, Classified, Unanswered};
use crate::actors::draining::Draining;
use crate::actors::journal::{About, Outcome};
use crate::actors::session::SessionError;
use crate::actors::views::SessionView;
use crate::db::store::StoreError;
use crate::domain::ids::{OrganizationId, RunId, SessionId};
use crate::domain::quota::QuotaExceeded;
use crate::domain::session::{SessionRecord, SessionSpec};
use crate::system::desktop::NoRoom;

/// Why the registry did not do what it was asked. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The server is stopping.
    #[error("the server is stopping and takes nothing new")]
    Draining,
    /// As many live as may.
    #[error("{limit} sessions live on this node, which is its limit")]
    TooManySessions {
        /// How many may; `sessions.max_sessions` sets it.
        limit: usize,
    },
    /// As many sessions wait for their first use as may.
    #[error(
        "{limit} sessions of this node wait for their first use, which is its limit; close some of them"
    )]
    TooManyDormant {
        /// The limit.
        limit: usize,
    },
    /// As many runs are under way as may be.
    #[error("{limit} runs are under way on this node, which is its limit")]
    TooManyRuns {
        /// How many may be; `sessions.max_runs` sets it.
        limit: usize,
    },
    /// The organization has as much as it may.
    #[error("{0}")]
    Quota(Box<QuotaExceeded>),
    /// It is being made, as an earlier request with the same name asked.
    #[error("it is being made already")]
    UnderWay,
    /// The machine has no room for another session.
    #[error("{0}")]
    NoRoom(NoRoom),
    /// It is not known to be stored, and so was not begun.
    #[error("it could not be stored: {0}")]
    NotStored(StoreError),
    /// The registry did not answer.
    #[error("the registry did not answer: {0}")]
    Unanswered(#[from] Unanswered),
}

impl Classified for RegistryError {
    fn class(&self) -> Outcome {
        match self {
            Self::Draining
            | Self::TooManySessions { .. }
            | Self::TooManyDormant { .. }
            | Self::TooManyRuns { .. }
            | Self::Quota(_)
            | Self::UnderWay
            | Self::NoRoom(_) => Outcome::Refused,
            Self::NotStored(_) => Outcome::Failed,
            Self::Unanswered(_) => Outcome::Unanswered,
        }
    }
}

impl From<QuotaExceeded> for RegistryError {
    fn from(refusal: QuotaExceeded) -> Self {
        Self::Quota(Box::new(refusal))
    }
}

/// The time at which a session's browser is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the session.
    Now,
    /// When the session is first used, see [`awake`](super::awake). Until then it takes no room of the machine.
    FirstUse,
}

/// Makes a session. Answered when its row is stored and its actor has started; its desktop is
/// coming up then, and the view tells when it is up. A session that was not heard of is closed at
/// once, unless its asker has given it its name.
#[derive(Debug)]
pub struct Create {
    /// Whose it is.
    pub organization: OrganizationId,
    /// What is asked for.
    pub spec: SessionSpec,
    /// When its browser is started.
    pub start: Start,
    /// The run that makes it for itself, if one does.
    pub run: Option<RunId>,
    /// The name that its asker gives it, and by which that finds it again. Asked for a second time,
    /// the same session is the answer.
    pub id: Option<SessionId>,
}

/// A session that was made.
#[derive(Debug)]
pub struct Created {
    /// Its name.
    pub id: SessionId,
    /// How it stands.
    pub view: watch::Receiver<SessionView>,
}

impl Ask for Create {
    type Answer = Result<Created, RegistryError>;
    const KIND: &'static str = "create";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn about(&self) -> About {
        About { organization: Some(self.organization), run: self.run, session: None }
    }

    fn summary(&self) -> Value {
        json!({
            "size": self.spec.size.to_string(),
            "lifetime_seconds": self.spec.lifetime.as_secs(),
        })
    }
}

/// Passes a message on to a session, if it is the organization's.
#[derive(Debug)]
pub struct Route<M> {
    /// Who asks.
    pub organization: OrganizationId,
    /// For which session.
    pub session: SessionId,
    /// What.
    pub message: M,
}

/// Why a message did not reach its session, or was not done there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RouteError {
    /// There is no such session that lives; another organization's does not exist either.
    #[error("session {0} does not exist or has ended")]
    Unknown(SessionId),
    /// The server is stopping, and begins nothing.
    #[error("the server is stopping and takes nothing new")]
    Draining,
    /// The session did not do it.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The session or the registry did not answer.
    #[error("no answer: {0}")]
    Unanswered(#[from] Unanswered),
}

impl Classified for RouteError {
    fn class(&self) -> Outcome {
        match self {
            Self::Unknown(_) | Self::Draining => Outcome::Refused,
            Self::Session(cause) => cause.class(),
            Self::Unanswered(_) => Outcome::Unanswered,
        }
    }
}

impl<T, M> Ask for Route<M>
where
    T: Send + 'static,
    M: Ask<Answer = Result<T, SessionError>>,
    M::Answer: Answer,
{
    type Answer = Result<T, RouteError>;
    const KIND: &'static str = M::KIND;

    /// More than for `M` itself, so that an asker hears which of the two was late.
    fn patience(&self) -> Duration {
        self.message.patience().saturating_add(Duration::from_secs(1))
    }

    fn about(&self) -> About {
        About {
            organization: Some(self.organization),
            session: Some(self.session),
            ..self.message.about()
        }
    }

    fn summary(&self) -> Value {
        self.message.summary()
    }
}

/// Who lives in the registry's book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::actors) enum Resident {
    Session(SessionId),
    Run(RunId),
}

/// An actor has ended.
#[derive(Debug)]
pub(in crate::actors) struct Gone {
    pub resident: Resident,
    /// Whether what it owned is gone too, and stored as gone; not after a panic.
    pub in_order: bool,
}

impl Ask for Gone {
    type Answer = ();
    const KIND: &'static str = "gone";

    fn about(&self) -> About {
        match self.resident {
            Resident::Session(id) => About { session: Some(id), ..About::default() },
            Resident::Run(id) => About { run: Some(id), ..About::default() },
        }
    }

    fn summary(&self) -> Value {
        json!({ "in_order": self.in_order })
    }
}

/// Takes over the sessions of a former server of this node, which are as their rows say. Answered
/// when each has its actor; the desktops are taken over then.
#[derive(Debug)]
pub struct Adopt {
    /// None of them may be final.
    pub records: Vec<SessionRecord>,
}

impl Ask for Adopt {
    type Answer = ();
    const KIND: &'static str = "adopt";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        json!({ "sessions": self.records.len() })
    }
}

/// Ends every run, and leaves every session to the next server. Answered when no session has an
/// actor any more.
#[derive(Debug)]
pub struct LetGoAll;

impl Ask for LetGoAll {
    type Answer = ();
    const KIND: &'static str = "let_go_all";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// Refuses everything new from now on, and tells viewers. May be repeated, with another deadline.
#[derive(Debug)]
pub struct Drain {
    /// How long what is under way should take at most. Nothing is ended then.
    pub within: Option<Duration>,
    /// Whether the server is being taken down: that cannot be undone.
    pub stopping: bool,
}

impl Ask for Drain {
    type Answer = Result<Draining, RegistryError>;
    const KIND: &'static str = "drain";
    const AUDITED: bool = true;

    fn summary(&self) -> Value {
        let within = self.within.map(|within| within.as_secs());
        json!({ "within_seconds": within, "stopping": self.stopping })
    }
}

/// Takes new work again. Refused as [`RegistryError::Draining`] when the server is stopping.
#[derive(Debug)]
pub struct Undrain;

impl Ask for Undrain {
    type Answer = Result<(), RegistryError>;
    const KIND: &'static str = "undrain";
    const AUDITED: bool = true;
}

/// Ends every run and every session. Answered when none is left.
#[derive(Debug)]
pub struct CloseAll;

impl Ask for CloseAll {
    type Answer = ();
    const KIND: &'static str = "close_all";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}
