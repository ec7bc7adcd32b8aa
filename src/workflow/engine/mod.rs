//! Executes the blocks of a workflow.
//!
//! ```text
//! execute --> level --> block --> (loop: level --> block …) --> … --> finally block --> Outcome
//! ```
//!
//! 1. Every block that began ends, with a status, whatever happened: also when the run is called
//!    off or its time is over, which stops the block under way at once.
//! 2. A failed block ends the run unless the block says otherwise; the finally block runs after
//!    that, and can make a run that had completed fail, never the reverse.

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

/// How blocks are executed, unless they say otherwise.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long to wait for an element.
    pub element_timeout: Duration,
    /// How long a page may take to load.
    pub navigation_timeout: Duration,
    /// How long an assertion may take until it holds.
    pub assert_timeout: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a download may take.
    pub download_timeout: Duration,
    /// Names that a template does not know are errors.
    pub strict_templates: bool,
    /// More iterations of a loop are refused.
    pub most_iterations: usize,
    /// More blocks in one iteration are refused.
    pub most_steps: usize,
    /// A longer answer to a request, or file, is refused; in bytes.
    pub most_bytes: usize,
    /// A block is refused whose output would make the outputs of the run larger; in bytes of JSON.
    pub most_output_bytes: usize,
    /// Where requests may go.
    pub guard: guard::Settings,
    /// The mail server.
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

/// A mail server.
#[derive(Debug, Clone)]
pub struct Smtp {
    /// Its name.
    pub host: String,
    /// Its port; 465 speaks TLS from the start, any other by STARTTLS.
    pub port: u16,
    /// Who we are for it.
    pub username: Option<String>,
    /// How we prove it.
    pub password: Option<secrecy::SecretString>,
    /// Speaks without TLS; for a server on this machine.
    pub plain: bool,
}

/// What a run executes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The workflow.
    pub definition: Arc<Definition>,
    /// From [`parameters::resolve`](super::parameters::resolve).
    pub parameters: Map<String, Value>,
    /// For templates.
    pub workflow_title: String,
    /// For templates.
    pub workflow: WorkflowId,
    /// For templates.
    pub workflow_permanent: WorkflowPermanentId,
    /// For templates.
    pub run: RunId,
    /// For templates.
    pub session: Option<SessionId>,
    /// For templates.
    pub date: NaiveDate,
    /// What its pages send with every request.
    pub headers: Map<String, Value>,
    /// Only these blocks run, in this order.
    pub only: Option<Vec<String>>,
    /// Outputs that are there from the start, by label.
    pub outputs: Map<String, Value>,
    /// How long the whole run may take.
    pub limit: Option<Duration>,
    /// What is kept beside the blocks.
    pub records: Records,
    /// How blocks are executed.
    pub settings: Settings,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// One of the final ones.
    pub status: RunStatus,
    /// `{label}_output` of every block that gave one, and `extracted_information`.
    pub outputs: Value,
    /// Why it did not complete.
    pub failure: Option<Failure>,
}

/// The longest that [`execute`] goes on after it was canceled: the ends of the blocks that were open
/// and the last records share it.
pub const CALL_OFF: Duration = Duration::from_millis(700);

/// One run.
struct Engine {
    plan: Plan,
    host: Arc<dyn Host>,
    renderer: Renderer,
    scope: Scope,
    browser: Option<Browser>,
    pictures: records::Pictures,
    /// The blocks that have begun and not ended, outermost first.
    open: Vec<BlockRunId>,
    /// When a run that was stopped has had its last words.
    silent: Option<Instant>,
}

/// Executes a plan to its end. Canceling `cancel` stops it, whatever block is under way; it resolves
/// within [`CALL_OFF`] then, with [`RunStatus::Canceled`]. What was handed out through the host may
/// still be ending by then.
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
    let mut ending = engine.bounded(limit, &cancel, Part::Body).await;
    let finally = engine.plan.definition.finally.is_some() && engine.plan.only.is_none();
    if finally && !matches!(ending, Ending::Stopped(_)) {
        let last = engine.bounded(limit, &cancel, Part::Finally).await;
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
        Ending::Stopped(Stop::LimitReached) => {
            (RunStatus::TimedOut, Some(failure("time_over", "the time of the run was over", None)))
        }
        Ending::Stopped(Stop::Host(failure)) => (RunStatus::Failed, Some(*failure)),
    };
    Outcome { status, outputs: engine.scope.run_outputs(), failure }
}

/// A part of a run.
#[derive(Debug, Clone, Copy)]
enum Part {
    Body,
    Finally,
}

impl Engine {
    async fn bounded(
        &mut self,
        limit: Option<Instant>,
        cancel: &CancellationToken,
        part: Part,
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

    async fn part(&mut self, part: Part) -> Ending {
        let definition = Arc::clone(&self.plan.definition);
        match part {
            Part::Body => {
                if self.plan.records.wants().any()
                    && let Err(broken) = self.browser().await
                {
                    return broken.ending();
                }
                self.body(&definition).await
            }
            Part::Finally => {
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

    /// Innermost first; what the host does not take within a moment stays as it is.
    async fn end_open_blocks(&mut self, stop: &Stop) {
        let (status, failure) = match stop {
            Stop::Canceled => (BlockStatus::Canceled, None),
            Stop::LimitReached => {
                let failure = failure("time_over", "the time of the run was over", None);
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
