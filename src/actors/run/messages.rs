//! The messages to a run, from the API and from the execution of its own blocks.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::actors::ask::{Ask, Classified, Unanswered};
use crate::actors::journal::Outcome;
use crate::actors::views::RunView;
use crate::db::store::StoreError;
use crate::domain::ids::BlockRunId;
use crate::domain::run::RunStatus;
use crate::workflow::agent::AgentReport;
use crate::workflow::host::{BlockBegins, BlockEnded};

/// The reason why a run did not do what it was asked. Its state is unchanged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// The run has ended, or is about to.
    #[error("the run is {status}")]
    Ending {
        /// The status with which it ends.
        status: RunStatus,
    },
    /// The run is not paused.
    #[error("the run is not paused; it is {status}")]
    NotPaused {
        /// The status that it has instead.
        status: RunStatus,
    },
    /// The change is not known to be stored, so it was not acknowledged.
    #[error("the change could not be stored: {0}")]
    NotStored(StoreError),
    /// The run did not answer.
    #[error("the run did not answer: {0}")]
    Unanswered(#[from] Unanswered),
}

impl Classified for RunError {
    fn class(&self) -> Outcome {
        match self {
            Self::Ending { .. } | Self::NotPaused { .. } => Outcome::Refused,
            Self::NotStored(_) => Outcome::Failed,
            Self::Unanswered(_) => Outcome::Unanswered,
        }
    }
}

/// Cancels the run. Answered when it has released its session and its end is stored. If the run is
/// ending already, the answer waits for that end.
#[derive(Debug)]
pub struct Cancel {
    /// The reason, in words for people.
    pub why: String,
}

impl Ask for Cancel {
    type Answer = Result<RunView, RunError>;
    const KIND: &'static str = "cancel";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    fn summary(&self) -> Value {
        json!({ "why": self.why })
    }
}

/// Continues a paused run.
#[derive(Debug)]
pub struct Continue;

impl Ask for Continue {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "continue";
    const AUDITED: bool = true;
}

/// Begins a block. Answered when its row is stored.
#[derive(Debug)]
pub(super) struct BeginBlock {
    pub block: BlockBegins,
}

impl Ask for BeginBlock {
    type Answer = Result<BlockRunId, RunError>;
    const KIND: &'static str = "begin_block";

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn summary(&self) -> Value {
        json!({ "label": self.block.label, "block_type": self.block.block_type })
    }
}

/// Ends a block. Answered when that is stored.
#[derive(Debug)]
pub(super) struct EndBlock {
    pub id: BlockRunId,
    pub end: BlockEnded,
}

impl Ask for EndBlock {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "end_block";

    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn summary(&self) -> Value {
        let code = self.end.failure.as_ref().map(|failure| &failure.code);
        json!({ "block": self.id, "status": self.end.status, "code": code })
    }
}

/// Pauses the run until a person continues it. Answered when that happens.
#[derive(Debug)]
pub(super) struct Pause {
    pub patience: Duration,
}

impl Ask for Pause {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "pause";
    const AUDITED: bool = true;

    fn patience(&self) -> Duration {
        self.patience
    }
}

/// Records that an agent executes a block from now on. `said` passes the messages of the agent to
/// the block.
#[derive(Debug)]
pub(super) struct AwaitAgent {
    pub block: BlockRunId,
    pub said: mpsc::Sender<AgentReport>,
}

impl Ask for AwaitAgent {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "await_agent";

    fn summary(&self) -> Value {
        json!({ "block": self.block })
    }
}

/// The progress or the end of a block, as the agent that executes it reports.
#[derive(Debug)]
pub struct AgentSays {
    /// The block that the agent executes.
    pub block: BlockRunId,
    /// The message of the agent.
    pub said: AgentReport,
}

impl Ask for AgentSays {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "agent_says";

    fn summary(&self) -> Value {
        json!({ "block": self.block, "status": self.said.status })
    }
}
