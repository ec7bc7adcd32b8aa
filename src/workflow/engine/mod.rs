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
mod records;
mod scope;
mod walk;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::definition::Definition;
use super::guard;
use super::host::{BlockEnded, Host, failure};
use super::page::Browser;
use super::template::Renderer;
use crate::domain::ids::{BlockRunId, RunId, SessionId, WorkflowId, WorkflowPermanentId};
use crate::domain::run::{BlockStatus, RunStatus};
use crate::domain::session::Failure;
pub use records::Records;
use scope::Scope;
pub(crate) use walk::{AS_WRITTEN, branch_id};
use walk::{Ending, Stop};

/// Defaults for the execution of blocks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The time to wait for an element.
    pub element_timeout: Duration,
    /// The time limit for a page to load.
    pub navigation_timeout: Duration,
    /// The time in which an assertion must come to hold.
    pub assert_timeout: Duration,
    /// The time limit of a request.
    pub request_timeout: Duration,
    /// The time limit of a download.
    pub download_timeout: Duration,
    /// True if unknown names in a template are errors.
    pub strict_templates: bool,
    /// The maximum number of iterations of a loop.
    pub most_iterations: usize,
    /// The maximum number of blocks in one iteration.
    pub most_steps: usize,
    /// The maximum size of a response or a file, in bytes.
    pub most_bytes: usize,
    /// The maximum size of all outputs of the run, in bytes of JSON; a block whose output would
    /// exceed it fails.
    pub most_output_bytes: usize,
    /// The rules for the targets of requests.
    pub guard: guard::Settings,
    /// The mail server, if one is configured.
    pub smtp: Option<Smtp>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            element_timeout: Duration::from_secs(30),
            navigation_timeout: Duration::from_secs(60),
            assert_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            download_timeout: Duration::from_secs(120),
            strict_templates: false,
            most_iterations: 1000,
            most_steps: 50,
            most_bytes: 32 << 20,
            most_output_bytes: 64 << 20,
            guard: guard::Settings::default(),
            smtp: None,
        }
    }
}

/// A mail server, with the credentials for it.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// The host name of the server.
    pub host: String,
    /// The port; 465 uses TLS from the start, any other STARTTLS.
    pub port: u16,
    /// The user name for authentication.
    pub username: Option<String>,
    /// The password for authentication.
    pub password: Option<secrecy::SecretString>,
    /// True to connect without TLS; for a server on this machine.
    pub plain: bool,
}

/// The input of the engine for one run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The blocks and parameters to execute.
    pub definition: Arc<Definition>,
    /// The parameter values, from [`parameters::resolve`](super::parameters::resolve).
    pub parameters: Map<String, Value>,
    /// The title of the workflow, for templates.
    pub workflow_title: String,
    /// The version of the workflow, for templates.
    pub workflow: WorkflowId,
    /// The permanent id of the workflow, for templates.
    pub workflow_permanent: WorkflowPermanentId,
    /// The id of the run, for templates.
    pub run: RunId,
    /// The session of the run, for templates.
    pub session: Option<SessionId>,
    /// The current date, for templates.
    pub date: NaiveDate,
    /// The extra headers that pages send with every request.
    pub headers: Map<String, Value>,
    /// The labels of the only blocks to run, in this order.
    pub only: Option<Vec<String>>,
    /// Outputs available from the start, by label.
    pub outputs: Map<String, Value>,
    /// The time limit of the whole run.
    pub limit: Option<Duration>,
    /// The records to keep of the run.
    pub records: Records,
    /// The defaults for the execution of blocks.
    pub settings: Settings,
}

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
    pictures: records::Pictures,
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
        pictures: records::Pictures::default(),
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
            (RunStatus::Canceled, Some(failure("canceled", "the run was canceled", None)))
        }
        Ending::Stopped(Stop::LimitReached) => (
            RunStatus::TimedOut,
            Some(failure("time_over", "the time limit of the run was reached", None)),
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
                let failure = failure("time_over", "the time limit of the run was reached", None);
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
