//! The work that a run executes.
//!
//! [`Work`] is the seam between the run, which owns the session and the record, and the engine that
//! executes blocks. Tests give a run other work than a workflow.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{RunId, SessionId};
use crate::domain::run::RunStatus;
use crate::domain::session::Failure;
use crate::workflow::host::Host;

/// The run and the session of a piece of work.
#[derive(Debug, Clone, Copy)]
pub struct WorkContext {
    /// The run that executes it.
    pub run: RunId,
    /// The session that it occupies.
    pub session: SessionId,
}

/// The result of a piece of work.
#[derive(Debug, Clone)]
pub struct Finished {
    /// A status that is final.
    pub status: RunStatus,
    /// `{label}_output` of every block that has finished.
    pub outputs: Value,
    /// The reason of a failure.
    pub failure: Option<Failure>,
}

/// The work of a run, for example the plan of a workflow.
pub trait Work: fmt::Debug + Send + 'static {
    /// Executes the work. Resolves soon after `cancel`, whatever is under way then.
    fn execute(
        self: Box<Self>,
        job: WorkContext,
        host: Arc<dyn Host>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Finished>;
}

/// A placeholder for work that has been taken out to be executed.
#[derive(Debug)]
pub(super) struct Taken;

impl Work for Taken {
    fn execute(
        self: Box<Self>,
        _: WorkContext,
        _: Arc<dyn Host>,
        _: CancellationToken,
    ) -> BoxFuture<'static, Finished> {
        let finished =
            Finished { status: RunStatus::Completed, outputs: Value::Null, failure: None };
        Box::pin(std::future::ready(finished))
    }
}
