//! What a run can be asked: by the API, and by the execution of its own blocks.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::actors::ask::{Ask, Classified, Unanswered};
use crate::actors::journal::Outcome;
use crate::actors::views::RunView;
use crate::db::store::StoreError;
use crate::domain::ids::BlockRunId;
use crate::domain::run::RunStatus;
use crate::workflow::agent::Said;
use crate::workflow::host::{BlockBegins, BlockEnded};

/// Why a run did not do what it was asked. Its state is as it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RunError {
    /// It has ended, or is about to.
    #[error("the run is {status}")]
    Ending {
        /// As what.
        status: RunStatus,
    },
    /// It does not wait for anybody.
    #[error("the run is not paused; it is {status}")]
    NotPaused {
        /// What it is.
        status: RunStatus,
    },
    /// Nothing was acknowledged, because it is not known to be stored.
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

/// Calls the run off. Answered when it has given its session back and its end is stored; joins
/// an end that is under way.
#[derive(Debug)]
pub struct Cancel {
    /// For people.
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

/// Lets a paused run go on.
#[derive(Debug)]
pub struct Continue;

impl Ask for Continue {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "continue";
    const AUDITED: bool = true;
}

/// A block would like to begin. Answered when it is on record.
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

/// A block has ended. Answered when that is on record.
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

/// The run waits for a person from now on. Answered when somebody let it go on.
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

/// An agent executes a block from now on, and whoever waits for it hears what it says.
#[derive(Debug)]
pub(super) struct AwaitAgent {
    pub block: BlockRunId,
    pub said: mpsc::Sender<Said>,
}

impl Ask for AwaitAgent {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "await_agent";

    fn summary(&self) -> Value {
        json!({ "block": self.block })
    }
}

/// An agent says how the block goes that it executes.
#[derive(Debug)]
pub struct AgentSays {
    /// The block.
    pub block: BlockRunId,
    /// What it says.
    pub said: Said,
}

impl Ask for AgentSays {
    type Answer = Result<(), RunError>;
    const KIND: &'static str = "agent_says";

    fn summary(&self) -> Value {
        json!({ "block": self.block, "status": self.said.status })
    }
}
