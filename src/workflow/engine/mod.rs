//! Executes the blocks of a workflow.
//!
//! ```text
//! execute --> level --> block --> (loop: level --> block …) --> … --> finally block --> Outcome
//! ```
//!
//! 1. Every block that began ends with a status, whatever happens. A cancellation or the time limit
//!    stops the current block at once.
//! 2. A failed block ends the run, unless the block continues on failure. The finally block runs
//!    after that. It can make a completed run fail, but never the reverse.

mod blocks;
mod ending;
mod pictures;
mod plan;
mod records;
mod scope;
mod settings;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::host::{BlockEnded, Host};
use super::page::Browser;
use super::template::Renderer;
use crate::domain::ids::BlockRunId;
use crate::domain::run::{BlockStatus, RunStatus};
use crate::domain::session::Failure;
use ending::{Ending, Stop};
use pictures::Pictures;
pub use plan::{Plan, Records};
use scope::Scope;
pub use settings::{Settings, Smtp};
pub(crate) use walk::{AS_WRITTEN, branch_id};

/// The result of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The final status of the run.
    pub status: RunStatus,
    /// The outputs as `{label}_output` of every block that produced one, and `extracted_information`.
    pub outputs: Value,
    /// The cause, if the run did not complete.
    pub failure: Option<Failure>,
}

/// The longest time that [`execute`] takes after a cancellation. Ending the open blocks and storing
/// the last records share it.
pub const CALL_OFF: Duration = Duration::from_millis(700);

/// The state of one run.
struct Engine {
    plan: Plan,
    host: Arc<dyn Host>,
    renderer: Renderer,
    scope: Scope,
    browser: Option<Browser>,
    pictures: Pictures,
    /// The blocks that have begun and not ended, outermost first.
    open: Vec<BlockRunId>,
    /// The deadline of a stopped run for the ends of its blocks and its last records.
    silent: Option<Instant>,
}

/// Executes a plan to its end. Canceling `cancel` stops it at any block; it then resolves within
/// [`CALL_OFF`], with [`RunStatus::Canceled`]. Work that the host executes may still be ending at
/// that time.
pub async fn execute(plan: Plan, host: Arc<dyn Host>, cancel: CancellationToken) -> Outcome {
    let limit = plan.limit.map(|limit| Instant::now() + limit);
    let mut engine = Engine {
        renderer: Renderer::new(plan.settings.strict_templates),
        scope: Scope::new(&plan),
        plan,
        host,
        browser: None,
        pictures: Pictures::default(),
        open: Vec::new(),
        silent: None,
    };
    let mut ending = engine.bounded(limit, &cancel, RunPart::Body).await;
    let finally = engine.plan.definition.finally.is_some() && engine.plan.only.is_none();
    if finally && !matches!(ending, Ending::Stopped(_)) {
        let last = engine.bounded(limit, &cancel, RunPart::Finally).await;
        if matches!(ending, Ending::Done) || matches!(last, Ending::Stopped(Stop::Canceled)) {
            ending = last;
        }
    }
    engine.keep_last().await;
    let (status, failure) = match ending {
        Ending::Done => (RunStatus::Completed, None),
        Ending::Failed(status, failure) => {
            let status = match status {
                BlockStatus::Terminated => RunStatus::Terminated,
                BlockStatus::Canceled => RunStatus::Canceled,
                BlockStatus::Failed
                | BlockStatus::TimedOut
                | BlockStatus::Completed
                | BlockStatus::Running
                | BlockStatus::Skipped => RunStatus::Failed,
            };
            (status, Some(*failure))
        }
        Ending::Stopped(Stop::Canceled) => {
            (RunStatus::Canceled, Some(Failure::new("canceled", "the run was canceled")))
        }
        Ending::Stopped(Stop::LimitReached) => (
            RunStatus::TimedOut,
            Some(Failure::new("time_over", "the time limit of the run was reached")),
        ),
        Ending::Stopped(Stop::Host(failure)) => (RunStatus::Failed, Some(*failure)),
    };
    Outcome { status, outputs: engine.scope.run_outputs(), failure }
}

/// A part of a run: its blocks, or its finally block.
#[derive(Debug, Clone, Copy)]
enum RunPart {
    Body,
    Finally,
}

impl Engine {
    async fn bounded(
        &mut self,
        limit: Option<Instant>,
        cancel: &CancellationToken,
        part: RunPart,
    ) -> Ending {
        let over = async {
            match limit {
                Some(limit) => tokio::time::sleep_until(limit).await,
                None => std::future::pending().await,
            }
        };
        let stop = tokio::select! {
            biased;
            () = cancel.cancelled() => Stop::Canceled,
            () = over => Stop::LimitReached,
            ending = self.part(part) => match ending {
                Ending::Stopped(stop) => stop,
                Ending::Done | Ending::Failed(..) => return ending,
            },
        };
        self.end_open_blocks(&stop).await;
        Ending::Stopped(stop)
    }

    async fn part(&mut self, part: RunPart) -> Ending {
        let definition = Arc::clone(&self.plan.definition);
        match part {
            RunPart::Body => {
                if self.plan.records.wants().any()
                    && let Err(broken) = self.browser().await
                {
                    return broken.ending();
                }
                self.body(&definition).await
            }
            RunPart::Finally => {
                let label = definition.finally.as_deref();
                let block =
                    definition.blocks.iter().find(|block| Some(block.label.as_str()) == label);
                match block {
                    Some(block) => self.alone(block).await,
                    None => Ending::Done,
                }
            }
        }
    }

    /// Ends the open blocks, innermost first. An end that the host does not record in time is
    /// skipped.
    async fn end_open_blocks(&mut self, stop: &Stop) {
        let (status, failure) = match stop {
            Stop::Canceled => (BlockStatus::Canceled, None),
            Stop::LimitReached => {
                let failure = Failure::new("time_over", "the time limit of the run was reached");
                (BlockStatus::TimedOut, Some(failure))
            }
            Stop::Host(failure) => (BlockStatus::Failed, Some((**failure).clone())),
        };
        let open = std::mem::take(&mut self.open);
        let host = Arc::clone(&self.host);
        let work = async move {
            for block in open.into_iter().rev() {
                let end = BlockEnded { status, output: None, failure: failure.clone() };
                if let Err(error) = host.end_block(block, end).await {
                    tracing::warn!("the end of block {block} was not recorded: {error}");
                }
            }
        };
        let silent = *self.silent.get_or_insert_with(|| Instant::now() + CALL_OFF);
        if timeout_at(silent, work).await.is_err() {
            tracing::warn!("the ends of the blocks of a stopped run were not recorded in time");
        }
    }
}
