//! The execution of a workflow, as the work of a run.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::work::{Finished, Job, Work};
use crate::workflow::engine::{Outcome, Plan, execute};
use crate::workflow::host::Host;

/// A workflow's plan. The run and the session that the plan names are filled in when both are
/// known, and its limit counts from when it was made, so that the time in the queue counts too.
#[derive(Debug)]
pub struct Planned {
    plan: Plan,
    made: Instant,
}

impl Planned {
    /// The work that executes `plan`.
    pub fn new(plan: Plan) -> Self {
        Self { plan, made: Instant::now() }
    }
}

impl Work for Planned {
    fn execute(
        self: Box<Self>,
        job: Job,
        host: Arc<dyn Host>,
        cancel: CancellationToken,
    ) -> BoxFuture<'static, Finished> {
        let Self { mut plan, made } = *self;
        plan.run = job.run;
        plan.session = Some(job.session);
        plan.limit = plan.limit.map(|limit| limit.saturating_sub(made.elapsed()));
        Box::pin(async move {
            let Outcome { status, outputs, failure } = execute(plan, host, cancel).await;
            Finished { status, outputs, failure }
        })
    }
}
