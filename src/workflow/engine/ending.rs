//! The ends of blocks and runs.

use serde_json::Value;

use crate::domain::run::BlockStatus;
use crate::domain::session::Failure;
use crate::workflow::host::{BlockEnded, HostError};
use crate::workflow::page::PageError;

/// The reason why a run stops at once.
#[derive(Debug, Clone)]
pub(super) enum Stop {
    /// The run was canceled.
    Canceled,
    /// The time limit of the run has passed.
    LimitReached,
    /// The host cannot continue the run.
    Host(Box<Failure>),
}

impl From<HostError> for Stop {
    fn from(HostError(failure): HostError) -> Self {
        Self::Host(failure)
    }
}

/// The end of a level, or of a run.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    Done,
    Failed(BlockStatus, Box<Failure>),
    Stopped(Stop),
}

/// The end of a block, with its results.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) status: BlockStatus,
    pub(super) output: Option<Value>,
    pub(super) failure: Option<Box<Failure>>,
    /// The choice of a conditional: the label of the next block, or none to end the level.
    pub(super) branch: Option<Option<String>>,
    /// The result of an extraction.
    pub(super) extracted: Option<Value>,
}

impl End {
    pub(super) fn completed(output: Value) -> Self {
        Self {
            status: BlockStatus::Completed,
            output: Some(output),
            failure: None,
            branch: None,
            extracted: None,
        }
    }

    pub(super) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::because(Failure::new(code, message))
    }

    pub(super) fn because(failure: Failure) -> Self {
        Self {
            status: BlockStatus::Failed,
            output: None,
            failure: Some(Box::new(failure)),
            branch: None,
            extracted: None,
        }
    }
}

impl From<PageError> for End {
    fn from(error: PageError) -> Self {
        let timed_out = matches!(error, PageError::Timeout { .. });
        let end = Self::because(error.failure());
        let status = if timed_out { BlockStatus::TimedOut } else { end.status };
        Self { status, ..end }
    }
}

impl From<BlockEnded> for End {
    fn from(ended: BlockEnded) -> Self {
        let BlockEnded { status, output, failure } = ended;
        Self { status, output, failure: failure.map(Box::new), branch: None, extracted: None }
    }
}

/// The early end of a block: a failure of the block, or the end of the whole run.
pub(super) enum Broken {
    Block(Box<End>),
    Run(Stop),
}

impl From<PageError> for Broken {
    fn from(error: PageError) -> Self {
        Self::Block(Box::new(error.into()))
    }
}

impl From<End> for Broken {
    fn from(end: End) -> Self {
        Self::Block(Box::new(end))
    }
}

impl From<Box<End>> for Broken {
    fn from(end: Box<End>) -> Self {
        Self::Block(end)
    }
}

impl From<Stop> for Broken {
    fn from(stop: Stop) -> Self {
        Self::Run(stop)
    }
}

impl From<HostError> for Broken {
    fn from(error: HostError) -> Self {
        Self::Run(error.into())
    }
}

impl Broken {
    /// Converts to the end of a run that breaks before its first block.
    pub(super) fn ending(self) -> Ending {
        match self {
            Self::Run(stop) => Ending::Stopped(stop),
            Self::Block(end) => {
                let cause = end.failure.unwrap_or_else(|| {
                    Box::new(Failure::new("browser_unreachable", "the browser does not answer"))
                });
                Ending::Failed(end.status, cause)
            }
        }
    }
}

/// The result of a block's work.
pub(super) type Work = Result<End, Broken>;

/// Converts the result of a block that was executed here.
pub(super) fn ended(work: Work) -> Result<End, Stop> {
    match work {
        Ok(end) => Ok(end),
        Err(Broken::Block(end)) => Ok(*end),
        Err(Broken::Run(stop)) => Err(stop),
    }
}
