//! The messages to the registry about runs.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::messages::RegistryError;
use crate::actors::ask::{Ask, Classified, Unanswered};
use crate::actors::journal::{About, Outcome};
use crate::actors::run::{Assignment, Cancel, Continue, RunError};
use crate::actors::views::RunView;
use crate::domain::ids::{
    ApiKeyId, DebugSessionId, OrganizationId, RunId, SessionId, WorkflowId, WorkflowPermanentId,
};

/// The properties of a run that has no id yet.
#[derive(Debug)]
pub struct NewRun {
    /// The organization that will own the run.
    pub organization: OrganizationId,
    /// The id of the workflow version that it executes.
    pub workflow: WorkflowId,
    /// The same workflow over all versions.
    pub workflow_permanent_id: WorkflowPermanentId,
    /// The session that it drives; without one the run creates its own.
    pub session: Option<SessionId>,
    /// The debug session that it belongs to.
    pub debug_session: Option<DebugSessionId>,
    /// A title for people.
    pub title: Option<String>,
    /// The values of the workflow's parameters.
    pub parameters: Value,
    /// The original request, unabridged.
    pub request: Value,
    /// The API key of the request.
    pub api_key: Option<ApiKeyId>,
    /// The id, if the asker chooses it in order to find the run again. A repeated request is
    /// answered with the same run.
    pub id: Option<RunId>,
}

/// Starts a run. Answered when its row is stored and its actor has started. If the asker did not
/// receive the answer, the run is canceled at once, unless the asker chose its id.
#[derive(Debug)]
pub struct StartRun {
    /// The properties of the run.
    pub run: NewRun,
    /// The work of the run, and its limits.
    pub assignment: Assignment,
}

/// A run that has been started.
#[derive(Debug)]
pub struct RunAccepted {
    /// The id of the run.
    pub id: RunId,
    /// The view of its state.
    pub view: watch::Receiver<RunView>,
}

impl Ask for StartRun {
    type Answer = Result<RunAccepted, RegistryError>;
    const KIND: &'static str = "start_run";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn about(&self) -> About {
        let NewRun { organization, session, .. } = &self.run;
        About { organization: Some(*organization), session: *session, run: None }
    }

    fn summary(&self) -> Value {
        json!({ "workflow_permanent_id": self.run.workflow_permanent_id })
    }
}

/// The reason why a message did not reach its run, or was not done there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunRouteError {
    /// No such run is under way; those of other organizations do not exist for the asker.
    #[error("run {0} does not exist or has ended")]
    Unknown(RunId),
    /// The run refused the message or failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run or the registry did not answer.
    #[error("no answer: {0}")]
    Unanswered(#[from] Unanswered),
}

impl Classified for RunRouteError {
    fn class(&self) -> Outcome {
        match self {
            Self::Unknown(_) => Outcome::Refused,
            Self::Run(cause) => cause.class(),
            Self::Unanswered(_) => Outcome::Unanswered,
        }
    }
}

/// Forwards a message to a run, if the organization owns it.
#[derive(Debug)]
pub struct RouteRun<M> {
    /// The organization of the asker.
    pub organization: OrganizationId,
    /// The id of the run.
    pub run: RunId,
    /// The message to the run.
    pub message: M,
}

impl<T, M> Ask for RouteRun<M>
where
    T: Send + 'static,
    M: Ask<Answer = Result<T, RunError>>,
{
    type Answer = Result<T, RunRouteError>;
    const KIND: &'static str = M::KIND;

    fn patience(&self) -> Duration {
        self.message.patience().saturating_add(Duration::from_secs(1))
    }

    fn about(&self) -> About {
        About { organization: Some(self.organization), run: Some(self.run), session: None }
    }

    fn summary(&self) -> Value {
        self.message.summary()
    }
}

/// Cancels a run; see [`Cancel`].
pub type CancelRun = RouteRun<Cancel>;

/// Continues a paused run; see [`Continue`].
pub type ContinueRun = RouteRun<Continue>;
