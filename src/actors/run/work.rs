//! What a run executes.
//!
//! [`Work`] is the seam between the run, which owns the session and the record, and the engine
//! that executes blocks. Tests hand a run other work than a workflow.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{RunId, SessionId};
use crate::domain::run::RunStatus;
use crate::domain::session::Failure;
use crate::workflow::host::Host;

/// In what run and in which session work is done.
#[derive(Debug, Clone, Copy)]
pub struct Job {
    /// The run.
    pub run: RunId,
    /// The session that it occupies.
    pub session: SessionId,
}

/// How work ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// One of the final ones.
    pub status: RunStatus,
    /// `{label}_output` of every block that has finished.
    pub outputs: Value,
    /// Why it failed.
    pub failure: Option<Failure>,
}

/// Something to execute.
pub trait Work: fmt::Debug + Send + 'static {
    /// Does it. Resolves soon after `cancel`, whatever is being done then.
    fn execute(
        self: Box<Self>,
        job: Job,
        host: Arc<dyn Host>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Finished>;
}

/// Stands where work has been taken to be executed.
#[derive(Debug)]
pub(super) struct Taken;

impl Work for Taken {
    fn execute(
        self: Box<Self>,
        _: Job,
        _: Arc<dyn Host>,
        _: CancellationToken,
    ) -> BoxFuture<'static, Finished> {
        let finished =
            Finished { status: RunStatus::Completed, outputs: Value::Null, failure: None };
        Box::pin(std::future::ready(finished))
    }
}
