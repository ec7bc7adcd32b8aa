//! The messages to the registry.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::actors::ask::{Answer, Ask, Classified, Unanswered};
use crate::actors::draining::Draining;
use crate::actors::journal::{About, Outcome};
use crate::actors::session::SessionError;
use crate::actors::views::SessionView;
use crate::db::store::StoreError;
use crate::domain::ids::{OrganizationId, ProfileId, RunId, SessionId};
use crate::domain::quota::QuotaExceeded;
use crate::domain::session::{SessionRecord, SessionSpec};
use crate::system::desktop::NoRoom;
use crate::system::storage_state::StorageState;

/// The reason why the registry did not do what it was asked. Nothing has changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The server drains, and accepts no new work.
    #[error("the server is stopping and rejects new work")]
    Draining,
    /// The limit on live sessions is reached.
    #[error("{limit} sessions live on this node, which is its limit")]
    TooManySessions {
        /// The limit, which `sessions.max_sessions` sets.
        limit: usize,
    },
    /// The limit on sessions that wait for their first use is reached.
    #[error(
        "{limit} sessions of this node wait for their first use, which is its limit; close some of them"
    )]
    TooManyDormant {
        /// The limit on such sessions, which is fixed.
        limit: usize,
    },
    /// The limit on runs under way is reached.
    #[error("{limit} runs are under way on this node, which is its limit")]
    TooManyRuns {
        /// The limit, which `sessions.max_runs` sets.
        limit: usize,
    },
    /// A quota of the organization is reached.
    #[error("{0}")]
    Quota(Box<QuotaExceeded>),
    /// It is being made, as an earlier request with the same name asked.
    #[error("it is being created already")]
    UnderWay,
    /// The machine has no room for another session.
    #[error("{0}")]
    NoRoom(NoRoom),
    /// Another session may write to the profile that the session was to write to.
    #[error(
        "session {by} may write to the profile {id}, and one at most may; close it, or ask for a copy"
    )]
    ProfileInUse {
        /// The profile that both want.
        id: ProfileId,
        /// The session that may write to it.
        by: SessionId,
    },
    /// The row is not known to be stored, so nothing was started.
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
            | Self::ProfileInUse { .. }
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
    /// The browser starts together with the session.
    Now,
    /// The browser starts when the session is first used, see [`awake`](super::awake). Until then
    /// the session takes none of the machine's capacity.
    FirstUse,
}

/// Creates a session. Answered when its row is stored and its actor has started. Its desktop is
/// starting then, and the view shows when it runs. If the asker did not receive the answer, the
/// session is closed at once, unless the asker chose its id.
#[derive(Debug)]
pub struct Create {
    /// The organization that will own the session.
    pub organization: OrganizationId,
    /// The requested properties of the session.
    pub spec: SessionSpec,
    /// The time at which its browser is started.
    pub start: Start,
    /// The run that creates it for itself, if any.
    pub run: Option<RunId>,
    /// The id, if the asker chooses it in order to find the session again. A repeated request is
    /// answered with the same session.
    pub id: Option<SessionId>,
    /// True if the session must be the writer of its profile. Otherwise it gets a copy where another
    /// session is the writer.
    pub must_write: bool,
    /// The storage state that its browser gets before its start page. It is in memory only: a server
    /// that ends before that is followed by the end of the session.
    pub storage_state: Option<Arc<StorageState>>,
}

/// A session that has been created.
#[derive(Debug)]
pub struct Created {
    /// The id of the session.
    pub id: SessionId,
    /// The view of its state.
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

/// Forwards a message to a session, if the organization owns it.
#[derive(Debug)]
pub struct Route<M> {
    /// The organization of the asker.
    pub organization: OrganizationId,
    /// The id of the session.
    pub session: SessionId,
    /// The message to the session.
    pub message: M,
}

/// The reason why a message did not reach its session, or was not done there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RouteError {
    /// No such session is alive; those of other organizations do not exist for the asker.
    #[error("session {0} does not exist or has ended")]
    Unknown(SessionId),
    /// The server is stopping, and accepts no new work.
    #[error("the server is stopping and rejects new work")]
    Draining,
    /// The session refused the message or failed.
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

    /// Longer than for `M` itself, so that an asker learns which of the two was late.
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

/// An actor that the registry keeps track of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::actors) enum Resident {
    Session(SessionId),
    Run(RunId),
}

/// Notifies the registry that an actor has ended.
#[derive(Debug)]
pub(in crate::actors) struct Gone {
    pub resident: Resident,
    /// True if what the actor owned is gone too, and stored as gone; false after a panic.
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

/// Adopts the sessions of a former server of this node, in the state of their rows. Answered when
/// each has its actor; the desktops are adopted afterwards.
#[derive(Debug)]
pub struct Adopt {
    /// The rows, none of which may be final.
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

/// Ends every run, and detaches from every session; the next server adopts the sessions. Answered
/// when no session has an actor any more.
#[derive(Debug)]
pub struct DetachAll;

impl Ask for DetachAll {
    type Answer = ();
    const KIND: &'static str = "let_go_all";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// Refuses new work from now on, and notifies viewers. May be repeated, with another deadline.
#[derive(Debug)]
pub struct Drain {
    /// The time that work under way should take at most. Nothing is ended at its end.
    pub within: Option<Duration>,
    /// True if the server is being shut down, which cannot be undone.
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

/// Accepts new work again. Refused as [`RegistryError::Draining`] when the server is stopping.
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
